//go:build !race

package cpu

const raceEnabled = false

func hide()                    {}
func unhide()                  {}
func acquire[T any](*T)        {}
func release[T any](*T)        {}
func releaseMerge[T any](*T)   {}
func touched[T any]([]T, bool) {}
