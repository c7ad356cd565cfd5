package syntax

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
)

// testLang is a library as package rule supplies one.
func testLang(t testing.TB) Library {
	src, err := os.ReadFile("../../rule/lang.go")
	require.NoError(t, err)
	return Library{Path: "example.com/rule", File: "lang.go", Source: string(src),
		Intrinsics: map[string]Intrinsic{"Sqrt": Sqrt, "Abs": Abs, "SmallestNormal": SmallestNormal,
			"FromBits": FromBits, "ToBits": ToBits, "FromHalf": FromHalf, "ToHalf": ToHalf, "MulHigh": MulHigh}}
}

// inRule puts a body, which starts on line 10, into a rule R.
func inRule(body string) string {
	return `package p

import "example.com/rule"

type E[F rule.Float] struct{ P, G F }
type S[F rule.Float] struct{ A, B F }
type O struct{ X, Y bool }

func R[F rule.Float](e *E[F], s *S[F], o O) {
` + body + "\n}\n"
}

func lower(t testing.TB, src string) error {
	f, err := Parse("r.go", src, testLang(t))
	if err != nil {
		return err
	}
	fn, err := f.Function("R", ReadWrite, Read)
	if err != nil {
		return err
	}
	for set := range uint64(1) << len(fn.Options) {
		for _, width := range []int{32, 64} {
			if _, err := fn.Lower(width, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// Every error says where and what would be right.
func TestErrors(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"product added", "e.P = s.A*e.P + e.G", "r.go:10:7: a product is added without a conversion around it: write F(a*b), or the Go compiler may fuse the two"},
		{"product subtracted", "e.P -= s.A*e.G", "r.go:10:1: a product is added"},
		{"product through a variable", "x := s.A*e.G\ny := -x\ne.P = e.P + y", "r.go:12:7: a product is added"},
		{"product through a select", "x := e.G\nif e.G > 0 { x = x*s.A }\ne.P += x", "r.go:12:1: a product is added"},
		{"product through a call", "e.P += twice(e.G)\n}\nfunc twice[F rule.Float](x F) F { return 2*x", "r.go:10:1: a product is added"},
		{"product through a field", "e.P = s.A*e.G\ne.P = e.P + s.B", "r.go:11:7: a product is added"},
		{"product through Abs", "e.P = rule.Abs(s.A*e.G) + s.B", "r.go:10:7: a product is added"},
		// W4: what the Go compiler divides by it may multiply with the reciprocal of.
		{"quotient", "e.P = e.P/2 + e.G", "r.go:10:7: a quotient by a constant is added without a conversion around it: write F(a/2)"},
		{"quotient subtracted", "e.P -= e.G/4", "r.go:10:1: a quotient by a constant"},
		{"quotient on the left", "e.P = e.G/0.25 - e.P", "r.go:10:7: a quotient"},
		{"quotient by a third", "e.P = e.G/3 - e.P", "r.go:10:7: a quotient"},
		{"quotient by one", "e.P = e.G + e.P/1", "r.go:10:7: a quotient"},
		{"quotient of a product", "e.P = F(e.G*e.P)/2 + e.P", "r.go:10:7: a quotient"},
		{"quotient assigned", "e.P /= 2\ne.P += e.G", "r.go:11:1: a quotient"},
		{"quotient's sign", "e.P = -(e.P/2) + e.G", "r.go:10:7: a quotient"},
		{"quotient by a named constant", "e.P = e.P/two + e.G\n}\nconst two = 1 << 1\nfunc f() {", "r.go:10:7: a quotient"},
		{"quotient by a variable", "two := F(1)\ntwo += 1\ne.P = e.P/two + e.G", "r.go:12:7: a quotient"},
		{"quotient by a root", "e.P = e.P/rule.Sqrt(F(4)) + e.G", "r.go:10:7: a quotient"},
		{"quotient by an option", "x := e.G\nif o.X { x = 2 }\ne.P = e.P/x + e.G", "r.go:12:7: a quotient"},
		{"quotient by a choice", "x := s.A\nif e.G > 0 { x = 2 }\ne.P = e.P/x + e.G", "r.go:12:7: a quotient"},
		{"quotient by Max", "e.P = e.P/rule.Max(2, s.A) + e.G", "r.go:10:7: a quotient"},
		{"quotient through a call", "e.P = half(e.P) + e.G\n}\nfunc half[F rule.Float](x F) F { return div(x, 2) }\nfunc div[F rule.Float](x, y F) F { return x/y", "r.go:10:7: a quotient"},
		{"product of constants", "x := F(2)\ne.P = x*x + e.G", "r.go:11:7: a product"},
		{"product by two", "e.P = e.P*2 + e.G", "r.go:10:7: a product"},
		{"product in brackets", "e.P = (e.P*e.G) + s.A", "r.go:10:7: a product"},
		{"product through a result", "e.P += f(e.P)\n}\nfunc f[F rule.Float](x F) (y F) { y = x*x; return y", "r.go:10:1: a product"},
		{"product of several values", "x, y := e.P*e.G, e.P\nx, y = y, x\ne.P = y - s.A", "r.go:12:7: a product"},
		// W4: a constant is a number of the rule's type, or stands in a conversion.
		{"float64 constant of a call", "if less(0.1, 0.1000000001) { e.P = 1 }\n}\nfunc less[T rule.Float](x, y T) bool { return x < y", "r.go:10:4: less is called for float64: a rule calculates in one number type"},
		{"float64 constant of a function", "if less(0.1, 0.1000000001) { e.P = 1 }\n}\nfunc less(x, y float64) bool { return x < y", "r.go:10:9: this is a float64"},
		{"float64 instance", "e.P = F(rule.Max[float64](0.1, 1))", "r.go:10:9: this is a float64"},
		{"float64 instance of a condition", "if is[float64]() { e.P = 1 }\n}\nfunc is[T rule.Float]() bool { return T(0.1) > 0.1", "r.go:10:4: is is called for float64"},
		{"float64 variable", "const c float64 = 0.1\nx := c\ne.P = F(x)", "r.go:11:6: this is a float64"},
		{"multi-value argument", "e.P = f(g(e.P))\n}\nfunc f[F rule.Float](x, y F) F { return x*y }\nfunc g[F rule.Float](x F) (F, F) { return x, x }\nfunc h() { for {}", ""},
		{"named result", "e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) (y F) { if x > 0 { y = x }; return y }\nfunc h() { for {}", ""},
		{"quotient by a scalar", "e.P = e.P/s.A + e.G/e.P", ""},
		{"quotient converted", "e.P = F(e.P/2) + F(e.G/4)", ""},
		{"loop", "for e.P < 1 { e.P += 1 }", "r.go:10:1: a loop is not allowed: a rule has declarations, assignments, if, tagless switch and return"},
		{"range", "for range 3 { e.P = 1 }", "r.go:10:1: a loop is not allowed"},
		{"increment", "e.P++", "r.go:10:1: ++ or -- is not allowed"},
		{"goto", "goto l\nl: e.P = 1", "r.go:10:1: Branch statement is not allowed"},
		{"defer", "defer func() {}()", "r.go:10:1: Defer statement is not allowed"},
		{"store to an input", "s.A = 1", "r.go:10:1: s.A is an input: only the fields of e are stored to"},
		{"store to a parameter", "s = s", "r.go:10:5: this is a *p.S[F]: a rule has numbers and conditions"},
		{"integer variable", "i := 3\ne.P = F(i/2)", "r.go:10:6: this is a int: a rule has numbers and conditions"},
		{"other width", "e.P = F(float64(e.P) + 1)", "r.go:10:"},
		{"float64 in a generic rule", "x := float64(1)\ne.P = F(x)", "r.go:10:6: this is a float64"},
		{"float32", "e.P = F(float32(e.P))", "r.go:10:"},
		{"tagged switch", "switch e.P {\ncase 0: e.P = 1\n}", "r.go:10:1: a switch of a rule has no tag"},
		{"fallthrough", "switch {\ncase e.P > 0: fallthrough\ndefault: e.P = 1\n}", "r.go:11:15: Branch statement is not allowed"},
		{"if with a statement", "if x := e.P; x > 0 { e.P = 1 }", "r.go:10:4: an if of a rule has no statement before its condition"},
		{"unknown name", "e.P = q", "r.go:10:7: undefined: q"},
		{"unknown field", "e.P = e.Q", "r.go:10:9: e.Q undefined"},
		{"unknown option", "if o.Z { e.P = 1 }", "r.go:10:6: o.Z undefined"},
		{"package variable", "e.P = F(v)\n}\nvar v = 3.5\nfunc f() {", "r.go:10:9: v is a package variable: a rule depends on its parameters alone"},
		{"package variable assigned", "v = 1\n}\nvar v = 3.5\nfunc f() {", "r.go:10:1: v is a package variable"},
		{"type elsewhere", "var x T\ne.P = x", "r.go:10:7: undefined: T (a rule, its types and the functions it calls stand in one file)"},
		{"builtin", "e.P = max(e.P, e.G)", "r.go:10:7: max cannot be used in a rule: use rule.Max"},
		{"recursion", "e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F { return f(x)", "calls of f nest too deep"},
		{"function literal", "e.P = func() F { return 1 }()", "r.go:10:7:"},
		{"syntax", "e.P = = 1", "r.go:10:7: expected operand"},
		{"type error", "e.P = o.X", "r.go:10:7: cannot use o.X"},
		{"shift", "e.P = e.P % 2", "r.go:10:"},
		{"option assigned", "o.X = o.Y", "r.go:10:1: only fields of the rule's parameters can be selected"},
		{"address", "x := &e.P\n_ = x", "r.go:10:6:"},
		{"too large", strings.Repeat("if e.P > 0 { if e.G > 0 { return } }\n", 14), "the rule is too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lower(t, inRule(tt.body))
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			var e *Error
			require.True(t, errors.As(err, &e), "%T: %v", err, err)
			require.Contains(t, err.Error(), tt.want)
			require.True(t, e.Pos.IsValid(), "no position in %v", err)
		})
	}
}

func TestDeclarationErrors(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"no function", "package p", "there is no function R"},
		{"result", "package p\ntype E struct{ P, G float64 }\nfunc R(e *E, s *E) float64 { return 1 }", "r.go:3:20: a rule returns nothing"},
		{"value parameter", "package p\ntype E struct{ P, G float64 }\nfunc R(e E, s *E) {}", "r.go:3:8: parameter e must be a pointer"},
		{"int field", "package p\ntype E struct{ P, G int }\nfunc R(e *E, s *E) {}", "r.go:2:16: field P is a int"},
		{"int option", "package p\ntype E struct{ P float64 }\ntype O struct{ N int }\nfunc R(e, s *E, o O) {}", "r.go:3:16: option N is a int: options are bools"},
		{"one struct", "package p\ntype E struct{ P float64 }\nfunc R(e *E) {}", "r.go:3:1: this function takes 2 structs of numbers, not 1"},
		{"one struct and options", "package p\ntype E struct{ P float64 }\nfunc R(e *E, o struct{}) {}", "r.go:3:1: this function takes 2 structs of numbers, not 1"},
		{"three structs", "package p\ntype E struct{ P float64 }\nfunc R(e, s, u *E) {}", "r.go:3:14: parameter u is one too many"},
		{"two type parameters", "package p\ntype E[F, G float32|float64] struct{ P F; Q G }\nfunc R[F, G float32|float64](e, s *E[F, G]) {}", "r.go:3:1: a rule has one type parameter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorContains(t, lower(t, tt.src), tt.want)
		})
	}
}

// A term is stored on every path or on none, and never read.
func TestTerms(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"stored", "s.A = e.G\ns.A = e.P", ""},
		{"in both arms", "if e.P > 0 { s.A = 1 } else { s.A = 2 }", ""},
		{"before both returns", "if e.P > 0 { s.A = 1; return }\ns.A = e.G", ""},
		{"again in one arm", "s.A = 1\nif e.P > 0 { s.A = 2 }", ""},
		{"with an option", "if o.X { s.A = 1 }", ""},
		{"a product", "s.A = e.G*e.P", ""},
		{"in one arm", "s.B = 1\nif e.P > 0 { s.A = 1 }", "r.go:11:14: s.A is not stored on every path: every element has a term, or none has"},
		{"the same in one arm", "if e.P > 0 { s.A = e.P }\ne.P = 1", "r.go:10:14: s.A is not stored on every path"},
		{"after a return", "if o.X && e.P > 0 { return }\ns.A = e.G", "r.go:11:1: s.A is not stored on every path"},
		{"in some cases", "switch {\ncase e.P > 0: s.A = 1\ncase e.P <= 0: s.A = 2\n}", "r.go:12:16: s.A is not stored on every path"},
		{"read", "e.P = s.A", "r.go:10:7: s.A is written and never read"},
		{"read after it is stored", "s.A = e.G\ne.P = s.A", "r.go:11:7: s.A is written and never read"},
		{"added to", "s.A -= e.G", "r.go:10:1: s.A is written and never read"},
		{"read in a call", "e.P = rule.Abs(s.A)", "r.go:10:16: s.A is written and never read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("r.go", inRule(tt.body), testLang(t))
			require.NoError(t, err)
			fn, err := f.Function("R", ReadWrite, Term)
			require.NoError(t, err)
			for set := range uint64(4) {
				if _, lowering := fn.Lower(32, set); err == nil {
					err = lowering
				}
			}
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// The rest of a rule's file may use what it likes.
func TestOnlyTheRuleIsChecked(t *testing.T) {
	src := inRule("e.P = e.G") + `
func other() { fmt.Println(os.Args, undefined) }
`
	require.NoError(t, lower(t, strings.Replace(src, "import ", "import (\"fmt\"; \"os\")\nimport ", 1)))
}

// What is emitted must not depend on Go's map order.
func TestLoweringIsDeterministic(t *testing.T) {
	src, err := os.ReadFile("../../rules/adam.go")
	require.NoError(t, err)
	lib := testLang(t)
	lib.Path = "github.com/fusestep/fusestep/kernels/rule"
	var first string
	for range 50 {
		f, err := Parse("adam.go", string(src), lib)
		require.NoError(t, err)
		fn, err := f.Function("Adam", ReadWrite, Read)
		require.NoError(t, err)
		g, err := fn.Lower(32, 1)
		require.NoError(t, err)
		text := fmt.Sprintf("%+v", *g)
		if first == "" {
			first = text
		}
		require.Equal(t, first, text)
	}
}

// FuzzRule: any source is a rule or a *Error, and never a panic or an endless loop.
func FuzzRule(f *testing.F) {
	for _, body := range []string{
		"e.P -= F(s.A*e.G)", "if o.X && !o.Y { e.P = rule.Max(e.P, e.G) }",
		"x, y := e.P, e.G\nx, y = y, x\nswitch { case x > y: e.P = x; return; default: e.P = -y }",
		"var t F\nif b := e.P; b == 0 { return }\ne.P = t", "e.P = rule.Sqrt[F](e.G) / rule.Flush(s.A)",
		strings.Repeat("if e.P > 0 { if e.G > 0 { return } }\n", 30),
		// C2, I13, W4: what is refused, and what stands beside a rule.
		"e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F", "e.P = f(g(e.P))\n}\nfunc f[F rule.Float](x, y F) F { return x }\nfunc g[F rule.Float](x F) (F, F) { return x, x",
		"e.P = e.m(1)\n}\nfunc (e *E[F]) m(x F) (y F) { return x", "e.P = f[F](1)\n}\nfunc f[P any](x P) P { return f[P](x)",
		"e.P = F(0x1p-1074) + F(1<<60) + F(c)/2 + e.G/(2+2)\n}\nconst ( c float64 = iota + 'a'; d )\nfunc f() {",
		"var a, b, c = e.P > 0, e.G, s.A\nif a { b, c = c, b } else if !a || o.X { return }\ne.P = b - c",
		"true, nil := e.P, e.G\n{ const F = 1; true = nil }\ne.P = true\n}\ntype m struct{ m *m }\nvar R2 = m{}.x.y[0]()\nfunc (m) m() {",
		"e.P = F(math.Exp(1)) + min(1, 2)\n}\nfunc f[A, B interface{ float64 | ~float32 }](x A) (y B) { y = B(x); return y",
	} {
		f.Add(inRule(body))
	}
	f.Add(inRule("s.A = e.G\nif e.P > 0 { s.B = 1; return }\nif o.X { s.A = s.B }"))
	for _, body := range []string{
		"return a<<3&^b | rule.ToHalf(x)", "if x != x { return a>>16 | 0x40 }\nreturn (a + 0x7fff + a>>16&1) >> 16",
		"const c uint32 = 1 << 31\na, b = f(a ^ c)\na %= 3\nb <<= a\nreturn rule.MulHigh(f(-b))\n}\nfunc f(w uint32) (v, u uint32) {\nv = ^w\nreturn u, v",
		"return uint32(x) + 1<<32 - uint32(float32(a))", "return rule.ToBits(rule.FromBits[float32](b) + x*x)",
	} {
		f.Add(inFormat(body))
	}
	for _, file := range []string{"../../format/plain.go", "../../rules/sgd.go", "../../rules/adam.go", "../../rule/lang.go"} {
		src, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(src))
	}
	lib := testLang(f)
	f.Fuzz(func(t *testing.T, src string) {
		file, err := Parse("r.go", src, lib)
		if err != nil {
			return
		}
		try := func(fn *Function, err error) {
			for width := 32; err == nil && width <= 64; width += 32 {
				for set := range uint64(1) << min(len(fn.Options), 2) {
					var g *ir.Func
					if g, err = fn.Lower(width, set); err == nil {
						wellFormed(t, g)
					}
				}
			}
			if _, ok := err.(*Error); err != nil && !ok {
				t.Fatalf("%T: %v", err, err)
			}
		}
		for _, name := range []string{"R", "SGD", "Adam", "f"} {
			try(file.Function(name, ReadWrite, Read))
			try(file.Function(name, Write, Term))
		}
		for _, name := range []string{"R", "f", "decodeBFloat16", "encodeFloat16"} {
			try(file.FormatFunction(name))
		}
	})
}

// wellFormed fails unless operands come before what uses them and are of the kind that it takes.
func wellFormed(t *testing.T, f *ir.Func) {
	for i, n := range f.Nodes {
		for k, a := range n.Args() {
			if int(a) >= i {
				t.Fatalf("node %d uses node %d, which comes later", i, a)
			}
			if got, want := f.Kind(a), operand(f, &n, k); got != want {
				t.Fatalf("operand %d of node %d, %s, has kind %d, must have %d", k, i, n.Op, got, want)
			}
		}
	}
	for _, s := range f.Stores {
		want := ir.Number
		if f.Vars[s.Var].Type != ir.Float {
			want = ir.Integer
		}
		if got := f.Kind(s.Value); got != want {
			t.Fatalf("%s is stored a value of kind %d, must have %d", f.Vars[s.Var].Name, got, want)
		}
	}
}

// operand is the kind of a node's operand: A, B or C.
func operand(f *ir.Func, n *ir.Node, k int) ir.Kind {
	switch n.Op {
	case ir.And, ir.Or, ir.Not:
		return ir.Truth
	case ir.Select:
		if k == 2 {
			return ir.Truth
		}
		return f.Kind(n.A)
	case ir.FromBits, ir.FromHalf, ir.WAdd, ir.WSub, ir.WMul, ir.WMulHigh, ir.WAnd, ir.WOr, ir.WXor, ir.WShl, ir.WShr, ir.WRotl, ir.WLt, ir.WEq:
		return ir.Integer
	}
	return ir.Number
}
