// Package ptxvm runs PTX, NVIDIA's virtual instruction set, on the CPU.
//
// It exists to prove GPU code on machines that have no GPU: a module that loads here and a kernel that runs here without
// a [Fault] has been checked for things a GPU does not tell, such as a race between two threads or a register that was
// read before it was written. Floating-point arithmetic has the bits of the hardware: every operation is rounded once, to
// nearest even, subnormals are kept, and a float32 NaN is 0x7fffffff.
//
// [Load] parses a module, [Module.Kernel] finds an entry in it, [Kernel.Run] launches it over a [Memory]:
//
//	mod, err := ptxvm.Load(text)
//	k := mod.Kernel("adamw")
//	mem := ptxvm.NewMemory(ptxvm.DefaultBase, ptxvm.DefaultSpace)
//	p, err := mem.Alloc(4096)
//	err = k.Run(mem, ptxvm.Launch{Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{256, 1, 1}, Params: params, Checks: ptxvm.AllChecks})
//
// # Execution
//
// A warp is 32 lanes in lock step. Where a branch divides it, the lanes part and meet again at the branch's immediate
// post-dominator, as the compiler of a real GPU arranges it. The warps of a block take turns, in an order that
// [Launch].Seed changes; the blocks of a grid run on several goroutines.
//
// # What is not emulated
//
// Approximate and flushing arithmetic (.approx, .ftz), saturation, rounding other than to nearest even, generic
// addressing, local and constant memory, module-scope variables, function calls, textures, asynchronous copies and tensor
// cores are refused by Load with an error that names them. Time does not exist: there is no %clock, and blocks that wait
// for one another end in a [Budget] fault.
package ptxvm
