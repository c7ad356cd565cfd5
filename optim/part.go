package optim

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// part is the tensors of a group whose values and gradients have the same types, so one program, and one history: they have taken the same steps, so
// that one prologue serves them. All of them have a gradient, or none has.
type part struct {
	group    *group
	program  *kernels.Program
	params   []*param
	counters *device.Buffer // of the prologue, on the device
	changed  bool           // the program, tensors or buffers are not those that were compiled
	moved    moves          // buffers that a kernels.Mover's update is still to follow

	// The host runs each step's prologue too, as it enqueues the step. Its bits are the device's.
	mirror  []float64 // what they are, after the steps enqueued so far
	next    []float64 // what they will be after the step that is being made
	scalars []float64 // of that step
	unsure  bool      // a step failed half way: mirror is to be read back
	ahead   bool      // mirror counts steps that may have been skipped: it is to be read back where what it says matters

	fresh    bool      // no step has been taken; where mirror is ahead, none may have been
	filled   []float64 // by slot: what state of fresh tensors has been filled with
	launched bool      // it was active when the launches were made
	mixed    bool      // tensors with and without a gradient, or with gradients of several types, are in it, which regroup parts
	told     bool      // the user has set mirror since the last step
	recorded bool      // a step was recorded, whose launches advance counters: mirror is ahead or behind
	adrift   int       // by how much SetSteps has changed the optimizer's count since then, while mirror stayed
}

func newPart(g *group, program *kernels.Program) *part {
	r := program.Rule
	return &part{group: g, program: program, mirror: program.InitialCounters(), next: program.InitialCounters(), scalars: make([]float64, program.NumScalars()),
		fresh: true, filled: make([]float64, len(r.Slots)), changed: true}
}

// active says whether the part takes part in steps.
func (q *part) active() bool { return len(q.params) > 0 && q.params[0].active() }

// steps is the number of steps taken, if the rule counts them.
func (q *part) steps() (n float64, counted bool) {
	i := q.program.StepCounter()
	if i < 0 {
		return 0, false
	}
	return q.mirror[i], true
}

// spec is what the part's program becomes with another setting, which has the same rule and formats.
func (q *part) spec(s rule.Setting) kernels.Spec {
	spec := q.program.Spec
	spec.Options, spec.Around = s.Options, s.Around()|q.group.common.around()
	if spec = spec.WithMatrix(true); spec.Matrix() { // else no tensor is looked at: ten thousand, which a step has left in no cache, are waited for
		spec = spec.WithMatrix(q.matrix())
	}
	return spec
}

// matrix says whether a tensor of the part has a matrix view. Where the program looks at that, all have one or none has, or the part is mixed.
func (q *part) matrix() bool {
	if len(q.params) == 0 {
		return q.program.Matrix()
	}
	return slices.ContainsFunc(q.params, func(p *param) bool { return p.matrix })
}

// runs says whether the part's program is the setting's.
func (q *part) runs(s rule.Setting) bool { return q.program.Spec == q.spec(s) }

// check says whether the device and the types can hold what a new part has.
func (q *part) check(b Backend) error {
	held := b.Storage(q.program.Compute)
	for k, plane := range q.program.Planes {
		if !slices.Contains(held, plane.DType) {
			return fmt.Errorf("optim: group %d: %s is %s: %w", q.group.index, q.program.PlaneName(k), plane.DType, device.ErrUnsupported)
		}
		if slot := q.program.Of(k); plane.Name != "" && slot.Role != kernels.Parameter {
			return fmt.Errorf("optim: group %d: %w", q.group.index, &format.Error{Slot: slot.Name, Format: slot.Format.String(), Compute: q.program.Compute})
		}
		if plane.Name != "" && q.program.Rule.Slot(plane.Name) >= 0 {
			return fmt.Errorf("optim: group %d: rule %s has a slot %q, which is what stands beside the parameter", q.group.index, q.program.Rule.Name, plane.Name)
		}
	}
	if err := q.group.common.check(q.program.Compute); err != nil {
		return err
	}
	return checkPrecision(q.group.setting, q.program.Spec)
}

// start allocates what new tensors need.
func (q *part) start(dev *device.Device) error {
	for k, h := range q.program.Rule.Start {
		if h >= 0 {
			q.filled[k] = q.group.setting.Hyper[h] // what the caller's state is taken to have started with
		}
	}
	if err := q.allocate(dev, q.program, q.group.setting); err != nil {
		return err
	}
	if q.group.common.accumulate {
		if err := q.allocateSums(dev); err != nil {
			return err
		}
	}
	var err error
	if q.counters, err = dev.Alloc(device.Float64, len(q.mirror)); err != nil {
		return err
	}
	return q.upload(dev.DefaultStream())
}

// upload brings mirror to the device and waits.
func (q *part) upload(s *device.Stream) error {
	if err := device.Upload(s, q.counters, q.mirror); err != nil {
		return err
	}
	return s.Synchronize()
}

// download reads mirror back and waits.
func (q *part) download(s *device.Stream) error {
	if err := device.Download(s, q.mirror, q.counters); err != nil {
		return err
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	q.unsure, q.ahead = false, q.recorded
	q.fresh = q.fresh && slices.Equal(q.mirror, q.program.InitialCounters())
	return nil
}

// settle reads mirror back if steps may have been skipped.
func (q *part) settle(s *device.Stream) error {
	if !q.ahead {
		return nil
	}
	return q.read(s)
}

// fork makes a part without tensors that has q's history, after the steps enqueued on s, and a program of the same rule.
func (q *part) fork(s *device.Stream, program *kernels.Program) (*part, error) {
	if q.recorded {
		return nil, ErrRecorded
	}
	f := newPart(q.group, program)
	copy(f.mirror, q.mirror)
	copy(f.filled, q.filled)
	f.ahead, f.fresh, f.told, f.adrift = q.ahead, q.fresh, q.told, q.adrift
	var err error
	if f.counters, err = s.Device().Alloc(device.Float64, len(f.mirror)); err != nil {
		return nil, err
	}
	if err := s.Copy(f.counters, q.counters); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// close frees the prologue's counters.
func (q *part) close() error {
	if q.counters == nil {
		return nil
	}
	b := q.counters
	q.counters = nil
	return b.Close()
}

// programOf is what a step of the group now runs on the tensor, with the gradient that it has. The part's program is the group's already.
func (p *param) programOf() (*kernels.Program, error) {
	q := p.part.program
	k := q.Slot(rule.Grad)
	if q.Spec.WithMatrix(p.matrix) != q.Spec {
		return kernels.New(p.spec(p.group.now))
	}
	if p.grad() == nil || k < 0 || q.Planes[q.Slots[k].Plane].DType == p.grad().DType() {
		return q, nil
	}
	return kernels.New(p.spec(p.group.now))
}

// regroup makes the group's parts anew: of the tensors with one program and one history that have a gradient, and of those that
// have none.
func (g *group) regroup(s *device.Stream) (err error) {
	type key struct {
		program       *kernels.Program
		active, fresh bool
		told          bool
		adrift        int
		history       string
		recorded      *part // which stays as it is
	}
	for _, q := range g.parts {
		if err := q.settle(s); err != nil {
			return err
		}
	}
	programs := make([]*kernels.Program, len(g.params))
	for i, p := range g.params {
		if programs[i], err = p.programOf(); err != nil {
			return fmt.Errorf("optim: group %d: %w", g.index, err)
		}
	}
	var parts, made []*part
	by := map[key]*part{}
	kept := map[*part]bool{}
	members := map[*part][]*param{}
	for i, p := range g.params {
		k := key{programs[i], p.active(), p.part.fresh, p.part.told, p.part.adrift, bitsOf(p.part.mirror), nil}
		if p.part.recorded {
			k.recorded = p.part
		}
		if k.fresh {
			k.history += bitsOf(p.part.filled)
		}
		q := by[k]
		if q == nil {
			if q = p.part; kept[q] {
				if q, err = p.part.fork(s, k.program); err != nil {
					for _, f := range made {
						err = errors.Join(err, f.close())
					}
					return fmt.Errorf("optim: group %d: %w", g.index, err)
				}
				made = append(made, q)
			}
			q.program, kept[q], by[k] = k.program, true, q
			parts = append(parts, q)
		}
		members[q] = append(members[q], p)
	}
	var errs []error
	for _, q := range g.parts {
		if !kept[q] {
			errs = append(errs, q.close())
		}
	}
	for _, q := range parts {
		q.changed = q.changed || !slices.Equal(q.params, members[q])
		q.params, q.mixed = members[q], false
		for _, p := range q.params {
			p.part = q
		}
	}
	g.parts = parts
	return errors.Join(errs...)
}

func bitsOf(x []float64) string {
	b := make([]byte, 0, 8*len(x))
	for _, v := range x {
		for u, i := math.Float64bits(v), 0; i < 8; u, i = u>>8, i+1 {
			b = append(b, byte(u))
		}
	}
	return string(b)
}
