// Package results is what bench/cpu measures, as a file of JSON, and bench/picture draws.
package results

// File is a run of bench/cpu.
type File struct {
	Machine   string  `json:"machine"` // processor, system, Go, peers' versions
	Processor string  `json:"processor"`
	Peers     string  `json:"peers"`
	Date      string  `json:"date"`
	Rehearsal bool    `json:"rehearsal"` // the sizes are small, the times mean nothing
	Groups    []Group `json:"groups"`
}

// Group is what was compared in turns.
type Group struct {
	Name       string            `json:"name"`
	Optimizer  string            `json:"optimizer"`
	Tensors    int               `json:"tensors"`
	Elements   int               `json:"elements"` // of all tensors
	Contenders []Contender       `json:"contenders"`
	Missing    map[string]string `json:"missing"` // what could not be measured, and why
}

// Contender is one of a group, at its best setting.
type Contender struct {
	Name     string    `json:"name"`
	Setting  string    `json:"setting"`  // threads, and how they wait
	Seconds  float64   `json:"seconds"`  // of a step: the median of the rounds
	GBPerS   float64   `json:"gb_per_s"` // bytes that a step must move, by Seconds; 0 where that is not known
	Ratio    float64   `json:"ratio"`    // of its time to fusestep's: the median of the rounds' ratios
	Rounds   []float64 `json:"rounds"`   // seconds of a step
	Settings []Trial   `json:"settings_tried"`
}

// Trial is a setting that was tried.
type Trial struct {
	Setting string  `json:"setting"`
	Seconds float64 `json:"seconds"`
}

// Find is the contender of a name.
func (g *Group) Find(name string) (Contender, bool) {
	for _, c := range g.Contenders {
		if c.Name == name {
			return c, true
		}
	}
	return Contender{}, false
}
