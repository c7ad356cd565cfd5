// Package train holds a whole training loop with fusestep, as an example that is compiled and run by the tests: two groups, a
// schedule, clipping, and a tensor that is left out of some steps.
package train
