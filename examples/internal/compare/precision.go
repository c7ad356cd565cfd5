package compare

import (
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// Precision is how memory holds what is trained.
type Precision struct {
	Name   string
	Held   device.DType // parameters and gradients; 0 is float32, in which the model calculates, and then all is
	Stored optim.Stored // all but the algorithm
}

// precisions are those that there are. The first is the default.
var precisions = []Precision{
	{Name: "f32"},
	{"bf16+master", device.BFloat16, optim.Stored{Master: optim.MasterFloat32}},
	{"bf16+remainder", device.BFloat16, optim.Stored{Master: optim.MasterRemainder}},
	{"bf16+remainder8", device.BFloat16, optim.Stored{Master: optim.MasterRemainder8}},
	{"bf16", device.BFloat16, optim.Stored{All: device.BFloat16}},
	{"bf16-stochastic", device.BFloat16, optim.Stored{All: device.BFloat16, Stochastic: true}},
}

// precisionsOf finds those that -precision names.
func precisionsOf(names string) (out []Precision, err error) {
	if names == "all" {
		return precisions, nil
	}
	var known []string
	by := map[string]Precision{}
	for _, p := range precisions {
		known, by[p.Name] = append(known, p.Name), p
	}
	for name := range strings.SplitSeq(names, ",") {
		p, ok := by[name]
		if !ok {
			return nil, cli.Unknown("-precision", name, "precision", append(known, "all"))
		}
		out = append(out, p)
	}
	return out, nil
}

// plain says whether everything is float32, as other libraries' references are.
func (p Precision) plain() bool { return p.Held == 0 }

// of is the algorithm with its state as the precision says.
func (p Precision) of(a optim.Algorithm) optim.Algorithm {
	if p.plain() {
		return a
	}
	p.Stored.Algorithm = a
	return p.Stored
}

func (p Precision) place(b kernels.Backend, params []host.Param[float32]) (host.Trained, error) {
	if p.plain() {
		return host.Place(b, params...)
	}
	return host.PlaceAs(b, p.Held, params...)
}
