package optim

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// Foreseen says where what the host has foreseen of the prologues' counters is not what the device has.
func (o *Optimizer) Foreseen() error {
	s := o.backend.Device().DefaultStream()
	for _, g := range o.all() {
		for _, q := range g.parts {
			there := make([]float64, len(q.mirror))
			if err := device.DownloadFloats(s, there, q.counters); err != nil {
				return err
			}
			if bitsOf(there) != bitsOf(q.mirror) {
				return fmt.Errorf("group %d: foreseen %v, the device has %v", g.index, q.mirror, there)
			}
		}
	}
	return nil
}

// Snake is a field's name as a hyperparameter's, for what is made of the fields.
var Snake = snake
