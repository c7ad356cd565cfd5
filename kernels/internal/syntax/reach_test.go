package syntax

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// I13: names are resolved by Go's scopes. Beside the rule, its file is free.
func TestRestOfTheFileIsFree(t *testing.T) {
	rule := inRule("m := e.P\nm = F(m * s.A)\ne.P = helper(m) + e.G\n}\nfunc helper[F rule.Float](x F) F {\nreturn rule.Max(x, 0)")
	tests := []struct{ name, imports, rest string }{
		{"another package's interface", `"example.com/optim"`, "type X struct{}\nvar _ optim.Algorithm = X{}"},
		{"a function named as a local", `"os"`, "func m() { os.Exit(1) }"},
		{"a variable named as a local", `"os"`, "var m = os.Args"},
		{"a type named as a scalar", `"time"`, "type A struct{ d time.Duration }"},
		{"a type named as a slot", `"time"`, "type (\nP time.Duration\nG []P\n)"},
		{"a function named as an option", `"fmt"`, "func X() { fmt.Println() }\nfunc Y(Y int) { fmt.Println(Y) }"},
		{"a constant named as a parameter", `"math"`, "const e, s, o, x = math.Pi, \"s\", 'o', iota"},
		{"a function named as a type parameter", `"os"`, "func F() { os.Exit(1) }"},
		{"methods", `"sync"`, "func (e *E[F]) Lock() { var m sync.Mutex; m.Lock() }\nfunc (E[F]) m(x map[string]int) chan int { return nil }\nfunc (o O) helper() any { return sync.Pool{} }"},
		{"a type that holds the rule's", `"sync"`, "type W[F rule.Float] struct { sync.Mutex; e E[F]; o O }\nfunc (w *W[F]) R() { R(&w.e, nil, w.o) }"},
		{"functions that call the rule", `"fmt"`, "func call() { e := E[float32]{}; R(&e, nil, O{X: true}); fmt.Println(len(fmt.Sprint(helper(e.P)))) }"},
		{"types and variables of other files", "", "var a, b = undefined, elsewhere.X()\nfunc g(q Q) (r [n]R2) { return q.z() }"},
		{"inits and blanks", `_ "embed"`, "func init() { panic(1) }\nfunc init() {}\nfunc _() { x := 1 }\nfunc _() {}\nvar _, _ = 1, 2"},
		{"a dot import", `. "math"`, "var y = Exp(Pi)"},
		{"a renamed import", `m "math"`, "var y = m.Exp(m.Pi)"},
		{"packages named otherwise", "\"math/rand/v2\"\n\"gopkg.in/yaml.v3\"\n\"github.com/x/go-y\"", "var z = rand.N(3)\nfunc y() { yaml.Marshal(y.Z) }"},
		{"package unsafe", `"unsafe"`, "const size = unsafe.Sizeof(E[float32]{})"},
		{"package C", `"C"`, "func c() C.int { return C.f() }"},
		{"embedding", `_ "embed"`, "//go:embed r.go\nvar source string"},
		{"predeclared names declared anew", `"os"`, "const true = false\nfunc max() {}\nvar nil = os.Args\ntype any struct{}"},
		{"an import of nothing", `"os"`, ""},
		{"no body", "", "func assembly(x *byte) int\nfunc (O) method()"},
		{"errors", "", "func f() int { return \"\" }\ntype T struct { T }\nvar v int = \"\"\nconst c = 1/0\nfunc d() {}\nfunc d() {}\nvar u, u int"},
		{"labels", "", "func l() { m: for { break m } }"},
		{"cycles", "", "type T1 struct{ T2 }; type T2 struct{ T1 }\nvar c1, c2 = c2, c1\nfunc i[T any]() { i[*T]() }"},
		{"assertions", `"fmt"`, "var _ fmt.Stringer = (*E[float64])(nil)\nvar _ = R[float32]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(rule, "import ", "import (\n"+tt.imports+"\n)\nimport ", 1) + tt.rest + "\n"
			require.NoError(t, lower(t, src), src)
		})
	}
	for _, local := range []string{"r", "_", "."} {
		t.Run("rule imported as "+local, func(t *testing.T) {
			src := strings.Replace(rule, "import ", "import "+local+" ", 1)
			src = strings.ReplaceAll(src, "rule.", map[string]string{"r": "r.", "_": "rule.", ".": ""}[local])
			err := lower(t, src)
			if local == "_" {
				require.ErrorContains(t, err, "undefined: rule")
			} else {
				require.NoError(t, err, src)
			}
		})
	}
}

// I13: a rule's own names may be any: of packages, of functions, predeclared ones.
func TestShadowing(t *testing.T) {
	for _, body := range []string{
		"fmt := e.P\ne.P = fmt",
		"helper := e.P\ne.P = helper",
		"true := e.P > 0\nif true { e.P = 1 }",
		"max, nil := e.P, e.G\ne.P = max - nil",
		"E := e.P\nS := E\n{ E := S; S = E }\ne.P = S",
		"const iota = 3\ne.P = F(iota)",
		"float64 := e.P\ne.P = float64",
		"P, A := e.P, s.A\ne.P = P + A",
		"R := e.P\ne.P = R",
	} {
		src := inRule(body) + "func helper() { fmt.Println() }\n"
		require.NoError(t, lower(t, strings.Replace(src, "import ", "import \"fmt\"\nimport ", 1)), body)
	}
}

// I14, W4, C2: what a rule reaches and may not have is refused where it stands.
func TestWhatARuleReaches(t *testing.T) {
	all := "it has the functions of its own file and rule.Abs, rule.Clip, rule.Flush"
	tests := []struct{ name, body, want string }{
		{"math.Exp", "e.P = F(math.Exp(float64(e.P)))", "r.go:10:9: math.Exp cannot be used in a rule: " + all},
		{"math.Abs", "e.G = 0\ne.P = F(math.Abs(float64(e.P)))", "r.go:11:9: math.Abs cannot be used in a rule: use rule.Abs"},
		{"math.Sqrt in an unused arm", "if o.X { e.P = F(math.Sqrt(2)) }", "r.go:10:18: math.Sqrt cannot be used in a rule: use rule.Sqrt"},
		{"math.Max", "e.P = F(math.Max(1, 2))", "use rule.Max"}, {"math.Min", "e.P = F(math.Min(1, 2))", "use rule.Min"},
		{"math.Pow", "e.P = F(math.Pow(1, 2))", "use rule.Pow"},
		{"a constant", "e.P = math.Pi", "r.go:10:7: math.Pi cannot be used in a rule: it has"},
		{"a renamed package", "e.P = F(rand.Float64())", "r.go:10:9: rand.Float64 cannot be used"},
		{"in a function", "e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F { return F(math.Log(float64(x)))", "r.go:12:40: math.Log cannot be used"},
		{"in a constant", "e.P = c\n}\nconst c = unsafe.Sizeof(\"\")\nfunc f() {", "r.go:12:11: unsafe.Sizeof cannot be used"},
		{"in a repeated constant", "e.P = d\n}\nconst (\nc = math.Pi\nd\n)\nfunc f() {", "r.go:13:5: math.Pi cannot be used"},
		{"in a type", "var x T\n_ = x\n}\ntype T = math.T\nfunc f() {", "r.go:13:10: math.T cannot be used"},
		{"true", "x := true\n_ = x", "r.go:10:6: true cannot be used in a rule: another file of the package could declare it anew"},
		{"false in a constant", "if c { e.P = 1 }\n}\nconst c = false\nfunc f() {", "r.go:12:11: false cannot be used"},
		{"iota", "e.P = d\n}\nconst (\nc = iota\nd\n)\nfunc f() {", "r.go:13:5: iota cannot be used"},
		{"true declared anew", "if true { e.P = 1 }\n}\nconst true = 3\nfunc f() {", "r.go:10:4: non-boolean condition"},
		{"min", "e.P = min(e.P, 1)", "r.go:10:7: min cannot be used in a rule: use rule.Min"},
		{"max of constants", "e.P = max(1, 2)", "r.go:10:7: max cannot be used in a rule: use rule.Max"},
		{"len", "e.P = F(len(\"abc\"))", "r.go:10:9: len cannot be used in a rule: " + all},
		{"panic", "panic(1)", "r.go:10:1: panic cannot be used"},
		{"int", "e.P = F(int(3) / 2)", "r.go:10:9: int cannot be used in a rule: it has bool and one number type"},
		{"float32 constant", "e.P = F(float32(0.1))", "r.go:10:9: float32 cannot be used"},
		{"typed constant", "const c int = 3\ne.P = F(c / 2)", "r.go:10:9: int cannot be used"},
		{"no body", "f()\n}\nfunc f() ()\nfunc g() {", "r.go:12:1: f has no body"},
		{"no generic body", "e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F\nfunc g() {", "r.go:12:1: f has no body"},
		{"declared twice", "e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F { return x }\nfunc f() {", "f redeclared in this block"},
		{"a variable's method", "e.P = F(v.m(float64(e.P)))\n}\ntype T struct{}\nvar v T\nfunc (T) m(x float64) float64 { return x", "r.go:10:9: v is a package variable"},
		{"a method of the struct", "e.m()\n}\nfunc (e *E[F]) m() {", "r.go:10:1: an expression on its own is not allowed"},
		{"a method of the struct with a value", "e.P = e.m(1)\n}\nfunc (e *E[F]) m(x F) F { return x", "r.go:10:7: m is a method: a rule calls functions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := inRule(tt.body)
			src = strings.Replace(src, "package p\n\nimport ", "package p; import (\"math\"; \"math/rand/v2\"; \"unsafe\")\n\nimport ", 1)
			err := lower(t, src)
			var e *Error
			require.True(t, errors.As(err, &e), "%T: %v", err, err)
			require.Contains(t, err.Error(), tt.want)
		})
	}
	t.Run("by another name", func(t *testing.T) {
		src := strings.ReplaceAll(inRule("e.P = max(e.P, 0)"), "rule.", "r.")
		require.ErrorContains(t, lower(t, strings.Replace(src, "import ", "import r ", 1)), "use r.Max")
	})
}

// C2: a rule that is too much of anything is refused with a position, and soon.
func TestHostile(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"64 options", strings.Replace(inRule("e.P = 1"), "X, Y bool", "X, Y, "+names("o", 62)+" bool", 1), "r.go:7:46: option o6 is one too many: a rule has at most 8 options, not 64"},
		{"fields", strings.Replace(inRule("e.P = 1"), "P, G F", "P, G, "+names("x", 5000)+" F", 1), "field x1022 is one too many"},
		{"mutual recursion", inRule("e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F { return g(x) + g(x) }\nfunc g[F rule.Float](x F) F { return f(x) + f(x)"), "calls of"},
		{"a tree of calls", inRule("e.P = f0(e.P)\n}\n" + tree(15) + "func f15[F rule.Float](x F) F { return x"), "the rule is too large"},
		{"a chain of calls", inRule("e.P = f0(e.P)\n}\n" + tree(5000) + "func f5000[F rule.Float](x F) F { return x"), "calls of"},
		{"a long sum", inRule("e.P = e.P" + strings.Repeat(" + e.P", 10000)), "the rule is too large"},
		{"parentheses", inRule("e.P = " + strings.Repeat("(", 10000) + "e.P" + strings.Repeat(")", 10000)), "the rule is too large"},
		{"signs", inRule("e.P = " + strings.Repeat("- ", 10000) + "e.P"), "the rule is too large"},
		{"more signs", inRule("e.P = " + strings.Repeat("- ", 100000) + "e.P"), "exceeded max nesting depth"},
		{"blocks", inRule(strings.Repeat("{", 10000) + strings.Repeat("}", 10000)), "blocks nest too deep"},
		{"nested ifs", inRule(strings.Repeat("if e.P > 0 {", 10000) + "return" + strings.Repeat("}", 10000)), "blocks nest too deep"},
		{"elses", inRule("if e.P > 0 {}" + strings.Repeat(" else if e.G > 0 { e.P = 1 }", 10000)), "blocks nest too deep"},
		{"cases", inRule("switch {" + strings.Repeat("case e.P > 0, e.G > 0: return\n", 10000) + "}"), "the rule is too large"},
		{"locals and ifs", inRule("var " + names("x", 1500) + " F\n" + strings.Repeat("if e.G > 0 { x0 = e.P }\n", 1500) + strings.Repeat("_ = "+"e.P\n", 5000) + unused("x", 1500)), "the rule is too large"},
		{"type parameters", inRule("var x T[T[T[F]]]\n_ = x\n}\ntype T[P any] struct { f *T[T[P]] }\nfunc f() {"), "instantiation cycle"},
		{"instances without end", inRule("f[F]()\n}\nfunc f[P any]() { f[*P]() }\nfunc g() {"), "r.go:"},
		{"a type of itself", strings.Replace(inRule("e.P = 1"), "struct{ P, G F }", "struct{ P F; E *E[E[F]] }", 1), "r.go:5:"},
		{"a constant of itself", inRule("e.P = c\n}\nconst c = d\nconst d = c\nfunc f() {"), "initialization cycle"},
		{"a large constant", inRule("e.P = F(1<<100000)"), "r.go:10:"},
		{"division of constants by zero", inRule("e.P = 1/(1-1)"), "division by zero"},
		{"a byte-order mark inside", inRule("e.P = \ufeff1"), "illegal byte order mark"},
		{"NUL", inRule("e.P = \x001"), "illegal character NUL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lower(t, tt.src)
			var e *Error
			require.True(t, errors.As(err, &e), "%T: %.300v", err, err)
			require.Contains(t, err.Error(), tt.want)
			require.True(t, e.Pos.IsValid(), "no position in %v", err)
		})
	}
}

// names are n of them, separated by commas.
func names(prefix string, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return strings.Join(all, ", ")
}

// unused is what makes variables used.
func unused(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "_ = %s%d\n", prefix, i)
	}
	return b.String()
}

// tree is n functions each of which calls the next twice.
func tree(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "func f%d[F rule.Float](x F) F { return f%d(x) + f%d(x) }\n", i, i+1, i+1)
	}
	return b.String()
}
