// Package gpu opens the GPUs that the flag -device of this module's programs names: cuda, cuda:N, and emu, which is an
// emulated one.
package gpu

import (
	"regexp"
	"strconv"

	"github.com/fusestep/fusestep/kernels"
)

// Device is an open GPU, or the emulation of one.
type Device struct {
	kernels.Backend
	Model    string // such as "NVIDIA H200"
	Emulated bool   // its times mean nothing
}

// TimesMeanNothing is what a program that prints times of an emulated device must print with them.
const TimesMeanNothing = "emulated: the bits are a GPU's, the times mean nothing"

// cudaName leaves the rest of what a driver could number to the driver, which says how many devices it has.
var cudaName = regexp.MustCompile(`^cuda(?::([0-9]{1,4}))?$`)

// Known says whether name is a GPU's, in any build.
func Known(name string) bool { return name == "emu" || cudaName.MatchString(name) }

// Open opens the GPU of a name that is Known. Where there is none, or the program was built without CUDA, it fails with
// device.ErrUnavailable and says in one line what to do. An emulated driver stays in front of the real one for the
// rest of the process.
func Open(name string) (*Device, error) {
	ordinal := 0
	if m := cudaName.FindStringSubmatch(name); m != nil && m[1] != "" {
		ordinal, _ = strconv.Atoi(m[1]) // four digits
	}
	return open(name, ordinal, name == "emu")
}
