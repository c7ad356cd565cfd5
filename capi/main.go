// Command capi is fusestep as a library for C, and for all that calls C: go build -buildmode=c-shared. Fusestep.h says what its functions do.
//
// Shim.c has the functions, each with a look at whether the process is a child after fork; they call those that are exported here. A panic becomes
// an error.
package main

/*
#include <stdlib.h>
#include "fusestep.h"

void fusestep_parallel(fs_parallel parallel, int n, uintptr_t arg);
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/cgo"
	"runtime/debug"
	"slices"
	"sync"
	"unsafe"

	"github.com/fusestep/fusestep/capi/internal/door"
	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
)

func main() {}

// handles are what C has, by number. Nothing else is kept from call to call.
var handles struct {
	sync.Mutex
	last C.fs_handle
	is   map[C.fs_handle]any // *owned or *optimizer
}

// owned is a device, which is closed when its handle and its optimizers are gone.
type owned struct {
	*door.Device
	users int
}

type optimizer struct {
	*door.Optimizer
	dev *owned
}

// fail writes an error's text for C and gives its code.
func fail(err error, to *C.char, n C.size_t) C.int {
	if err != nil && to != nil && n > 0 {
		b := unsafe.Slice((*byte)(unsafe.Pointer(to)), n)
		text := err.Error()
		for i := range text {
			if text[i] == '\n' {
				text = text[:i]
				break
			}
		}
		k := copy(b[:n-1], text)
		for k > 0 && k < len(text) && text[k]&0xC0 == 0x80 { // not within a character
			k--
		}
		b[k] = 0
	}
	return C.int(door.CodeOf(err))
}

// guard does f, and makes a panic an error.
func guard(err *C.char, n C.size_t, f func() error) C.int {
	return fail(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = &door.Error{Code: door.Internal, Text: fmt.Sprintf("a fault of fusestep: %v", r)}
			}
		}()
		return f()
	}(), err, n)
}

func argument(format string, args ...any) error {
	return &door.Error{Code: door.Argument, Text: fmt.Sprintf(format, args...)}
}

func add(x any) C.fs_handle {
	if handles.is == nil {
		handles.is = map[C.fs_handle]any{}
	}
	handles.last++
	handles.is[handles.last] = x
	return handles.last
}

// find is what a handle is of.
func find[T any](h C.fs_handle, what string) (T, error) {
	handles.Lock()
	defer handles.Unlock()
	x, ok := handles.is[h].(T)
	if !ok {
		return x, &door.Error{Code: door.Handle, Text: fmt.Sprintf("handle %d is of no %s, or was freed", uint64(h), what)}
	}
	return x, nil
}

// release is said by what used a device. The lock is held.
func (d *owned) release() error {
	if d.users--; d.users > 0 {
		return nil
	}
	return d.Close()
}

// array is n elements in C's memory, which must be there and aligned.
func array[T any](what string, at unsafe.Pointer, n int) ([]T, error) {
	var x T
	switch {
	case n == 0:
		return []T{}, nil
	case at == nil:
		return nil, argument("%s is NULL", what)
	case uintptr(at)%unsafe.Alignof(x) != 0:
		return nil, argument("%s is %p, which is not aligned to %d", what, at, unsafe.Alignof(x))
	}
	return unsafe.Slice((*T)(at), n), nil
}

// optional is array, or nil where C has NULL.
func optional[T any](what string, at unsafe.Pointer, n int) ([]T, error) {
	if at == nil {
		return nil, nil
	}
	return array[T](what, at, n)
}

func text(s *C.char) string {
	if s == nil {
		return ""
	}
	return C.GoString(s)
}

//export fusestepText
func fusestepText(which C.int) *C.char {
	if which == 1 {
		return C.CString(door.Describe())
	}
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return C.CString(version)
}

//export fusestepRule
func fusestepRule(file, source, prologue, functions, out *C.char, size *C.size_t, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if file == nil || source == nil || prologue == nil || functions == nil || size == nil {
			return argument("file, source, prologue, functions or len is NULL")
		}
		s, err := door.Rule(text(file), text(source), text(prologue), text(functions))
		if err == nil {
			give(s, out, size)
		}
		return err
	})
}

// give writes a text to C's room, where that is enough, and says how much is.
func give(s string, out *C.char, size *C.size_t) {
	if room := int(*size); out != nil && room > len(s) {
		b := unsafe.Slice((*byte)(unsafe.Pointer(out)), room)
		b[copy(b, s)] = 0
	}
	*size = C.size_t(len(s) + 1)
}

//export fusestepDevice
func fusestepDevice(threads C.int, out *C.fs_handle, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error { return within(threads, nil, out) })
}

//export fusestepDeviceOn
func fusestepDeviceOn(threads C.int, parallel C.fs_parallel, out *C.fs_handle, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if parallel == nil {
			return argument("parallel is NULL")
		}
		if int(threads) > runtime.GOMAXPROCS(0) { // a thread would wait for one of Go's, which may take milliseconds to be let go
			return within(threads, nil, out)
		}
		return within(threads, func(n int, work func(int)) {
			h := cgo.NewHandle(work)
			defer h.Delete()
			C.fusestep_parallel(parallel, C.int(n), C.uintptr_t(h))
		}, out)
	})
}

// within makes a device whose calls wait for their work, on threads of its own or lent.
func within(threads C.int, lend func(n int, work func(int)), out *C.fs_handle) error {
	if out == nil {
		return argument("device is NULL")
	}
	n := int(threads)
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	own(door.OnCPU(cpu.NewWithin(n, lend)), out)
	return nil
}

//export fusestepWork
func fusestepWork(of C.uintptr_t, i C.int) { cgo.Handle(of).Value().(func(int))(int(i)) }

// own makes a handle of a device.
func own(d *door.Device, out *C.fs_handle) {
	handles.Lock()
	defer handles.Unlock()
	*out = add(&owned{d, 1})
}

//export fusestepCUDA
func fusestepCUDA(ordinal C.int, out *C.fs_handle, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if out == nil {
			return argument("device is NULL")
		}
		d, err := cuda.Open(int(ordinal))
		if err == nil {
			own(door.OnGPU(d), out)
		}
		return err
	})
}

//export fusestepStream
func fusestepStream(h C.fs_handle, stream unsafe.Pointer, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		o, err := find[*optimizer](h, "optimizer")
		if err != nil {
			return err
		}
		return o.SetStream(uintptr(stream))
	})
}

//export fusestepNew
func fusestepNew(dev C.fs_handle, algorithm *C.char, out *C.fs_handle, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if out == nil {
			return argument("optimizer is NULL")
		}
		if algorithm == nil {
			return argument("algorithm is NULL")
		}
		d, err := find[*owned](dev, "device")
		if err != nil {
			return err
		}
		o, err := door.New(d.Device, text(algorithm))
		if err != nil {
			return err
		}
		handles.Lock()
		defer handles.Unlock()
		if handles.is[dev] != any(d) {
			return &door.Error{Code: door.Handle, Text: "the device was freed meanwhile"}
		}
		d.users++
		*out = add(&optimizer{o, d})
		return nil
	})
}

//export fusestepFree
func fusestepFree(h C.fs_handle, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if h == 0 {
			return nil
		}
		handles.Lock()
		x, ok := handles.is[h]
		delete(handles.is, h)
		handles.Unlock()
		if !ok {
			return &door.Error{Code: door.Handle, Text: fmt.Sprintf("handle %d is of nothing, or was freed", uint64(h))}
		}
		var first error
		d, ok := x.(*owned)
		if !ok {
			o := x.(*optimizer)
			first, d = o.Close(), o.dev
		}
		handles.Lock()
		defer handles.Unlock()
		if err := d.release(); first == nil {
			first = err
		}
		return first
	})
}

// dtype is a type of C's.
func dtype(what string, t C.uint8_t) (device.DType, error) {
	if d := device.DType(t); d >= device.Float32 && d <= device.Float16 {
		return d, nil
	}
	return 0, argument("%s is %d, must be FS_F32, FS_F64, FS_BF16 or FS_F16", what, t)
}

// typesOf are the types of n tensors: those of an array, or one of all.
func typesOf(what string, all *C.uint8_t, one C.uint8_t, n int) ([]device.DType, error) {
	each, err := optional[C.uint8_t](what, unsafe.Pointer(all), n)
	if err != nil {
		return nil, err
	}
	out := make([]device.DType, n)
	for i := range out {
		t := one
		if each != nil {
			t = each[i]
		}
		if out[i], err = dtype(what, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

//export fusestepAddGroup
func fusestepAddGroup(h C.fs_handle, in *C.fs_group, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		o, err := find[*optimizer](h, "optimizer")
		if err != nil {
			return err
		}
		if in == nil {
			return argument("group is NULL")
		}
		g := door.Group{Options: text(in.options)}
		tensors := int(in.n)
		lengths, err := array[C.size_t]("lengths", unsafe.Pointer(in.lengths), tensors)
		if err != nil {
			return err
		}
		for i, n := range lengths {
			if n > 1<<60 {
				return argument("lengths[%d] is %d", i, n)
			}
			g.Lengths = append(g.Lengths, int(n))
		}
		rows, err := optional[C.size_t]("matrix_rows", unsafe.Pointer(in.matrix_rows), tensors)
		if err != nil {
			return err
		}
		for i, n := range rows {
			if n > 1<<60 {
				return argument("matrix_rows[%d] is %d", i, n)
			}
			g.Rows = append(g.Rows, int(n))
		}
		matrices, err := optional[C.size_t]("matrices", unsafe.Pointer(in.matrices), tensors)
		if err != nil {
			return err
		}
		for i, n := range matrices {
			if n > 1<<60 {
				return argument("matrices[%d] is %d", i, n)
			}
			g.Matrices = append(g.Matrices, int(n))
		}
		values, err := array[unsafe.Pointer]("values", unsafe.Pointer(in.values), tensors)
		if err != nil {
			return err
		}
		g.Values = values
		if g.Hyper, err = optional[float64]("hyper", unsafe.Pointer(in.hyper), o.Hyper()); err != nil {
			return err
		}
		if g.Value, err = typesOf("value_type", in.value_types, in.value_type, tensors); err != nil {
			return err
		}
		switch {
		case in.gradient_types == nil && in.gradient_type == 0:
			g.Grad = slices.Clone(g.Value)
		default:
			if g.Grad, err = typesOf("gradient_type", in.gradient_types, in.gradient_type, tensors); err != nil {
				return err
			}
		}
		if in.state != nil {
			rows, err := o.RowsOf(g.Options)
			if err != nil {
				return err
			}
			if g.State, err = table("state", unsafe.Pointer(in.state), repeat(tensors, rows-2)); err != nil {
				return err
			}
		}
		return o.AddGroup(g)
	})
}

func repeat(x, n int) []int { return slices.Repeat([]int{x}, n) }

// table is C's rows, of so many pointers each.
func table(what string, at unsafe.Pointer, lengths []int) ([][]unsafe.Pointer, error) {
	rows, err := array[unsafe.Pointer](what, at, len(lengths))
	if err != nil {
		return nil, err
	}
	out := make([][]unsafe.Pointer, len(rows))
	for i, row := range rows {
		if out[i], err = optional[unsafe.Pointer](what, row, lengths[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

//export fusestepRows
func fusestepRows(h C.fs_handle, group C.size_t, out *C.size_t, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		o, err := find[*optimizer](h, "optimizer")
		if err != nil {
			return err
		}
		if out == nil {
			return argument("rows is NULL")
		}
		rows, err := o.Rows(index(group))
		if err == nil {
			*out = C.size_t(rows)
		}
		return err
	})
}

// index is a group's, or one that there is not.
func index(group C.size_t) int {
	if group > 1<<31 {
		return 1 << 31
	}
	return int(group)
}

//export fusestepStep
func fusestepStep(h C.fs_handle, in *C.fs_args, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		o, a, err := args(h, in)
		if err != nil {
			return err
		}
		out, err := o.Step(a)
		if err == nil {
			tell(out, in.grad_norm, in.skipped)
		}
		return err
	})
}

//export fusestepCapture
func fusestepCapture(h C.fs_handle, in *C.fs_args, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		o, a, err := args(h, in)
		if err != nil {
			return err
		}
		return o.Capture(a)
	})
}

// args are an optimizer, and what a step of it is given.
func args(h C.fs_handle, in *C.fs_args) (o *optimizer, a door.Args, err error) {
	if o, err = find[*optimizer](h, "optimizer"); err != nil {
		return nil, a, err
	}
	if in == nil {
		return nil, a, argument("args is NULL")
	}
	tensors, rows := o.Shape()
	var lengths []int
	all := 0
	for i, n := range tensors {
		all += n
		lengths = append(lengths, repeat(n, rows[i])...)
	}
	a = door.Args{MaxNorm: float64(in.max_norm), MaxTensorNorm: float64(in.max_tensor_norm), ClipValue: float64(in.clip_value),
		AdaptiveClip: float64(in.adaptive_clip), AdaptiveEps: float64(in.adaptive_eps), Tell: in.grad_norm != nil || in.skipped != nil}
	if o.OnGPU() {
		a.ScaleAt, a.FoundAt = unsafe.Pointer(in.grad_scale), unsafe.Pointer(in.found_inf)
	} else if a.FoundInf = in.found_inf != nil && *in.found_inf != 0; in.grad_scale != nil {
		if a.Scale = float32(*in.grad_scale); !(a.Scale > 0) {
			return nil, a, argument("grad_scale is %v, must be above 0", a.Scale)
		}
	}
	if a.Hyper, err = optional[float64]("hyper", unsafe.Pointer(in.hyper), len(tensors)*o.Hyper()); err != nil {
		return nil, a, err
	}
	if a.Mask, err = optional[uint8]("mask", unsafe.Pointer(in.mask), all); err != nil {
		return nil, a, err
	}
	if a.Rates, err = optional[unsafe.Pointer]("lr", unsafe.Pointer(in.lr), len(tensors)); err != nil {
		return nil, a, err
	}
	if in.rows != nil {
		if a.Rows, err = table("rows", unsafe.Pointer(in.rows), lengths); err != nil {
			return nil, a, err
		}
	}
	return o, a, nil
}

// tell gives C what became of a step.
func tell(out door.Result, norm *C.double, skipped *C.int) {
	if norm != nil {
		*norm = C.double(out.Norm)
	}
	if skipped != nil {
		*skipped = 0
		if out.Skipped {
			*skipped = 1
		}
	}
}

//export fusestepOutcome
func fusestepOutcome(h C.fs_handle, norm *C.double, skipped *C.int, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		o, err := find[*optimizer](h, "optimizer")
		if err != nil {
			return err
		}
		out, err := o.Outcome()
		if err == nil {
			tell(out, norm, skipped)
		}
		return err
	})
}

//export fusestepDefaults
func fusestepDefaults(algorithm *C.char, out *C.double, size *C.size_t, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if algorithm == nil || size == nil {
			return argument("algorithm or n is NULL")
		}
		_, defaults, err := door.Hyper(text(algorithm))
		if err != nil {
			return err
		}
		if out != nil && int(*size) >= len(defaults) {
			to, err := array[float64]("out", unsafe.Pointer(out), len(defaults))
			if err != nil {
				return err
			}
			copy(to, defaults)
		}
		*size = C.size_t(len(defaults))
		return nil
	})
}

//export fusestepIndex
func fusestepIndex(algorithm, name *C.char, out *C.size_t, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if algorithm == nil || name == nil || out == nil {
			return argument("algorithm, name or index is NULL")
		}
		names, _, err := door.Hyper(text(algorithm))
		if err != nil {
			return err
		}
		i := slices.Index(names, text(name))
		if i < 0 {
			return argument("%s has no hyperparameter %q, only %q", text(algorithm), text(name), names)
		}
		*out = C.size_t(i)
		return nil
	})
}

//export fusestepSlots
func fusestepSlots(algorithm *C.char, in *C.fs_group, out *C.char, size *C.size_t, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		if algorithm == nil || in == nil || size == nil {
			return argument("algorithm, group or len is NULL")
		}
		names, _, err := door.Hyper(text(algorithm))
		if err != nil {
			return err
		}
		values, err := optional[float64]("hyper", unsafe.Pointer(in.hyper), len(names))
		if err != nil {
			return err
		}
		value, err := dtype("value_type", in.value_type)
		if err != nil {
			return err
		}
		gradient := value
		if in.gradient_type != 0 {
			if gradient, err = dtype("gradient_type", in.gradient_type); err != nil {
				return err
			}
		}
		matrix, err := optional[C.size_t]("matrix_rows", unsafe.Pointer(in.matrix_rows), min(int(in.n), 1))
		if err != nil {
			return err
		}
		s, err := door.Slots(text(algorithm), values, text(in.options), value, gradient, len(matrix) > 0 && matrix[0] != 0)
		if err != nil {
			return err
		}
		give(s, out, size)
		return nil
	})
}

// each does f with an array of C's that has so many elements for each of a group's tensors.
func each[T any](h C.fs_handle, group C.size_t, what string, at unsafe.Pointer, per func(*optimizer) int, f func(*optimizer, []T) error) error {
	o, err := find[*optimizer](h, "optimizer")
	if err != nil {
		return err
	}
	n, err := o.Tensors(index(group))
	if err != nil {
		return err
	}
	x, err := array[T](what, at, n*per(o))
	if err != nil {
		return err
	}
	return f(o, x)
}

func counters(o *optimizer) int { return o.NumCounters() }
func once(*optimizer) int       { return 1 }

//export fusestepCounters
func fusestepCounters(h C.fs_handle, group C.size_t, out *C.double, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		return each(h, group, "out", unsafe.Pointer(out), counters, func(o *optimizer, x []float64) error { return o.Counters(index(group), x) })
	})
}

//export fusestepSetCounters
func fusestepSetCounters(h C.fs_handle, group C.size_t, in *C.double, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		return each(h, group, "in", unsafe.Pointer(in), counters, func(o *optimizer, x []float64) error { return o.SetCounters(index(group), x) })
	})
}

//export fusestepRow
func fusestepRow(h C.fs_handle, group, row C.size_t, out *unsafe.Pointer, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		return each(h, group, "out", unsafe.Pointer(out), once, func(o *optimizer, x []unsafe.Pointer) error {
			return o.Row(index(group), index(row), x)
		})
	})
}

//export fusestepEval
func fusestepEval(h C.fs_handle, group C.size_t, to *unsafe.Pointer, err *C.char, n C.size_t) C.int {
	return guard(err, n, func() error {
		return each(h, group, "to", unsafe.Pointer(to), once, func(o *optimizer, x []unsafe.Pointer) error { return o.Eval(index(group), x) })
	})
}
