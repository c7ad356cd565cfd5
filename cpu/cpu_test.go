package cpu_test

import "github.com/fusestep/fusestep/cpu"
import "github.com/fusestep/fusestep/kernels"

var _ kernels.Backend = (*cpu.Device)(nil)
