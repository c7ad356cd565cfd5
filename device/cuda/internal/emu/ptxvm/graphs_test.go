package ptxvm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fusestep/fusestep/kernels/ptx"
)

var errGraphText = errors.New("the text does not load")

// tryGraph makes a graph of the seed, holds its update to the evaluator, and its traffic to what an update loads and stores.
func tryGraph(seed uint64, mutate func(string) string) error {
	r, err := newGraphTrial(rand.New(rand.NewPCG(seed, 3)), false, mutate)
	if err != nil {
		return err
	}
	wide := r.vectorBytes()
	counts, vectors, err := r.run(r.pass.Update)
	if err != nil {
		return err
	}
	if err := r.check(counts, func(t *graphTensor, k int) []uint64 {
		planes, _ := r.evaluate(t, k)
		return planes
	}); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if vectors[16] != wide {
		return fmt.Errorf("update: %d bytes are loaded or stored 16 at a time, want %d", vectors[16], wide)
	}
	return r.traffic()
}

func (r *graphTrial) evaluate(t *graphTensor, k int) (planes []uint64, terms []float64) {
	if r.f.Width == 32 {
		return evaluate[float32](r, t, k)
	}
	return evaluate[float64](r, t, k)
}

// traffic holds the traffic to what an update loads and stores.
func (r *graphTrial) traffic() error {
	var never []uint64
	if r.pass.Never {
		never = []uint64{0}
	}
	counts, _, err := r.run(r.pass.Traffic, never...)
	if err != nil {
		return err
	}
	if err := r.check(counts, func(t *graphTensor, k int) (out []uint64) {
		for _, p := range t.planes {
			out = append(out, getBits64(p.memory[p.first+k*p.size:], p.size)*uint64(btoi(p.loads || !p.stores)))
		}
		return out
	}); err != nil {
		return fmt.Errorf("traffic: %w", err)
	}
	return nil
}

// vectorBytes is how many bytes of the widest planes are to be loaded and stored 16 at a time.
func (r *graphTrial) vectorBytes() (bytes int) {
	for _, c := range r.chunks {
		t := &r.tensors[c[0]]
		widest := t.widest()
		lanes := 16 / widest
		head := func(p *graphPlane) int { return -(int(p.at/uint64(p.size)) + int(c[1])) & (lanes - 1) }
		together := true
		var first *graphPlane
		for i := range t.planes {
			if p := &t.planes[i]; p.loads || p.stores {
				if first == nil {
					first = p
				}
				together = together && head(p) == head(first)
			}
		}
		if !together {
			continue
		}
		for _, p := range t.planes {
			if p.size == widest {
				bytes += max(int(c[2])-head(&p), 0) / lanes * 16 * (btoi(p.loads) + btoi(p.stores))
			}
		}
	}
	return bytes
}

// TestGraphs holds the kernels of random graphs to the evaluator.
func TestGraphs(t *testing.T) {
	n := uint64(3000)
	if testing.Short() {
		n = 300
	}
	for seed := range n {
		if err := tryGraph(seed, func(s string) string { return s }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzGraphs(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := tryGraph(seed, func(s string) string { return s }); err != nil {
			t.Fatal(err)
		}
	})
}

// TestGraphsNotice changes one kind of instruction in what is emitted, and requires TestGraphs to notice.
func TestGraphsNotice(t *testing.T) {
	for _, change := range [][2]string{
		{"add.u32 %v", "sub.u32 %v"}, {"sub.u32", "add.u32"}, {"mul.lo.u32", "mul.hi.u32"}, {"mul.hi.u32", "mul.lo.u32"}, {"and.b32", "or.b32"},
		{"\tor.b32", "\txor.b32"}, {"xor.b32", "or.b32"}, {"shl.b32", "shr.u32"}, {"shr.u32", "shl.b32"}, {"shr.u32", "shr.s32"}, {"mul.hi.u32", "mul.hi.s32"},
		{"setp.lt.u32", "setp.le.u32"}, {"setp.lt.u32", "setp.lt.s32"}, {"setp.eq.u32 %v", "setp.ne.u32 %v"}, {"cvt.f32.f16", "cvt.f32.bf16"},
		{"cvt.rn.f16.f32", "cvt.rn.bf16.f32"}, {"cvt.u32.u16", "cvt.s32.s16"}, {"shr.u64 %v", "shl.b64 %v"}, {"add.u64 %index", "sub.u64 %index"}, {"%origin, %first;", "%origin, 0;"},
		{"0x5410;", "0x5432;"}, {", 0xffff;", ", 0xff;"}, {", 16;", ", 15;"}, {"0x4440;", "0x4441;"}, {"0x4442;", "0x4443;"}, {"0x4443;", "0x4442;"}, {"0x40;", "0x41;"},
		{".u16 ", ".s16 "}, {".u8 ", ".s8 "}, {"and.b64 %apart, %apart, 3;", "and.b64 %apart, %apart, 1;"}, {"and.b64 %apart, %apart, 7;", "and.b64 %apart, %apart, 3;"},
		{"and.b64 %head, %head, 7;", "and.b64 %head, %head, 3;"}, {"xor.b64 %diff", "and.b64 %diff"},
	} {
		mutate := func(s string) string { return strings.ReplaceAll(s, change[0], change[1]) }
		noticed, tried := false, 0
		for seed := uint64(0); seed < 3000 && !noticed; seed++ {
			if f, _ := randomGraph(rand.New(rand.NewPCG(seed, 3)), false); !strings.Contains(ptx.OfGraph("random", f, scalarCount, scalarCount+sharedCount).Text, change[0]) {
				continue
			}
			tried++
			err := tryGraph(seed, mutate)
			if errors.Is(err, errGraphText) {
				t.Fatalf("%s for %s: %v", change[1], change[0], err)
			}
			noticed = err != nil
		}
		if !noticed {
			t.Errorf("%s for %s: not noticed in %d graphs", change[1], change[0], tried)
		}
	}
}
