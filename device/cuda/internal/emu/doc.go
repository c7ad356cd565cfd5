// Package emu is an emulated CUDA driver, for machines without a GPU. Installed with [Driver.Install] it answers every call
// that reaches package driver, so that everything above, gorgonia.org/cu included, runs as it does on a GPU:
//
//	d := emu.New(emu.Config{Checks: ptxvm.AllChecks})
//	defer d.Install()()
//	dev, err := cuda.Open(0)
//
// Package emulated does that in one call.
//
// Kernels run in package ptxvm. What the emulation costs in time says nothing about a GPU.
//
// It is stricter than a GPU wherever chance decides there, so that a missing synchronisation shows:
//
//   - Work runs only when something forces it: a synchronisation, or freeing memory. A query runs one operation, so that a
//     loop around it ends.
//   - A copy from pinned host memory reads it then. A copy to host memory writes it then, even where a driver would not return
//     before, as to memory that is not pinned: the memory must live on. A copy from memory that is not pinned reads it at the
//     call, as a driver does.
//   - Fresh memory holds 0xA5 everywhere. Addresses and handles are used once in a process, whichever Driver gave them
//     out; using one that is gone is an error.
//
// A kernel's fault is the result of the next synchronisation, and then of every call of that context:
// CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS, CUDA_ERROR_LAUNCH_TIMEOUT for one that does not end, and
// CUDA_ERROR_LAUNCH_FAILED for the rest, races and reads of uninitialized memory among them. [Driver.Faults] tells more.
//
// A stream that captures records what is enqueued on it, and runs nothing. What CUDA forbids meanwhile fails with its code, and nothing comes
// of the capture. A graph's kernels have the parameters of the time of capture; its copies from the host read what is there when they run.
//
// Entries that nothing here needs answer CUDA_ERROR_NOT_SUPPORTED: contexts other than the primary ones, arrays, textures,
// captures of several streams, graphs made node by node, managed and stream-ordered memory, host functions.
package emu
