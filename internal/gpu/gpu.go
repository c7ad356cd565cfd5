// Package gpu is the flag -device of this module's programs: it knows the names, and opens those that are GPUs: cuda, cuda:N, and
// emu, which is an emulated one.
package gpu

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
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

// Help is the help text of the flag -device.
const Help = "where the optimizer runs: cpu, cuda, cuda:N, or emu, an emulated GPU"

// CheckFlag says whether there is a device of this name in any build, cpu among them. Its error is a cli.UsageError.
func CheckFlag(name string) error {
	if name == "cpu" || name == "emu" || cudaName.MatchString(name) {
		return nil
	}
	return cli.Unknown("-device", name, "device", []string{"cpu", "cuda", "cuda:N", "emu"})
}

// Open opens the GPU that -device names. Where there is none, or the program was built without CUDA, it fails with
// device.ErrUnavailable and says in one line what to do. An emulated driver stays in front of the real one for the
// rest of the process.
func Open(name string) (*Device, error) {
	if err := CheckFlag(name); err != nil {
		return nil, err
	}
	ordinal := 0
	if m := cudaName.FindStringSubmatch(name); m != nil && m[1] != "" {
		ordinal, _ = strconv.Atoi(m[1]) // four digits
	}
	d, err := open(name, ordinal, name == "emu")
	if name == "emu" && Built && errors.Is(err, device.ErrUnavailable) {
		err = fmt.Errorf("%w; -device emu reserves address space, though no memory: see ulimit -v", err)
	}
	return d, err
}
