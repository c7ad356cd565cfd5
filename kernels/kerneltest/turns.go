package kerneltest

import (
	"errors"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// turns is an update of which every second step is run from a record of its kernels. All have the same Control.
type turns struct {
	kernels.Capturable
	dev   *device.Device
	graph *device.Graph // nil before the second step
	taken int
}

// compile makes an update of the work, in turns where the device records work.
func compile(t T, b kernels.Backend, w kernels.Work) kernels.Update {
	u, err := b.Compile(w)
	require.NoError(t, err)
	if c, ok := u.(kernels.Capturable); ok {
		return &turns{Capturable: c, dev: b.Device()}
	}
	return u
}

func (u *turns) Enqueue(s *device.Stream, step kernels.Step) (err error) {
	if u.taken++; u.taken%2 == 1 || step.Commit {
		return u.Capturable.Enqueue(s, step)
	}
	if u.graph == nil {
		u.graph, err = u.dev.Capture(func(s *device.Stream) error { return u.Launch(s, step) })
		if err != nil {
			return err
		}
	}
	if err := u.Feed(s, step); err != nil {
		return err
	}
	return s.Launch(u.graph)
}

func (u *turns) Close() error {
	err := u.Capturable.Close()
	if u.graph != nil {
		err = errors.Join(err, u.graph.Close())
	}
	return err
}
