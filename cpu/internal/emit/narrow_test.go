package emit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Loops over narrow matrices make the bits of package kernels' sums, of numbers that cancel and of zeros of both signs. What lies behind what they read is
// NaN, and what they write ends where it must.
func TestNarrowMatrices(t *testing.T) {
	sets(t)
	testNarrow[float32](t)
	testNarrow[float64](t)
}

func testNarrow[F float32 | float64](t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	run := func(l Narrow, n int, from, to unsafe.Pointer) {
		l.Size = int(unsafe.Sizeof(F(0)))
		c, err := l.Compile()
		require.NoError(t, err)
		code, err := exec.New(c.Text)
		require.NoError(t, err)
		at := [2]*byte{(*byte)(from), (*byte)(to)}
		code.Run(&at[0], nil, nil, n)
	}
	for columns := 1; columns <= 16; columns++ {
		for _, rows := range []int{1, 2, 3, 5, 64} {
			for _, n := range []int{0, 1, 3, 4, 9} { // matrices
				name := fmt.Sprintf("%T, %d matrices of %d rows of %d", F(0), n, rows, columns)
				terms := make([]F, n*rows*columns+Past)
				for i := range terms {
					terms[i] = F(rng.NormFloat64() * math.Ldexp(1, rng.IntN(60)))
					if i/columns%3 == 0 {
						terms[i] = F(math.Copysign(0, -1))
					}
					if i >= n*rows*columns {
						terms[i] = F(math.NaN())
					}
				}
				from := unsafe.Pointer(&terms[0])
				for _, kind := range []rule.Fill{rule.FillSum, rule.FillSquares} {
					sums := slices.Repeat([]float64{-1}, n*rows+1)
					run(Narrow{Does: SumRows, Columns: columns, Squares: kind == rule.FillSquares}, n*rows, from, unsafe.Pointer(&sums[0]))
					for i := range n * rows {
						require.Equal(t, math.Float64bits(kernels.FillTile(kind, terms[i*columns:][:columns])), math.Float64bits(sums[i]), "%s, %v: row %d", name, kind, i)
					}
					require.EqualValues(t, -1, sums[n*rows], name)
					stride := columns + 3*(rows%2)
					sums = make([]float64, n*stride+Past)
					run(Narrow{Does: SumColumns, Columns: columns, Rows: rows, Stride: stride, Squares: kind == rule.FillSquares}, n, from, unsafe.Pointer(&sums[0]))
					for m := range n {
						want := make([]float64, columns)
						for row := range rows {
							kernels.FillColumns(kind, want, terms[(m*rows+row)*columns:][:columns])
						}
						for i, x := range want {
							require.Equal(t, math.Float64bits(x), math.Float64bits(sums[m*stride+i]), "%s, %v: column %d of matrix %d", name, kind, i, m)
						}
					}
				}
				to, want := make([]F, n*rows*columns+Past), make([]F, n*rows*columns)
				run(Narrow{Does: SpreadRows, Columns: columns}, n*rows, from, unsafe.Pointer(&to[0]))
				for i := range want {
					want[i] = terms[i/columns]
				}
				require.Equal(t, want, to[:len(want)], name)
				run(Narrow{Does: SpreadColumns, Columns: columns, Rows: rows}, n, from, unsafe.Pointer(&to[0]))
				for i := range want {
					want[i] = terms[i/(rows*columns)*columns+i%columns]
				}
				require.Equal(t, want, to[:len(want)], name)
			}
		}
	}
}
