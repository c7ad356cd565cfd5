package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rules"
)

// BenchmarkPasses are the passes of a step other than the update, over so many bytes, in turns with loops that move the same bytes and do
// nothing else: with prefetching and without, and where caches do not hold it, what is stored is also stored past them. Ratio is the time of the fastest
// loop over the pass's, at the medians.
func BenchmarkPasses(b *testing.B) {
	set := best().loops
	if set == nil {
		b.Skip("no machine code on this machine or in this build")
	}
	const zero, copy = "zero", "copy"
	for _, size := range []int{512 << 10, 8 << 20, 64 << 20, 256 << 20} {
		for _, name := range []string{"norm f32", "norm f64", "norm bf16", "norm f16", copy, zero} {
			b.Run(fmt.Sprintf("%s, %d KiB", name, size>>10), func(b *testing.B) {
				d := New()
				defer d.Close()
				s := d.DefaultStream()
				t, stored := device.Float32, 1
				switch name {
				case "norm f64":
					t = device.Float64
				case "norm bf16":
					t = device.BFloat16
				case "norm f16":
					t = device.Float16
				}
				x, err := d.Alloc(t, size/t.Size())
				require.NoError(b, err)
				y, err := d.Alloc(t, size/t.Size())
				require.NoError(b, err)
				for x := bytes(x.Span()); len(x) > 0; x = x[2:] { // ordinary numbers of each type: zeros are summed twice
					x[0], x[1] = 0, 0x3c
				}
				require.NoError(b, s.Zero(y))
				require.NoError(b, s.Synchronize())
				u, err := d.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{x}}}})
				require.NoError(b, err)
				pass, move, passed := task(&normStep{u.(*norm), nil, make([]float64, kernels.ControlWords)}), emit.Move{From: 0, To: emit.Nothing}, size
				switch name {
				case copy:
					pass, move, passed = d.processor.newCopy(bytes(y.Span()), bytes(x.Span())), emit.Move{From: 0, To: 1}, 2*size
				case zero:
					pass, move = d.processor.newCopy(bytes(y.Span()), nil), emit.Move{From: emit.Nothing, To: stored}
				}
				b.SetBytes(int64(passed))
				var loops []*limit
				pasts := []bool{false}
				if move.To == stored && size > cacheBytes { // what is smaller would no longer be in the caches for the others
					pasts = append(pasts, true)
				}
				for _, past := range pasts {
					move.Past = past
					for _, p := range []prefetching{{}, inCache, fromMemory} {
						m := emit.Moves{Sizes: []int{8, 8}, Moves: []emit.Move{move}, Set: set, Lines: 1, Near: p.near, Far: p.far}
						if move.From == emit.Nothing || move.To == emit.Nothing {
							m.Sizes = m.Sizes[:max(move.From, move.To)+1]
						}
						code, err := newCode(m.Compile())
						require.NoError(b, err)
						loops = append(loops, &limit{d.processor, code, [][]byte{bytes(x.Span()), bytes(y.Span())}, nil})
					}
				}
				times := max(1, (4<<20)/size)
				var took []float64
				for b.Loop() {
					began := time.Now()
					for range times {
						pass.run()
					}
					took = append(took, time.Since(began).Seconds())
					b.StopTimer()
					for _, l := range loops {
						began = time.Now()
						for range times {
							l.run()
						}
						l.took = append(l.took, time.Since(began).Seconds())
					}
					b.StartTimer()
				}
				least := middle(loops[0].took)
				for _, l := range loops {
					least = min(least, middle(l.took))
				}
				b.ReportMetric(least/middle(took), "ratio")
			})
		}
	}
}

// BenchmarkMatrixPasses are Adafactor's steps, of so many matrices of a shape as are 32 Mi elements, in turns with the traffic of the same passes. Ratio
// is the time of the fastest traffic over the step's, at the medians.
func BenchmarkMatrixPasses(b *testing.B) {
	r := rules.AdafactorRule().Rule
	p := newProgram(b, kernels.Spec{Rule: r, Options: r.MatrixOption(), Compute: device.Float32})
	setting := rules.AdafactorRule().With(rules.AdafactorHyper{LR: 1e-2, Beta2Decay: -0.8, Eps1: 1e-30, Eps2: 1e-3, D: 1}, rules.AdafactorOptions{})
	in := kernels.Step{Groups: []kernels.GroupStep{kernels.GroupStepOf(setting, setting.Hyper)}}
	for _, of := range [][3]int{{1, 4096, 4096}, {1, 768, 768}, {1, 768, 3072}, {1, 50257, 768}, {1, 64, 128}, {1, 1 << 14, 27}, {1, 1 << 15, 16}, {1, 1 << 15, 9}, {1, 1 << 15, 1},
		{1 << 18, 3, 3}, {1 << 20, 1, 1}, {1 << 10, 7, 7}, {384, 80, 3}} {
		b.Run(fmt.Sprintf("%d matrices of %d rows of %d", of[0], of[1], of[2]), func(b *testing.B) {
			matrices, rows := of[0], of[0]*of[1] // of all
			size := rows * of[2]
			d := New()
			defer d.Close()
			w, elements := kernels.Work{Program: p}, 0
			for ; elements < 32<<20; elements += size {
				x := kernels.Tensor{Rows: rows, Matrices: matrices, Sums: newSums(b, d, p, size, rows)}
				for _, plane := range p.Planes {
					buffer, err := d.Alloc(plane.DType, kernels.Numbers(plane.Domain, size, rows, matrices))
					require.NoError(b, err)
					for i := range view[float32](buffer) {
						view[float32](buffer)[i] = float32(i%7+1) / 64
					}
					x.Planes = append(x.Planes, buffer)
				}
				w.Tensors = append(w.Tensors, x)
			}
			counters, err := d.Alloc(device.Float64, len(p.Counters))
			require.NoError(b, err)
			w.Counters = []*device.Buffer{counters}
			u, err := d.Compile(w)
			require.NoError(b, err)
			all, err := d.CompileTraffic(w)
			require.NoError(b, err)
			all = append(all, u)
			took := make([][]float64, len(all))
			for b.Loop() {
				for i, u := range all {
					began := time.Now()
					require.NoError(b, u.Enqueue(d.DefaultStream(), in))
					require.NoError(b, d.DefaultStream().Synchronize())
					took[i] = append(took[i], time.Since(began).Seconds())
				}
			}
			step, least := middle(took[len(all)-1]), math.Inf(1)
			for _, x := range took[:len(all)-1] {
				least = min(least, middle(x))
			}
			b.ReportMetric(least/step, "ratio")
			b.ReportMetric(step*1e9/float64(elements), "ns/element")
		})
	}
}

func middle(x []float64) float64 { return slices.Sorted(slices.Values(x))[len(x)/2] }

// limit is a loop over whole buffers in large chunks, on all threads.
type limit struct {
	proc   *processor
	code   *exec.Code
	planes [][]byte
	took   []float64
}

func (l *limit) run() {
	size := min(len(l.planes[0])/2, 1<<20)
	body := func(_, i int) {
		p := [2]*byte{&l.planes[0][i*size], &l.planes[1][i*size]}
		l.code.Run(&p[0], nil, nil, size/8)
	}
	l.proc.pool.do(len(l.planes[0])/size, body)
}
