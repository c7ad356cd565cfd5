// Package kernels is what an executor needs to run optimizers' rules: a Program is a rule for one set of options and one element
// type, Work is a program with the tensors that it updates, and a Backend is a device that can run work. No rule knows a device,
// and no device knows a rule.
//
// Package rule says how a rule is written and checked, package rules holds the built-in ones, and package ir the graphs that rules
// become.
package kernels
