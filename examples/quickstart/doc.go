// Package quickstart holds the shortest whole program with fusestep, as an example that is compiled and run by the tests.
package quickstart
