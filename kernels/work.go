package kernels

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Tensor is a parameter with its gradient and state: a buffer for each of the program's planes. Those of elements have one length.
type Tensor struct {
	Group  int
	ID     uint64 // which of a training's tensors it is: the same after a resume, and on another device. See Index.
	Shape  []int  // of the whole tensor; nil says that it has one dimension
	Offset int    // of the first element here within the whole tensor, of which this may be a shard
	// Rows is how many rows the tensor's matrix view has, each of Len/Rows elements, one behind the other. A program with Spec.Matrix asks for it. It is 0
	// of a tensor of no elements, and where there is no matrix view.
	Rows int
	// Matrices is how many matrices these are the rows of, one behind the other, with as many rows each. Each has columns of its own. 0 is one.
	Matrices int
	Planes   []*device.Buffer // those of rows and columns have fewer elements: see Numbers
	// Sums are the tensor's: at least Program.SumWords of Float64. They begin as Program.InitialSums, and are kept from step to step.
	// Of a rule with Rule.Everything all tensors of a work have the same.
	Sums *device.Buffer
}

// Index is the index of the tensor's first element here among the elements of all tensors, modulo 2⁶⁴: what an executor makes ir.Element of. IDs
// are as far apart as tensors are long, or by chance nearly always.
func (t *Tensor) Index() uint64 { return t.ID + uint64(t.Offset) }

// Len is the number of elements.
func (t *Tensor) Len() int {
	if len(t.Planes) == 0 {
		return 0
	}
	return t.Planes[0].Len()
}

// Columns is how many elements each of Rows has; 0 where there is none.
func (t *Tensor) Columns() int {
	if t.Rows == 0 {
		return 0
	}
	return t.Len() / t.Rows
}

// Numbers is how many elements, rows or columns the tensor has: how many numbers a plane of the domain has.
func (t *Tensor) Numbers(d rule.Domain) int { return Numbers(d, t.Len(), t.Rows, t.Matrices) }

// Numbers is how many elements, rows or columns all matrices have that n elements in so many rows are.
func Numbers(d rule.Domain, n, rows, matrices int) int {
	switch {
	case d == rule.OfRows:
		return rows
	case d == rule.OfColumns && rows == 0:
		return 0
	case d == rule.OfColumns:
		return max(matrices, 1) * (n / rows)
	}
	return n
}

// RowsOfMatrix is how many of Rows are of one matrix.
func (t *Tensor) RowsOfMatrix() int { return t.Rows / max(t.Matrices, 1) }

// Work is a program with what it runs on.
type Work struct {
	Program  *Program
	Tensors  []Tensor
	Counters []*device.Buffer // per group, Float64, one a Program.Counters
}

// CheckRows refuses a tensor that is no matrix, and no matrices, where the program is of matrices, with a *RowsError. Every Compile and CompileTraffic calls it.
func (w *Work) CheckRows() error {
	for i := range w.Tensors {
		t := &w.Tensors[i]
		if n := t.Len(); w.Program.Matrix() && n > 0 && (t.Rows <= 0 || n%t.Rows != 0 || t.Matrices < 0 || t.Rows%max(t.Matrices, 1) != 0) {
			return &RowsError{w.Program, i, t.Rows, t.Matrices, n}
		}
	}
	return nil
}

// RowsError is a tensor of a program of matrices that has elements, and no rows that divide them, or matrices that do not divide the rows.
type RowsError struct {
	Program                  *Program
	Tensor                   int // its index in Work.Tensors
	Rows, Matrices, Elements int
}

func (e *RowsError) Error() string {
	if e.Matrices != 0 {
		return fmt.Sprintf("%s: tensor %d is no matrices: it has %d elements in %d rows of %d matrices", e.Program, e.Tensor, e.Elements, e.Rows, e.Matrices)
	}
	return fmt.Sprintf("%s: tensor %d is no matrix: it has %d elements in %d rows", e.Program, e.Tensor, e.Elements, e.Rows)
}

// Step is what a step of the work is given from outside.
type Step struct {
	Groups []GroupStep // one a Work.Counters
	// Control is ControlWords of Float64: see Control. Norm reads the state and the settings there and writes the rest; an update that has been
	// enqueued behind that reads Norm, Unscale and Skip. Nil: an update reads 0, 1 and 0.
	Control *device.Buffer
	// Commit, of Norm, measures nothing: the step that was measured for last has been enqueued, and the state behind it becomes the state.
	Commit bool
}

// GroupStep is what a step is given for one group.
type GroupStep struct {
	Hyper                           []float64      // one a Rule.Hyper, of this step: the learning rate is after its schedule
	Scale                           float64        // the gradient is multiplied by it. -1 maximises.
	MaxNorm                         float64        // gradients are clipped to it by the norm, which Step.Control has; 0 clips nothing, as +Inf does
	L1, WeightDecay, DecoupledDecay float64        // the setting's; L1 and WeightDecay count in a program that has the penalty
	ClipValue, EMADecay             float64        // likewise, of rule.ClipValue and rule.EMA
	MaxTensorNorm                   float64        // likewise, of rule.ClipTensorNorm: each tensor's gradient is clipped to it, by Tensor.Sums; 0 clips nothing, as +Inf does
	Clipping, ClipEps               float64        // likewise, of rule.AdaptiveClip: a unit's gradient is clipped to Clipping·max(norm of its parameter, ClipEps)
	Seed                            uint64         // of the noise, in a program that rounds stochastically
	LR                              *device.Buffer // one float64 that Launch of a Capturable takes for the learning rate in place of Hyper's, each time it runs; nil: Hyper's
	Off                             bool           // of a Mover alone: the step leaves the group's tensors and counters as they are
}

// GroupStepOf is a step of a group with the setting and the step's hyperparameters.
func GroupStepOf(s rule.Setting, hyper []float64) GroupStep {
	g := GroupStep{Hyper: hyper, Scale: 1, L1: s.L1, WeightDecay: s.WeightDecay, DecoupledDecay: s.DecoupledDecay, EMADecay: s.EMADecay, Seed: s.Seed}
	if s.Maximize {
		g.Scale = -1
	}
	return g
}

// Backend is a device that runs rules. What it is given has been checked: package optim does that.
type Backend interface {
	Device() *device.Device
	// Storage lists the types that memory can hold the planes of a program in, for a type that the program computes with: none if the device
	// does not compute with it.
	Storage(compute device.DType) []device.DType
	// Compile makes an update of the work, or a reduction over it, whose steps are ordered: all on one stream, or on streams that wait for each
	// other. All buffers are open and belong to this device. A tensor's buffers have the planes' types. A buffer that a step writes
	// overlaps no other buffer of the work.
	Compile(w Work) (Update, error)
	// CompileTraffic makes updates that load and store as much as w's does and leave every byte of w as it is, each in another way, and
	// at least one. The fastest is the ceiling that gpubench holds an update to. Their steps are not looked at. What a step stores and does
	// not load, such as a weight beside its master, is on a CPU loaded too, which a store to memory does anyhow, and on a GPU
	// stored to memory of the traffic's own.
	CompileTraffic(w Work) ([]Update, error)
}

// Update is work that is ready to run.
type Update interface {
	// Enqueue puts one step on the stream: the program's stages. It keeps nothing of step but Control. Hundreds of steps may be under way; then
	// it waits for the oldest.
	Enqueue(s *device.Stream, step Step) error
	// Close gives the update's own memory back, after the work enqueued so far.
	Close() error
}

// Capturable is an Update whose kernels read all that changes from step to step in the device's memory. So they can be recorded once, as in
// a CUDA graph, and run again and again: Device.Capture, or another framework's capture of its own stream. Enqueue is Feed, then Launch.
type Capturable interface {
	Update
	// Feed enqueues bringing there what a step is given. It comes before each run of the kernels, and is not recorded itself. Hundreds of
	// steps may be under way; then it waits for the oldest.
	Feed(s *device.Stream, step Step) error
	// Launch enqueues the kernels. Of step they take Control and the groups' LR, the same buffers each time they run.
	Launch(s *device.Stream, step Step) error
}
