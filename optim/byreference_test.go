package optim_test

import (
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
)

// byReference is a CPU whose steps are the reference's: everything but what an executor makes of a program.
type byReference struct{ kernels.Backend }

func (b byReference) Compile(w kernels.Work) (kernels.Update, error) {
	if w.Program.Reduces() {
		return b.Backend.Compile(w)
	}
	return &referenceUpdate{w}, nil
}

type referenceUpdate struct{ w kernels.Work }

func (*referenceUpdate) Close() error { return nil }

func (u *referenceUpdate) Enqueue(s *device.Stream, step kernels.Step) error {
	p := u.w.Program
	floats := func(b *device.Buffer) []float64 {
		x := make([]float64, b.Len())
		if err := device.DownloadFloats(s, x, b); err != nil {
			panic(err)
		}
		return x
	}
	norm, unscale := 0.0, 1.0
	if step.Control != nil {
		words := floats(step.Control)
		if norm, unscale = words[kernels.ControlNorm], words[kernels.ControlUnscale]; words[kernels.ControlSkip] == 1 {
			if len(p.Zeroed()) > 0 {
				return errors.New("a skipped step of the reference sets no gradients to 0 here")
			}
			return nil
		}
	}
	var counters [][]float64
	for _, b := range u.w.Counters {
		counters = append(counters, floats(b))
	}
	var tensors []reference.Tensor
	sums := map[*device.Buffer][]float64{} // which tensors may share
	for _, t := range u.w.Tensors {
		x := reference.Tensor{Group: t.Group, Index: t.Index(), Rows: t.Rows, Matrices: t.Matrices}
		for k, b := range t.Planes {
			plane := reference.Plane{}
			for _, v := range floats(b) {
				plane = append(plane, reference.Bits(p.Planes[k].DType, v))
			}
			x.Planes = append(x.Planes, plane)
		}
		if t.Sums != nil {
			if sums[t.Sums] == nil {
				sums[t.Sums] = floats(t.Sums)
			}
			x.Sums = sums[t.Sums]
		}
		tensors = append(tensors, x)
	}
	reference.Step(p, step.Groups, norm, unscale, counters, tensors)
	var err error
	for i, b := range u.w.Counters {
		err = errors.Join(err, device.UploadFloats(s, b, counters[i]))
	}
	for i, x := range tensors {
		for k, plane := range x.Planes {
			numbers := make([]float64, len(plane))
			for j, w := range plane {
				numbers[j] = reference.Value(p.Planes[k].DType, w)
			}
			if p.Planes[k].Store {
				err = errors.Join(err, device.UploadFloats(s, u.w.Tensors[i].Planes[k], numbers))
			}
		}
	}
	for b, x := range sums {
		err = errors.Join(err, device.UploadFloats(s, b, x))
	}
	return err
}
