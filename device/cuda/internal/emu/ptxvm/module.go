package ptxvm

import "sync"

// A Module is a parsed PTX text.
type Module struct {
	Version string // of PTX, "7.0"
	Target  string // "sm_75"

	kernels map[string]*Kernel
	names   []string
}

// Kernel returns the entry of that name, or nil.
func (m *Module) Kernel(name string) *Kernel { return m.kernels[name] }

// Kernels lists the entries in the order of the text.
func (m *Module) Kernels() []string { return append([]string(nil), m.names...) }

// A Param is one parameter of a kernel.
type Param struct {
	Name string
	Size uint64 // bytes
	off  uint64
}

// A Kernel is an entry of a module, ready to run. Launches leave it as it is.
type Kernel struct {
	name   string
	params []Param
	source []string // the module's lines

	code     []inst
	consts   []constant
	specials []special
	regs     int // slots of the register file, constants included
	preds    int // slots, the one that is always true included
	memops   int

	registers sync.Pool // of *registers that launches before have had

	paramBytes  uint64
	sharedBytes uint64 // static; dynamic shared memory follows
	maxThreads  uint64 // of .maxntid, 0 without
	reqBlock    [3]uint32
}

// Name is the entry's name.
func (k *Kernel) Name() string { return k.name }

// Params lists the entry's parameters.
func (k *Kernel) Params() []Param { return append([]Param(nil), k.params...) }

// SharedBytes is the size of the kernel's static shared memory.
func (k *Kernel) SharedBytes() uint64 { return k.sharedBytes }

// MaxThreads is the largest block the kernel was declared for.
func (k *Kernel) MaxThreads() uint64 {
	if k.maxThreads == 0 {
		return maxBlockThreads
	}
	return k.maxThreads
}

// Registers is the number of virtual registers the kernel uses.
func (k *Kernel) Registers() int { return k.regs - len(k.consts) - len(k.specials) + k.preds - 1 }

// constant is a register slot that holds the same value in every lane.
type constant struct {
	slot  int32
	value uint64
}
