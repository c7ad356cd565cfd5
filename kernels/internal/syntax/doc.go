// Package syntax reads the language of rules, the small part of Go that means the same on every device. Package rule defines it. It
// type-checks a rule with go/types, needing neither GOROOT nor export data, and lowers it to a graph of package ir for one set of
// options at one width. What is no rule is an *Error with a position.
package syntax
