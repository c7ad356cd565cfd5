package gorgonia

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// node is a Gorgonia node in one step.
type node struct {
	optim.Param
	label       string // the name that Gorgonia has for it; may be empty, or another node's too
	value, grad elements
	passing     bool // the gradient is a derivative's value, which the next run makes anew
}

func (n *node) fail(err error) error { return &optim.TensorError{Tensor: n.Name, Err: err} }

// unnamed is what Gorgonia calls an input that was given no name.
var unnamed = new(gorgonia.Node).Name()

func label(v gorgonia.ValueGrad) string {
	if n, ok := v.(gorgonia.Namer); ok && n.Name() != unnamed {
		return n.Name()
	}
	return ""
}

// uniqueName is what the optimizer calls node i.
func uniqueName(label string, i int, taken map[string]bool) string {
	switch {
	case label == "":
		return fmt.Sprintf("0.%d", i) // as package optim has it
	case taken[label]:
		return fmt.Sprintf("%s#%d", label, i)
	}
	taken[label] = true
	return label
}

// read finds the memory of the node's value and gradient.
func (n *node) read(v gorgonia.ValueGrad) (err error) {
	if v == nil {
		return errors.New("node is nil")
	}
	value := v.Value()
	if n.value, err = elementsOf(value); err != nil {
		return fmt.Errorf("value %w", err)
	}
	n.Shape = shape(value)
	grad, err := v.Grad()
	if err != nil {
		return fmt.Errorf("grad: %w", err)
	}
	if n.grad, err = elementsOf(grad); err != nil {
		return fmt.Errorf("grad %w", err)
	}
	if x, ok := v.(*gorgonia.Node); ok && x.Deriv() != nil {
		n.passing = x.Deriv().Value() == grad
	}
	return sameOrder(value, grad)
}

// elements are the elements of a value, in place and in the order of memory.
type elements interface {
	same(elements) bool
	wrap(*cpu.Device) (*device.Buffer, error)
	alloc(*device.Device) (*device.Buffer, error)
	upload(*device.Stream, *device.Buffer) error
	download(*device.Stream, *device.Buffer) error
	zero()
}

func elementsOf(v gorgonia.Value) (elements, error) {
	switch v := v.(type) {
	case nil:
		return nil, errors.New("is nil")
	case *gorgonia.F32:
		return vector[float32](unsafe.Slice((*float32)(v), 1)), nil
	case *gorgonia.F64:
		return vector[float64](unsafe.Slice((*float64)(v), 1)), nil
	case *tensor.Dense:
		return elementsOfDense(v)
	}
	return nil, fmt.Errorf("is a %T: %w", v, device.ErrUnsupported)
}

func elementsOfDense(t *tensor.Dense) (elements, error) {
	var e elements
	n := 0
	switch {
	case !t.IsNativelyAccessible():
		return nil, fmt.Errorf("is in memory that Go cannot reach: %w", device.ErrUnsupported)
	case len(t.Mask()) > 0:
		return nil, fmt.Errorf("is masked: %w", device.ErrUnsupported)
	case t.Dtype() == tensor.Float32:
		x := t.Float32s()
		e, n = vector[float32](x), len(x)
	case t.Dtype() == tensor.Float64:
		x := t.Float64s()
		e, n = vector[float64](x), len(x)
	default:
		return nil, fmt.Errorf("is of %s: %w", t.Dtype(), device.ErrUnsupported)
	}
	if n != t.Shape().TotalSize() {
		return nil, fmt.Errorf("has %d elements, with gaps between them, in memory of %d: %w",
			t.Shape().TotalSize(), n, device.ErrUnsupported)
	}
	return e, nil
}

// sameOrder says whether the elements of two values that have no gaps stand in the same order.
func sameOrder(value, grad gorgonia.Value) error {
	v, isDense := value.(*tensor.Dense)
	g, areDense := grad.(*tensor.Dense)
	switch {
	case !isDense || !areDense: // a scalar, which may stand beside a tensor of one element
		return nil
	case !g.Shape().Eq(v.Shape()):
		return fmt.Errorf("grad is of shape %v, value of shape %v", g.Shape(), v.Shape())
	case !slices.Equal(strides(g), strides(v)):
		return fmt.Errorf("grad has strides %v, value has %v: %w", g.Strides(), v.Strides(), device.ErrUnsupported)
	}
	return nil
}

// shape is a value's axes in the order of memory, the last one's elements next to each other.
func shape(v gorgonia.Value) []int {
	t, ok := v.(*tensor.Dense)
	if !ok {
		return nil
	}
	axes := make([]int, t.Dims())
	for i := range axes {
		axes[i] = i
	}
	stride := func(i int) int { return t.Strides()[min(i, len(t.Strides())-1)] }
	slices.SortStableFunc(axes, func(a, b int) int { return cmp.Compare(stride(b), stride(a)) })
	for i, axis := range axes {
		axes[i] = t.Shape()[axis]
	}
	return axes
}

// strides are those of the dimensions that have more than one element; of others they mean nothing.
func strides(t *tensor.Dense) (out []int) {
	for i, n := range t.Shape() {
		if n != 1 {
			out = append(out, t.Strides()[min(i, len(t.Strides())-1)]) // a row may have one stride for two dimensions
		}
	}
	return out
}

// vector implements elements.
type vector[F float32 | float64] []F

func (x vector[F]) same(o elements) bool {
	y, ok := o.(vector[F])
	return ok && len(x) == len(y) && unsafe.SliceData(x) == unsafe.SliceData(y)
}

func (x vector[F]) wrap(d *cpu.Device) (*device.Buffer, error) { return cpu.Wrap(d, x) }

func (x vector[F]) alloc(d *device.Device) (*device.Buffer, error) {
	return d.Alloc(device.DTypeOf[F](), len(x))
}

func (x vector[F]) upload(s *device.Stream, b *device.Buffer) error { return device.Upload(s, b, x) }
func (x vector[F]) download(s *device.Stream, b *device.Buffer) error {
	return device.Download(s, x, b)
}
func (x vector[F]) zero() { clear(x) }
