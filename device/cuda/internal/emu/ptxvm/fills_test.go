package ptxvm

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// folded is the tree of package kernels over one tile, or over tiles of it.
func folded(max bool, x []float64) float64 {
	none := 0.0
	take := func(acc *float64, x float64) { *acc += x }
	if max {
		none = math.Inf(-1)
		take = func(acc *float64, x float64) {
			if x > *acc || x != x {
				*acc = x
			}
		}
	}
	var lanes [kernels.NormLanes]float64
	for l := range lanes {
		lanes[l] = none
	}
	for i, x := range x {
		take(&lanes[i%len(lanes)], x)
	}
	for d := len(lanes) / 2; d > 0; d /= 2 {
		for l := range d {
			take(&lanes[l], lanes[l+d])
		}
	}
	return lanes[0]
}

// tryFills makes a graph with fills of the seed, and holds its update, its traffic and what folds each tensor's chunks to the evaluator.
func tryFills(seed uint64, mutate func(string) string) error {
	r, err := newGraphTrial(rand.New(rand.NewPCG(seed, 4)), true, mutate)
	if err != nil {
		return err
	}
	chunks, tensors := r.folds()
	wide, size := r.fillVectors()
	sums := r.alloc(make([]byte, 8*len(chunks)))
	counts, vectors, err := r.run(r.pass.Update, sums)
	if err != nil {
		return err
	}
	if err := r.check(counts, func(t *graphTensor, k int) []uint64 {
		planes, _ := r.evaluate(t, k)
		return planes
	}); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if err := r.numbers(sums, chunks); err != nil {
		return fmt.Errorf("chunks: %w", err)
	}
	if vectors[size] != wide {
		return fmt.Errorf("update: %d bytes are loaded or stored %d at a time, want %d", vectors[size], size, wide)
	}
	own := r.alloc(make([]byte, 8*len(tensors)))
	for max, name := range map[bool]string{false: r.module.Sums, true: r.module.Max} {
		var tiles []uint64
		for i, fill := range r.fills {
			if max != (fill.Kind == rule.FillMax) {
				continue
			}
			for k := range r.tensors {
				from, count := i*len(r.chunks), 0
				for _, c := range r.chunks {
					if int(c[0]) < k {
						from++
					} else if int(c[0]) == k {
						count++
					}
				}
				tiles = append(tiles, sums+8*uint64(from), uint64(count), own+8*uint64(i*len(r.tensors)+k))
			}
		}
		if (len(tiles) == 0) != (name == "") {
			return fmt.Errorf("%d tiles and the kernel %q", len(tiles)/ptx.TileWords, name)
		}
		if name != "" {
			if err := r.fold(name, max, tiles); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if err := r.numbers(own, tensors); err != nil {
		return fmt.Errorf("tensors: %w", err)
	}
	if r.pass.Traffic == "" {
		return nil
	}
	return r.traffic()
}

// fold folds the tiles, and beside them some of any numbers, of which a thread has several rows, to the tree.
func (r *graphTrial) fold(name string, max bool, tiles []uint64) error {
	x := make([]byte, 8*(1+r.rng.IntN(1700)))
	for i := range len(x) / 8 {
		putBits(x[8*i:], 8, math.Float64bits(r.rng.NormFloat64()))
	}
	if r.rng.IntN(2) == 0 { // more would nearly always make a NaN
		putBits(x[8*r.rng.IntN(len(x)/8):], 8, someBits(r.rng, ir.Float, 64))
	}
	first := r.rng.IntN(2)
	var numbers []float64
	for i := first; i < len(x)/8; i++ {
		numbers = append(numbers, get64(getBits64(x[8*i:], 8)))
	}
	to := r.alloc(make([]byte, 8))
	tiles = append(tiles, r.alloc(x)+uint64(8*first), uint64(len(numbers)), to)
	l := r.launch([]uint64{r.words(tiles), uint64(len(tiles) / ptx.TileWords)})
	l.Grid[0] = uint32(1 + len(tiles)/ptx.TileWords/ptx.NormWarps)
	if err := r.loaded.Kernel(name).Run(r.mem, l); err != nil {
		return err
	}
	return r.numbers(to, []float64{folded(max, numbers)})
}

// folds are what the evaluator makes of each chunk, and of each tensor, fill by fill.
func (r *graphTrial) folds() (chunks, tensors []float64) {
	terms := make([][][]float64, len(r.chunks)) // by chunk and fill
	for c, chunk := range r.chunks {
		terms[c] = make([][]float64, len(r.fills))
		for k := range chunk[2] {
			_, of := r.evaluate(&r.tensors[chunk[0]], int(chunk[1]+k))
			for i, x := range of {
				if r.fills[i].Kind == rule.FillSquares {
					x *= x
				}
				terms[c][i] = append(terms[c][i], x)
			}
		}
	}
	for i, fill := range r.fills {
		own := make([][]float64, len(r.tensors))
		for c, chunk := range r.chunks {
			chunks = append(chunks, folded(fill.Kind == rule.FillMax, terms[c][i]))
			own[chunk[0]] = append(own[chunk[0]], chunks[len(chunks)-1])
		}
		for k := range own {
			tensors = append(tensors, folded(fill.Kind == rule.FillMax, own[k]))
		}
	}
	return chunks, tensors
}

// numbers compares float64 in memory with what they should be.
func (r *graphTrial) numbers(at uint64, want []float64) error {
	got := make([]byte, 8*len(want))
	if err := r.mem.Read(at, got); err != nil {
		return err
	}
	for i, x := range want {
		y := math.Float64frombits(getBits64(got[8*i:], 8))
		if math.Float64bits(x) != math.Float64bits(y) && (x == x || y == y) {
			return fmt.Errorf("number %d of %d is %v, want %v", i, len(want), y, x)
		}
	}
	return nil
}

// fillVectors is how many bytes of the widest planes are to be loaded and stored as vectors, and how many bytes these have.
func (r *graphTrial) fillVectors() (bytes int, size uint64) {
	for _, c := range r.chunks {
		t := &r.tensors[c[0]]
		widest := t.widest()
		lanes := min(16/widest, 4)
		size = uint64(lanes * widest)
		together, planes := true, 0
		for _, p := range t.planes {
			if p.loads || p.stores {
				together = together && (int(p.at)+int(c[1])*p.size)%(lanes*p.size) == 0
			}
			if p.size == widest {
				planes += btoi(p.loads) + btoi(p.stores)
			}
		}
		if together {
			bytes += int(c[2]) / 4 * 4 * widest * planes
		}
	}
	return bytes, size
}

// TestFills holds the kernels of random graphs with fills to the evaluator.
func TestFills(t *testing.T) {
	n := uint64(200)
	if testing.Short() {
		n = 50
	}
	for seed := range n {
		if err := tryFills(seed, func(s string) string { return s }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzFills(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := tryFills(seed, func(s string) string { return s }); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFillsNotice changes one kind of instruction in what is emitted, and requires TestFills to notice.
func TestFillsNotice(t *testing.T) {
	for _, change := range [][2]string{
		{"add.rn.f64 %fill_0", "sub.rn.f64 %fill_0"}, {"add.rn.f64 %fill_3", "mul.rn.f64 %fill_3"}, {"mul.rn.f64 %square", "add.rn.f64 %square"},
		{"setp.lt.f64 %is_more", "setp.ltu.f64 %is_more"}, {"setp.lt.f64 %is_more", "setp.le.f64 %is_more"}, {"setp.neu.f64 %is_nan", "setp.eq.f64 %is_nan"},
		{"or.pred %is_more, %is_more, %is_nan;", "or.pred %is_more, %is_more, %is_more;"}, {"0dFFF0000000000000", "0d0000000000000000"}, {"0dFFF0000000000000", "0dFFEFFFFFFFFFFFFF"},
		{"shfl.sync.down.b32 %hi, %hi, 16,", "shfl.sync.down.b32 %hi, %hi, 8,"}, {"shfl.sync.down.b32 %lo, %lo, 1,", "shfl.sync.down.b32 %lo, %lo, 2,"},
		{"%first_lane, %lane, 2;", "%first_lane, %lane, 1;"}, {"add.u64 %end, %i, 4;", "add.u64 %end, %i, 3;"}, {"add.u64 %end, %i, 4;", "add.u64 %end, %i, 5;"},
		{"add.u64 %i, %i, 128;", "add.u64 %i, %i, 132;"}, {"add.u64 %element, %i, 2;", "add.u64 %element, %i, 1;"}, {"setp.ge.u64 %done, %element, %count;", "setp.ge.u64 %done, %i, %count;"},
		{"and.b64 %beside", "or.b64 %beside"}, {"or.b64 %apart, %apart, %beside;", "and.b64 %apart, %apart, %beside;"}, {"@%is_apart bra NEXT_ROW;", "bra NEXT_ROW;"},
		{"shl.b64 %stride, %stride, 3;", "shl.b64 %stride, %stride, 2;"}, {"add.u64 %tile, %tile, %stride;", "add.u64 %tile, %tile, 1;"}, {"@!%is_other st.global", "@%is_other st.global"},
		{"mad.lo.u64 %to, %chunk_count, 8, %to;", "mad.lo.u64 %to, %chunk_count, 16, %to;"}, {"mad.lo.u64 %to, %tile, 8, %sums;", "mov.u64 %to, %sums;"},
		{"setp.lt.f64 %is_more, %sum_1, %in_2_1;", "setp.eq.f64 %is_more, %sum_1, %in_2_1;"}, {"setp.neu.f64 %is_nan, %in_3_0", "setp.eq.f64 %is_nan, %in_3_0"},
		{"selp.f64 %sum_2, %in_0_2, %sum_2", "selp.f64 %sum_2, %sum_2, %sum_2"}, {"add.rn.f64 %sum_3, %sum_3, %in_1_3", "sub.rn.f64 %sum_3, %sum_3, %in_1_3"},
		{"ld.global.u64 %to, [%tiles+16];", "ld.global.u64 %to, [%tiles+0];"}, {"bar.warp.sync 0xffffffff;", "bar.warp.sync 0x7fffffff;"},
	} {
		mutate := func(s string) string { return strings.ReplaceAll(s, change[0], change[1]) }
		noticed, tried := false, 0
		for seed := uint64(0); seed < 1000 && !noticed; seed++ {
			f, fills := randomGraph(rand.New(rand.NewPCG(seed, 4)), true)
			if !strings.Contains(ptx.OfGraph("random", f, scalarCount, scalarCount+sharedCount, fills...).Text, change[0]) {
				continue
			}
			tried++
			err := tryFills(seed, mutate)
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
