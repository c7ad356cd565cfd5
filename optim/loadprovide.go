package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// provide allocates what the state will need and is not there.
func (l *loading) provide(s *device.Stream) error {
	o := l.o
	dev := o.backend.Device()
	o.memory.unmade = true
	if l.controls() {
		if err := o.control.allocate(dev); err != nil {
			return err
		}
	}
	for _, x := range l.groups {
		if err := o.supply(x.g, x.as.setting); err != nil {
			return err
		}
		lacking := map[*part]map[int][]*param{}
		for _, t := range x.tensors {
			for _, s := range t.slots {
				if t.p.slots[s.k] == nil {
					if lacking[t.p.part] == nil {
						lacking[t.p.part] = map[int][]*param{}
					}
					lacking[t.p.part][s.k] = append(lacking[t.p.part][s.k], t.p)
				}
			}
		}
		for _, t := range x.tensors {
			for _, s := range t.slots {
				params := lacking[t.p.part][s.k]
				if t.p.slots[s.k] != nil || len(params) == 0 {
					continue
				}
				q := &part{group: x.g, program: t.p.part.program, params: params}
				offsets, n, line := q.places(q.program, rule.OfElements)
				at := func(p *param) **device.Buffer { return &p.slots[s.k] }
				if _, err := q.place(dev, s.dtype, rule.OfElements, offsets, stagger(s.k, n, line), n, at); err != nil {
					return fmt.Errorf("group %d: state %s: %w", x.g.index, s.name, err)
				}
			}
		}
		if a := l.d.Around; a != nil && a.Accumulate {
			for _, q := range x.g.parts {
				if err := q.allocateSums(dev); err != nil {
					return fmt.Errorf("group %d: %w", x.g.index, err)
				}
			}
		}
		if err := x.divide(s); err != nil {
			return fmt.Errorf("group %d: %w", x.g.index, err)
		}
	}
	return nil
}

// divide makes parts for the tensors that will know something else than others of theirs.
func (x *groupLoad) divide(s *device.Stream) (err error) {
	type knowledge struct {
		of             *part
		counts, filled string
	}
	first := map[*part]knowledge{}
	forks := map[knowledge]*part{}
	x.forks = map[*tensorLoad]*part{}
	for _, t := range x.tensors {
		q := t.p.part
		k := knowledge{q, bitsOf(t.counters), fmt.Sprint(t.filled)}
		if _, ok := first[q]; !ok {
			first[q] = k
		}
		if k == first[q] {
			continue
		}
		if forks[k] == nil {
			if forks[k], err = q.fork(s, q.program); err != nil {
				return err
			}
		}
		x.forks[t] = forks[k]
	}
	return nil
}

// close gives back the parts that divide has made and that no tensor is in.
func (l *loading) close() error {
	var errs []error
	for _, x := range l.groups {
		for _, q := range x.forks {
			errs = append(errs, q.close())
		}
	}
	return errors.Join(errs...)
}

// controls says whether the device is told of the counts, or of what is skipped and scaled.
func (l *loading) controls() bool {
	a := l.d.Around
	return l.o.control.words != nil || l.d.SkippedSteps > 0 || l.d.Outcome != nil || a != nil && (a.GradScaler != nil || a.Skip != Skip{} || a.ClipNorm != 0 || a.ClipTensorNorm != 0)
}
