// Package checkpoint saves optimizers to files and loads them again: parameters, masters, all state and everything else that later steps depend on,
// so that a training goes on with the same bits. It also reads parameters that other libraries have saved.
//
//	err := checkpoint.Save("run.safetensors", opt, stream)
//	...
//	err = checkpoint.Load("run.safetensors", opt, stream, optim.LoadOptions{}) // an optimizer of the same groups and tensors
//
// A training that saves every so often, beside its steps, and goes on where it was when it was killed:
//
//	dir := checkpoint.Dir{Path: "run", Keep: 3}
//	_, damaged, err := dir.Load(opt, stream, optim.LoadOptions{}) // fs.ErrNotExist: it is the first time
//	saver := checkpoint.Saver{Dir: dir}
//	for opt.Steps() < steps {
//		err = model.Step(opt)
//		if opt.Steps()%100 == 0 {
//			err = saver.Save(opt, stream) // copies to the host's memory, and writes in a goroutine of its own
//		}
//	}
//	err = saver.Wait()
//
// Whatever happens while a file is written, a kill, a full disk, an error of the device, the path has what it had before or the new checkpoint, whole. A
// SaveError says which. Each tensor has a checksum, and so has the header. A load that finds something wrong lists all of it, in a FileError or an
// optim.MismatchError, and has changed nothing.
//
// The files are safetensors, which other languages read: docs/checkpoints.md has the format.
package checkpoint
