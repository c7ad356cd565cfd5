//go:build cuda && cgo && linux

package mutate

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// What becomes of a mutation.
const (
	survived = "survived"
	bits     = "bits"    // the suite saw a difference
	fault    = "fault"   // the emulated GPU stopped the kernel
	endless  = "endless" // it did so as there was no end of it
)

// A subject is a text to change, and the part of the suite that should notice.
type subject struct {
	text    string
	kernels *regexp.Regexp // the names of those to change
	check   func(t kerneltest.T, b kernels.Backend)

	// chunk is the elements of a chunk, 0 for as many as usual. In 16 bits these are but one vector for each thread of a block.
	chunk int
}

// subjects are SGD with all that makes its update and prologue what they are, Adam likewise, Adam in float64, SGD with every plane
// of 16 bits, Adam with some beside float32, SGD with all else that is around a rule and a parameter that is rounded stochastically, SGD
// whose parameter has a remainder, SGD in float64 whose tensors are clipped, of which the tensors' kernel is news, a rule of several passes, of which the first one fills sums
// and what tensors' kernels make of these is news, rules of matrices, one with rows, of which the first pass fills what they have and the last one reads it, and one
// that fills columns, and the norm with what it decides and with the sums of tensors. SGD has L1 and Adam L2: beside L2, which makes a NaN of a gradient whose
// parameter is one, nobody sees what L1 makes of that. The norm's kernels for scaled elements of other types than float64 are left out: beside
// float64 that must be scaled, nothing of those counts but an Inf or a NaN. The norm's kernel for float16 is bfloat16's but for what decodes it.
// The kernels that fold the tiles of fills are left out, as few tensors of the suite have many: ptxvm's tests of fills are there for them.
func subjects() []subject {
	sgd := rules.SGDRule().With(rules.SGDHyper{}, rules.SGDOptions{Momentum: true, Nesterov: true})
	adam := rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{AMSGrad: true})
	plain := rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{})
	heavy := rules.SGDRule().With(rules.SGDHyper{}, rules.SGDOptions{Momentum: true})
	descent := rules.SGDRule().With(rules.SGDHyper{}, rules.SGDOptions{})
	both := regexp.MustCompile(`_(update|prologue)$`)
	update := regexp.MustCompile(`_update$`)
	tensors := regexp.MustCompile(`_tensors$`)
	fills := regexp.MustCompile(`_(0_update|tensors)$`)
	staged, matrices := kerneltest.Staged(stop{})[0], kerneltest.Matrices(stop{})
	rows, columns := matrices[1], matrices[2]
	list := []subject{
		{ptx.Norm(kernels.Norm()), regexp.MustCompile(`^norm_(scaled_)?sums`), func(t kerneltest.T, b kernels.Backend) { kerneltest.Norm(t, b, kernels.Norm(), false) }, 0},
		{ptx.Norm(kernels.Norm()), regexp.MustCompile(`^norm_(squares_(f32|f64|bf16)|scaled_squares_f64)`), func(t kerneltest.T, b kernels.Backend) { kerneltest.Norm(t, b, kernels.Norm(), true) }, 0},
		{ptx.Norm(kernels.Norm()), regexp.MustCompile(`^norm_(scaled_)?root`), func(t kerneltest.T, b kernels.Backend) {
			kerneltest.Control(t, b, kernels.Norm())
			kerneltest.Norm(t, b, kernels.Norm(), true)
		}, 0},
		{ptx.Norm(kernels.NormOfTensors()), regexp.MustCompile(`^norm_tensors_(scaled_)?own`), func(t kerneltest.T, b kernels.Backend) {
			kerneltest.Norm(t, b, kernels.NormOfTensors(), true)
		}, 0},
	}
	for _, s := range []struct {
		kernels.Spec
		kernels *regexp.Regexp
		chunk   int
	}{
		{kernels.Spec{Rule: sgd.Rule, Options: sgd.Options, Around: rule.L1, Compute: device.Float32}, both, 0},
		{kernels.Spec{Rule: adam.Rule, Options: adam.Options, Around: rule.L2, Compute: device.Float32}, both, 0},
		{kernels.Spec{Rule: plain.Rule, Options: plain.Options, Compute: device.Float64}, both, 0},
		{kernels.Spec{Rule: heavy.Rule, Options: heavy.Options, Compute: device.Float32, Formats: "param=bf16 grad=f16 momentum_buffer=bf16"}, update, 4096},
		{kernels.Spec{Rule: plain.Rule, Options: plain.Options, Compute: device.Float32, Formats: "param=bf16 grad=bf16 exp_avg=f16"}, update, 0},
		{kernels.Spec{Rule: sgd.Rule, Options: sgd.Options, Around: rule.L1 | rule.ClipValue | rule.EMA | rule.ZeroGrad, Compute: device.Float32, Formats: "param=bf16/sr"}, both, 0},
		{kernels.Spec{Rule: descent.Rule, Compute: device.Float32, Formats: "param=bf16+i16 grad=bf16"}, update, 4096},
		{kernels.Spec{Rule: descent.Rule, Around: rule.ClipTensorNorm, Compute: device.Float64}, tensors, 0},
		{kernels.Spec{Rule: staged, Options: 1, Compute: device.Float32}, fills, 0},
		{kernels.Spec{Rule: rows, Options: rows.MatrixOption(), Compute: device.Float32}, regexp.MustCompile(`_(0_update|2_update|lines)$`), 0},
		{kernels.Spec{Rule: columns, Options: columns.MatrixOption(), Compute: device.Float32}, regexp.MustCompile(`_columns$`), 0},
	} {
		p, err := kernels.New(s.Spec)
		if err != nil {
			panic(err)
		}
		m := ptx.New(p)
		list = append(list, subject{m.Text, s.kernels, func(t kerneltest.T, b kernels.Backend) { kerneltest.Program(t, b, p) }, s.chunk})
	}
	return list
}

// try runs the suite with the subject's text changed on its way into the driver.
func (s *subject) try(changed string) string {
	d := emu.New(emu.Config{Checks: ptxvm.AllChecks, Seed: 1, Budget: 1 << 16})
	defer d.Install()()
	replaced := false
	image := append([]byte(changed), 0)
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		if e == driver.CuModuleLoadDataEx && unix.BytePtrToString(driver.Pointer[byte](args[1])) == s.text {
			args[1] = uint64(uintptr(unsafe.Pointer(&image[0]))) // which this function keeps
			replaced = true
		}
		return 0, false
	})()
	if err := os.Setenv("FUSESTEP_CUDA_GEOMETRY", fmt.Sprintf("0x%d", s.chunk)); err != nil {
		panic(err)
	}
	dev, err := cuda.Open(0)
	if err != nil {
		panic(err)
	}
	failed := attempt(func(t kerneltest.T) { s.check(t, dev) })
	_ = dev.Device().Close() // a fault is in this error too
	var f *ptxvm.Fault
	switch {
	case !replaced:
		panic("the suite has not loaded the text")
	case len(d.Faults()) > 0 && errors.As(d.Faults()[0], &f) && f.Kind == ptxvm.Budget:
		return endless
	case len(d.Faults()) > 0:
		return fault
	case failed:
		return bits
	}
	return survived
}

// attempt says whether a check failed.
func attempt(check func(t kerneltest.T)) (failed bool) {
	defer func() {
		if r := recover(); r == (stop{}) {
			failed = true
		} else if r != nil {
			panic(r)
		}
	}()
	check(stop{})
	return false
}

// stop is a kerneltest.T, and what it panics with at the first failure.
type stop struct{}

func (stop) Errorf(string, ...any) {}
func (stop) FailNow()              { panic(stop{}) }
func (stop) Fatalf(string, ...any) { panic(stop{}) }

// worker is the variable that makes a process a worker.
const worker = "FUSESTEP_MUTATE_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(worker) == "" {
		os.Exit(m.Run())
	}
	list := subjects()
	made := make([][]mutation, len(list))
	for i, s := range list {
		made[i] = mutations(s.text, s.kernels)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var i, k int
		if _, err := fmt.Sscan(in.Text(), &i, &k); err != nil {
			panic(err)
		}
		fmt.Println(list[i].try(made[i][k].apply(list[i].text)))
	}
}
