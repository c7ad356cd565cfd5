// Package gorgonia makes an optimizer of fusestep, whichever it is, a solver for Gorgonia. It is a module of its own, so that
// fusestep does not depend on Gorgonia.
//
//	import fusestep "github.com/fusestep/fusestep/interop/gorgonia"
//
//	solver, err := fusestep.NewSolver(cpu.New(), optim.DefaultAdamW())
//	for range epochs {
//		err = machine.RunAll()
//		err = solver.Step(gorgonia.NodesToValueGrads(learnables))
//		machine.Reset()
//	}
//
// # Coming from Gorgonia's solvers
//
// What is said of Gorgonia here is so in v0.9.18.
//
//   - NewVanillaSolver is optim.SGD with its LR, to the bit. NewMomentum is optim.SGD with LR and Momentum as long as the learning
//     rate stays: Gorgonia's velocity is of steps, PyTorch's and ours of gradients. Its scalars have no velocity.
//   - NewAdamSolver is optim.Adam, with eps in the same place; only rounding differs.
//   - NewAdamW leaves every tensor as it is, and says nothing. In optim.AdamW, WithRho is WeightDecay.
//   - NewRMSPropSolver is optim.RMSprop with an Alpha of 0.999, and NewAdaGradSolver is optim.Adagrad with an LR of 1e-3, which
//     no option of Gorgonia's changes. But Gorgonia adds eps inside the root, PyTorch and we outside.
//   - WithL1Reg and WithL2Reg are L1 and WeightDecay of SGD and Adam. Gorgonia's momentum penalises a tensor's velocity
//     in place of the tensor, and its RMSProp subtracts l2·p from p, without the learning rate.
//   - WithClip limits each element of a gradient by itself, which has no counterpart here. Optimizer.SetClipNorm scales all
//     gradients by one factor, where their common norm is too large.
//   - WithBatchSize has no counterpart: let the cost be the mean over the batch and not the sum, or divide SGD's LR.
//   - NewBarzilaiBorweinSolver has no counterpart.
package gorgonia

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// Solver is a gorgonia.Solver that trains nodes with an optim.Optimizer. Its methods must not be called at the same time.
type Solver struct {
	backend   kernels.Backend
	cpu       *cpu.Device // the backend, if it is the CPU, which trains the nodes' own memory
	algorithm optim.Algorithm
	configure []func(*optim.Optimizer) error
	opt       *optim.Optimizer // nil before the first step
	nodes     []node           // as the last step found them
	closed    bool
}

var _ gorgonia.Solver = (*Solver)(nil)

// NewSolver returns a solver whose steps run on b, which is cpu.New() for most. With the CPU, values are trained where they are;
// any other device gets a copy of values and gradients at each step, and values are copied back. (The tag cuda, with which
// cuda.Open finds a GPU, also turns on Gorgonia's own CUDA code, which builds only where NVIDIA's cuBLAS and cuDNN are.)
//
// The optimizer is made by the first step, when its tensors are known. It is then given to the functions in configure, before
// it is used: the place for SetSchedule and SetClipNorm. What is wrong with a hyperparameter is an optim.HyperparameterError.
func NewSolver(b kernels.Backend, alg optim.Algorithm, configure ...func(*optim.Optimizer) error) (*Solver, error) {
	probe, err := optim.New(b, alg, nil)
	if err == nil {
		err = probe.Close()
	}
	if err != nil {
		return nil, err
	}
	s := &Solver{backend: b, algorithm: alg, configure: configure}
	s.cpu, _ = b.(*cpu.Device)
	return s, nil
}

// Optimizer is the optimizer beneath, for its learning rate, schedule, clipping, norm and state, whose tensors are named as the
// nodes are: see Step. It is nil before the first step.
func (s *Solver) Optimizer() *optim.Optimizer { return s.opt }

// Step updates the values of the model's nodes by their gradients, waits until that is done, and sets the gradients to 0, as
// Gorgonia's solvers do, since a machine that binds dual values adds to them. Without dual values a gradient is the value of the
// derivative's node, which the next run makes anew: it stays as it is, for it may be a constant that all graphs share.
//
// State belongs to a node's place in the model, as in Gorgonia's solvers, so that machines of several graphs, built alike, can
// train in turns. Hence each step is given as many nodes, in the same order, of the same names, lengths and types. Their memory
// may be elsewhere at each step: what moved is told to the optimizer, by Rebind. Gradients move at every step unless the
// machine binds dual values, and those of scalars always.
//
// A node's name is its tensor's name in the optimizer and in errors. It is "name#3" for node 3 where an earlier node has the
// name, and "0.3" for a node without one.
//
// Values and gradients are *tensor.Dense, *gorgonia.F32 or *gorgonia.F64, of float32 or float64 in memory that Go can reach, dense
// and both in the same order: views with gaps between their elements, and masks, are refused. Every node needs a gradient, so
// the machine has to have run. What is wrong with a node is an optim.TensorError, and nothing was written.
func (s *Solver) Step(model []gorgonia.ValueGrad) error {
	if s.closed {
		return fmt.Errorf("interop/gorgonia: solver is %w", device.ErrClosed)
	}
	nodes, err := s.read(model)
	if err != nil {
		return err
	}
	if s.opt == nil {
		err = s.start(nodes)
	} else {
		err = s.follow(nodes)
	}
	if err != nil {
		return err
	}
	stream := s.backend.Device().DefaultStream()
	err = s.enqueue(stream)
	if err := errors.Join(err, stream.Synchronize()); err != nil { // whatever was enqueued uses the nodes' memory
		return err
	}
	for _, n := range s.nodes {
		if !n.passing {
			n.grad.zero()
		}
	}
	return nil
}

// read finds the nodes' memory.
func (s *Solver) read(model []gorgonia.ValueGrad) ([]node, error) {
	if s.opt != nil && len(model) != len(s.nodes) {
		return nil, fmt.Errorf("interop/gorgonia: the model has %d nodes, in the first step it had %d", len(model), len(s.nodes))
	}
	nodes := make([]node, len(model))
	taken := map[string]bool{}
	for i, v := range model {
		n := &nodes[i]
		n.label = label(v)
		if s.opt == nil {
			n.Name = uniqueName(n.label, i, taken)
		} else if n.Param = s.nodes[i].Param; n.label != s.nodes[i].label {
			return nil, n.fail(fmt.Errorf("node %d of the model is now %q", i, n.label))
		}
		if err := n.read(v); err != nil {
			return nil, n.fail(err)
		}
	}
	return nodes, nil
}

// start makes the optimizer.
func (s *Solver) start(nodes []node) (err error) {
	var opt *optim.Optimizer
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release(opt, nodes))
		}
	}()
	params := make([]optim.Param, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		if err := s.attach(n); err != nil {
			return n.fail(err)
		}
		params[i] = n.Param
	}
	if opt, err = optim.New(s.backend, s.algorithm, params); err != nil {
		return err
	}
	for _, f := range s.configure {
		if err := f(opt); err != nil {
			return err
		}
	}
	s.opt, s.nodes = opt, nodes
	return nil
}

// follow tells the optimizer of nodes whose memory is not where it was.
func (s *Solver) follow(nodes []node) error {
	var moved []optim.Param
	for i := range nodes {
		n := &nodes[i]
		if s.cpu == nil || n.value.same(s.nodes[i].value) && n.grad.same(s.nodes[i].grad) {
			continue
		}
		if err := s.attach(n); err != nil {
			return n.fail(err)
		}
		moved = append(moved, n.Param)
	}
	if len(moved) > 0 {
		if err := s.opt.Rebind(moved); err != nil {
			return err
		}
	}
	s.nodes = nodes
	return nil
}

// attach gives a node its buffers: its own memory, or where a copy of it goes.
func (s *Solver) attach(n *node) (err error) {
	if s.cpu != nil {
		if n.Value, err = n.value.wrap(s.cpu); err == nil {
			n.Grad, err = n.grad.wrap(s.cpu)
		}
		return err
	}
	dev := s.backend.Device()
	if n.Value, err = n.value.alloc(dev); err == nil {
		n.Grad, err = n.grad.alloc(dev)
	}
	return err
}

// enqueue puts one step on the stream, between the copies that a device of its own memory needs.
func (s *Solver) enqueue(stream *device.Stream) error {
	if s.cpu != nil {
		return s.opt.Step(stream)
	}
	for _, n := range s.nodes {
		if err := n.value.upload(stream, n.Value); err != nil {
			return n.fail(fmt.Errorf("value: %w", err))
		}
		if err := n.grad.upload(stream, n.Grad); err != nil {
			return n.fail(fmt.Errorf("grad: %w", err))
		}
	}
	if err := s.opt.Step(stream); err != nil {
		return err
	}
	for _, n := range s.nodes {
		if err := n.value.download(stream, n.Value); err != nil {
			return n.fail(fmt.Errorf("value: %w", err))
		}
	}
	return nil
}

// Close frees the optimizer's state. The nodes' memory stays, and so does the device, which is the caller's.
func (s *Solver) Close() error {
	if s.closed {
		return fmt.Errorf("interop/gorgonia: close: solver is %w", device.ErrClosed)
	}
	s.closed = true
	return s.release(s.opt, s.nodes)
}

// release closes an optimizer, if there is one, and buffers, as far as there are any. What wraps a node's memory holds nothing.
func (s *Solver) release(opt *optim.Optimizer, nodes []node) error {
	var errs []error
	if opt != nil {
		errs = append(errs, opt.Close())
	}
	if s.cpu == nil {
		for _, n := range nodes {
			for _, b := range []*device.Buffer{n.Value, n.Grad} {
				if b != nil {
					errs = append(errs, b.Close())
				}
			}
		}
	}
	return errors.Join(errs...)
}
