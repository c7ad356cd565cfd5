package main

import (
	"cmp"
	"encoding/json"
	"runtime"
	"slices"
	"time"

	"github.com/fusestep/fusestep/bench/internal/results"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/cpuinfo"
)

// measured collects what a run measures.
type measured struct{ results.File }

func newResults(p *peers, rehearse bool) *measured {
	return &measured{results.File{
		Machine: machine(p), Processor: cmp.Or(cpuinfo.Model(), runtime.GOARCH) + ", " + plural(runtime.GOMAXPROCS(0), "processor"),
		Peers: p.about(), Date: time.Now().UTC().Format(time.DateOnly), Rehearsal: rehearse, Groups: []results.Group{},
	}}
}

func (r *measured) add(g group, m measurement) {
	out := results.Group{Name: g.name, Optimizer: g.optimizer, Tensors: len(g.lengths), Missing: m.missing}
	for _, n := range g.lengths {
		out.Elements += n
	}
	for _, name := range m.order {
		c := results.Contender{Name: name, Setting: m.settings[name], Seconds: median(m.seconds[name]), Rounds: m.seconds[name], Settings: m.tried[name]}
		if slices.Contains(m.order, "fusestep") {
			c.Ratio = m.ratio(name, "fusestep")
		}
		c.GBPerS = m.bytes[name] / c.Seconds / 1e9
		out.Contenders = append(out.Contenders, c)
	}
	r.Groups = append(r.Groups, out)
}

func (r *measured) write(file *cli.OutputFile) error {
	text, err := json.MarshalIndent(r.File, "", " ")
	if err != nil {
		return err
	}
	return file.Write(append(text, '\n'))
}
