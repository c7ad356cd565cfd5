//go:build !race

package cpu

import "github.com/fusestep/fusestep/kernels/rule"

const raceEnabled = false

func hide()                           {}
func unhide()                         {}
func acquire[T any](*T)               {}
func release[T any](*T)               {}
func releaseMerge[T any](*T)          {}
func touched[F rule.Float]([]F, bool) {}
