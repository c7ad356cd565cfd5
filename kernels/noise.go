package kernels

import (
	_ "embed"
	"sync"

	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// NoiseIn is what chooses the noise of a group's step: GroupStep.Seed, 16 bits each, the lowest first, and which step it is: 1 is the first.
type NoiseIn struct{ Seed0, Seed1, Seed2, Seed3, Step float64 }

// NoiseOut is the same as numbers that a float32 holds exactly, as format.Noise takes them.
type NoiseOut struct{ Seed0, Seed1, Seed2, Seed3, Step0, Step1 float64 }

// noiseNames are the fields of NoiseOut, in order, as the fields of bank rule.SharedBank behind sharedNames, in a program that rounds
// stochastically.
var noiseNames = []string{"seed0", "seed1", "seed2", "seed3", "step0", "step1"}

// seedNames are its inputs, behind stepNames.
var seedNames = []string{"Seed0", "Seed1", "Seed2", "Seed3"}

// Noise computes them. It is written as a prologue is. Step1 is the step without its lowest 16 bits, which are Step0: from 2⁵² on numbers have no
// fraction, so the sum rounds to nearest, and here down, as a half is taken away first, all but half of the quotient's last bit.
func Noise(in *NoiseIn, out *NoiseOut) {
	out.Seed0, out.Seed1, out.Seed2, out.Seed3 = in.Seed0, in.Seed1, in.Seed2, in.Seed3
	upper := float64(in.Step*0x1p-16) - (0.5 - 0x1p-17)
	out.Step1 = upper + 0x1.8p52 - 0x1.8p52
	out.Step0 = in.Step - float64(out.Step1*0x1p16)
}

//go:embed noise.go
var noiseSource string

// noiseGraph is the graph of Noise.
var noiseGraph = sync.OnceValue(func() *ir.Func { return must(rule.Function(Noise, noiseSource)) })

// pieces are the seed as NoiseIn has it.
func pieces(seed uint64) (out [4]float64) {
	for i := range out {
		out[i] = float64(uint16(seed >> (16 * i)))
	}
	return out
}

// NumNoise is how many of the scalars choose noise, the last ones: none, or format.NumNoise where a step rounds a slot stochastically.
func (p *Program) NumNoise() int {
	if p.noisy {
		return format.NumNoise
	}
	return 0
}

// rounds says whether a step rounds a slot stochastically.
func (p *Program) rounds() bool {
	for i := range p.Passes {
		_, stores := touched(p.Passes[i].Numbers)
		for k := range p.Slots {
			if stores[k] && p.Slots[k].Format.Noisy() {
				return true
			}
		}
	}
	return false
}
