package syntax

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A rule's text is what its functions reach, as it stands in the file, and nothing else of it.
func TestText(t *testing.T) {
	const element = `// E is an element.
type E[F rule.Float] struct {
	P, G F // both
}

type S[F rule.Float] struct{ A F } // scalars

// Of the group only one is reached, but it is one declaration.
const (
	two   = 2
	three = 3 // not reached
)

//line elsewhere.go:7
// R is the rule.
func R[F rule.Float](e *E[F], s *S[F]) { e.P = helper(F(e.P*two), s.A) }

func helper[F rule.Float](x, y F) F { return x - y }
`
	const prologue = `type H struct{ LR float64 }

// Of /* any
// kind */
func P(h *H, s *S[float64]) {
	s.A = h.LR // within
}
`
	src := "package p\n\nimport \"example.com/rule\"\n\n// apart\n\n" + strings.Replace(element, "//line", "var free = os.Args\n\n//line", 1) +
		"\nfunc other() {} // other\n\n" + prologue + "\n// end\n"
	f, err := Parse("r.go", src, testLang(t))
	require.NoError(t, err)
	r, err := f.Function("R", ReadWrite, Read)
	require.NoError(t, err)
	p, err := f.Function("P", Read, Write)
	require.NoError(t, err)
	require.Equal(t, element, r.Text())
	require.Equal(t, element+"\n"+prologue, r.Text(p))
	require.Equal(t, r.Text(p), p.Text(r))
}
