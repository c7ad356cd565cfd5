// Package mutate asks whether the tests of the emitted kernels would notice a mistake in them. It changes one instruction of
// a kernel's PTX, has package kerneltest's suite run on the emulated GPU with all checks on, and counts the changes that
// went unnoticed. make mutate runs it.
//
// A change that nobody can notice, as it computes the same, is listed in equivalents.txt with the reason. Any other that
// survives is a hole in the suite.
package mutate
