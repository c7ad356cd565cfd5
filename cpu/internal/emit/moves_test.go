package emit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
)

// TestMoves holds moves of random bytes to what they say: copies, zeroes, loads that change nothing, addresses of elements of any sizes,
// more of them than registers.
func TestMoves(t *testing.T) {
	for _, set := range sets(t) {
		for seed := range uint64(300) {
			rng := rand.New(rand.NewPCG(seed, 3))
			m := Moves{Set: set, Lines: 1 + rng.IntN(2), Near: 768 * rng.IntN(2), Far: 3072 * rng.IntN(2)}
			n := 1 + rng.IntN(mostPlanes)
			for range n {
				m.Sizes = append(m.Sizes, 1<<rng.IntN(4))
			}
			for range 1 + rng.IntN(2*n) {
				from, to := rng.IntN(n), rng.IntN(n+1)-1
				if to >= 0 && m.Sizes[from] != m.Sizes[to] {
					to = from
				}
				if to >= 0 && rng.IntN(4) == 0 {
					from = Nothing
				}
				m.Moves = append(m.Moves, Move{From: from, To: to, Past: rng.IntN(2) == 0})
			}
			elements := m.Round() * (1 + rng.IntN(2))
			var memory, want [][]byte
			var at []*byte
			for _, size := range m.Sizes {
				b := slices.Repeat([]byte{0}, elements*size+128)
				for uintptr(unsafe.Pointer(&b[0]))%64 != 0 {
					b = b[1:]
				}
				b = b[:elements*size+1]
				for k := range b {
					b[k] = byte(rng.Uint32())
				}
				memory, want, at = append(memory, b), append(want, slices.Clone(b)), append(at, &b[0])
			}
			for lo := 0; lo < elements; lo += m.Round() / m.Lines { // a line's moves come before the next line's
				hi := lo + m.Round()/m.Lines
				for _, move := range m.Moves {
					switch size := m.Sizes[max(move.From, move.To)]; {
					case move.To == Nothing:
					case move.From == Nothing:
						clear(want[move.To][lo*size : hi*size])
					default:
						copy(want[move.To][lo*size:hi*size], want[move.From][lo*size:hi*size])
					}
				}
			}
			c, err := m.Compile()
			require.NoError(t, err)
			code, err := exec.New(c.Text)
			require.NoError(t, err)
			code.Run(&at[0], nil, nil, elements)
			for i := range memory {
				if !slices.Equal(want[i], memory[i]) {
					text, _ := c.Listing()
					require.Fail(t, fmt.Sprintf("%s, seed %d: address %d of %v after %v\n%s", set, seed, i, m.Sizes, m.Moves, text))
				}
			}
		}
	}
}
