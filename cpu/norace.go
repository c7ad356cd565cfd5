//go:build !race

package cpu

import "github.com/fusestep/fusestep/device"

const raceEnabled = false

func hide()                                      {}
func unhide()                                    {}
func acquire[T any](*T)                          {}
func release[T any](*T)                          {}
func releaseMerge[T any](*T)                     {}
func touched[T device.Element | byte]([]T, bool) {}
