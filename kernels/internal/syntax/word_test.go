package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
)

// inFormat puts a body, which starts on line 6, into a format function R.
func inFormat(body string) string {
	return "package p\n\nimport \"example.com/rule\"\n\nfunc R(a, b uint32, x float32) uint32 {\n" + body + "\n}\n\nvar _ rule.Float\n"
}

func lowerFormat(t testing.TB, src string, widths ...int) error {
	f, err := Parse("r.go", src, testLang(t))
	if err != nil {
		return err
	}
	fn, err := f.FormatFunction("R")
	if err != nil {
		return err
	}
	for _, width := range widths {
		if _, err := fn.Lower(width, 0); err != nil {
			return err
		}
	}
	return nil
}

func TestWordErrors(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"division", "return a / b", "r.go:6:8: operator / is not allowed on words: they have + - * & | ^ &^ << >> and comparisons"},
		{"remainder", "return a % 3", "r.go:6:8: operator % is not allowed on words"},
		{"division assigned", "a /= b\nreturn a", "r.go:6:1: operator / is not allowed on words"},
		{"division of constants by zero", "return a / 0", "r.go:6:12: invalid operation: division by zero"},
		{"shift by a word", "return a << b", "r.go:6:13: a word is shifted by a constant"},
		{"shift assigned by a word", "a >>= b\nreturn a", "r.go:6:7: a word is shifted by a constant"},
		{"shift of a constant by a word", "return 1 << a", "r.go:6:13: a word is shifted by a constant"},
		{"shift by 32", "return a << 32", "r.go:6:13: a word is shifted by 0 to 31 bits, not by 32"},
		{"shift by much", "return a >> (1 << 40)", "r.go:6:13: a word is shifted by 0 to 31 bits, not by 1099511627776"},
		{"shift by less than 0", "return a << -1", "r.go:6:13: "},
		{"shift of a constant beyond a word", "return 1 << 32", "r.go:6:8: cannot use 1 << 32 (untyped int constant 4294967296) as uint32 value in return statement (overflows)"},
		{"shift of a number", "return rule.ToBits(x << 1)", "r.go:6:20: invalid operation: shifted operand x"},
		{"constant beyond a word", "return a & 0x100000000", "r.go:6:12: "},
		{"constant below 0", "return a + -1", "r.go:6:12: "},
		{"converted constant beyond a word", "return uint32(1<<32 + 1)", "r.go:6:15: "},
		{"constant that is no integer", "return a + 1.5", "r.go:6:12: "},
		{"word and number", "return a + x", "r.go:6:8: invalid operation: a + x (mismatched types uint32 and float32)"},
		{"word and condition", "return a + (a < b)", "r.go:6:8: invalid operation"},
		{"comparison of word and number", "if a < x { return a }\nreturn b", "r.go:6:8: invalid operation: a < x (mismatched types"},
		{"word to number", "x = float32(a)\nreturn rule.ToBits(x)", "r.go:6:13: a number is needed here, not a word: rule.FromBits and rule.FromHalf make one of a word"},
		{"number to word", "return uint32(x)", "r.go:6:15: a word is needed here: rule.ToBits and rule.ToHalf make one of a number"},
		{"complement of a number", "return rule.ToBits(^x)", "r.go:6:21: invalid operation: operator ^ not defined on x"},
		{"not a word", "if !a { return b }\nreturn a", "r.go:6:5: invalid operation"},
		{"a word as a condition", "if a { return b }\nreturn a", "r.go:6:4: non-boolean condition in if statement"},
		{"int", "i := 3\nreturn a << i", "r.go:6:6: this is a int: a rule has numbers, words and conditions"},
		{"other integers", "return uint32(uint16(a))", "r.go:6:15: uint16 cannot be used in a format: it has bool, uint32 and one number type, which its type parameter or float32 names"},
		{"float64", "return rule.ToBits(float32(float64(x)))", "r.go:6:28: this is a float64: a rule has numbers, words and conditions"},
		{"float64 constant", "const c float64 = 0.1\ny := c\nreturn rule.ToBits(float32(y))", "r.go:7:6: this is a float64: a rule has numbers, words and conditions"},
		{"increment", "a++\nreturn a", "r.go:6:1: ++ or -- is not allowed"},
		{"variable of another type", "var s string\n_ = s\nreturn a", "r.go:6:7: string cannot be used in a format"},
		{"product added", "return rule.ToBits(x*x + 1)", "r.go:6:20: a product is added without a conversion"},
		{"instance for words", "return f(a)\n}\nfunc f[T interface{ uint32 | float32 }](x T) T {\nreturn x + x", "r.go:6:8: f is called for uint32: a rule calculates in one number type"},
		{"parameter of another type", "return f(a)\n}\nfunc f(x uint32, y ...uint32) uint32 {\nreturn x", "r.go:6:8: f takes a []uint32: functions that a rule calls take numbers, words and conditions"},
		{"power", "return rule.ToBits(float32(rule.Pow(2, 3)))", "r.go:6:28: this is a float64"},
		{"recursion", "return f(a)\n}\nfunc f(x uint32) uint32 {\nreturn f(x)", "calls of f nest too deep"},
		{"loop", "for a < b { a += 1 }\nreturn a", "r.go:6:1: a loop is not allowed"},
		{"no value", "if a < b { return a }", "missing return"},
		{"large", "return a" + strings.Repeat(" + b", 5000), "the rule is too large"},

		{"constants", "const c, d = 1<<31 | 3, 0x10p-4\nconst e uint32 = c + d\nreturn a&c + e - uint32(7)<<29 + 'a' + 1e3", ""},
		{"signs", "a = -a\nreturn +^-a", ""},
		{"calls", "a, b = f(a, x)\nreturn rule.MulHigh(f(a, rule.FromHalf[float32](b)))\n}\nfunc f(w uint32, y float32) (v, u uint32) {\nvar z bool\nif z { return w, w }\nv = w &^ rule.ToHalf(y)\nreturn v, u", ""},
		{"conversions", "y := float32(rule.FromBits[float32](uint32(a)))\nreturn rule.ToBits(y)", ""},
		{"a shift by a named constant", "const n = 3.0\nreturn a<<n>>31<<0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lowerFormat(t, inFormat(tt.body), 32)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			var e *Error
			require.True(t, errors.As(err, &e) && e.Pos.IsValid(), "%T: %v", err, err)
		})
	}
}

func TestFormatFunctionErrors(t *testing.T) {
	tests := []struct {
		name, fn, want string
		widths         []int
	}{
		{"no function", "func Q() {}", "there is no function R", nil},
		{"no result", "func R(a uint32) {}", "r.go:5:1: R returns nothing: a format function returns numbers and words", nil},
		{"condition", "func R(a bool) uint32 { return 1 }", "r.go:5:8: param a is a bool: a format function takes and returns words and numbers of one type", nil},
		{"unnamed pointer", "func R(*uint32) uint32 { return 1 }", "r.go:5:8: param param0 is a *uint32", nil},
		{"condition returned", "func R(a uint32) (uint32, bool) { return 1, a < 2 }", "r.go:5:27: result result1 is a bool", nil},
		{"float64", "func R(a float64) uint32 { return 1 }", "r.go:5:8: param a is a float64", nil},
		{"two number types", "func R[F rule.Float](a F, b float32) uint32 { return 1 }", "r.go:5:27: param b is a float32", nil},
		{"two type parameters", "func R[F, G rule.Float](a F, b G) uint32 { return 1 }", "r.go:5:1: a rule has one type parameter", nil},
		{"many parameters", "func R(" + names("a", 1025) + " uint32) uint32 { return 1 }", "param a1024 is one too many: a format function has at most 1024", nil},
		{"naked return", "func R(a uint32) (b uint32) { b = a; return }", "r.go:5:38: return must name its 1 values", []int{32}},
		{"float32 at 64 bits", "func R(x float32) uint32 { return rule.ToBits(x) }", "r.go:5:1: R is a float32 function: it has no 64-bit form", []int{32, 64}},
		{"bits of any number", "func R[F rule.Float](x F) uint32 { return rule.ToBits(x) }", "r.go:5:55: cannot use x", nil},
		{"half of any number", "func R[F rule.Float](x F) uint32 { return rule.ToHalf(float32(x)) }", "r.go:5:55: this is a float32: a generic rule calculates in its own number type", []int{64}},
		{"bits of a constant", "func R[F rule.Float](x F) uint32 { return rule.ToBits(1) }", "r.go:5:55: this is a float32: a generic rule calculates in its own number type", []int{64}},

		{"generic", "func R[F rule.Float](a uint32) F { return rule.FromBits[F](a<<16) + F(rule.FromHalf[F](a&3)/2) }", "", []int{32, 64}},
		{"named results", "func R(a uint32) (b uint32, c float32) { if a > 3 { b = 1 }; return b, c }", "", []int{32}},
		{"no parameter", "func R() (uint32, float32) { return 1, 2 }", "", []int{32}},
		{"blank parameters", "func R(_, _ uint32, _ float32) uint32 { return 1 }", "", []int{32}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lowerFormat(t, "package p\n\nimport \"example.com/rule\"\n\n"+tt.fn+"\n\nvar _ rule.Float\n", tt.widths...)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// A rule has no words, at any width.
func TestRulesHaveNoWords(t *testing.T) {
	for body, want := range map[string]string{
		"var w uint32\n_ = w":                      "r.go:10:7: uint32 cannot be used in a rule: it has bool and one number type",
		"e.P = rule.FromBits[F](3)":                "r.go:10:24: this is a uint32: a rule has numbers and conditions",
		"w := rule.MulHigh(1, 2)\n_ = w":           "r.go:10:6: this is a uint32: a rule has numbers and conditions",
		"if rule.MulHigh(1, 2) == 0 { e.P = e.G }": "r.go:10:4: this is a uint32: a rule has numbers and conditions",
		"e.P = f(e.P)\n}\nfunc f[F rule.Float](x F) F { return x + rule.FromHalf[F](rule.ToHalf(0))": "r.go:12:",
		"e.P = F(rule.ToBits(float32(e.P)))": "r.go:10:21: float32 cannot be used in a rule",
	} {
		require.ErrorContains(t, lower(t, inRule(body)), want)
	}
	err := lower(t, inRule("panic(1)"))
	require.ErrorContains(t, err, "it has the functions of its own file and rule.Abs, rule.Clip, rule.Flush, rule.FlushWith, rule.Max, rule.Min, rule.Pow, rule.Sign,")
	require.ErrorContains(t, lowerFormat(t, inFormat("panic(1)")), "rule.FlushWith, rule.FromBits, rule.FromHalf, rule.Max,")
	src := strings.Replace(inRule("e.P = e.G"), "P, G F", "P, G F; W uint32", 1)
	require.ErrorContains(t, lower(t, src), "r.go:5:38: field W is a uint32: every field of a struct of numbers has the rule's number type")
}

// programs draws format functions.
type programs struct {
	*rand.Rand
	words, numbers []string // variables
	left, depth    int      // operations, and around what is being drawn: calls nest at most 16 deep
}

func (p *programs) pick(all ...string) string { return all[p.IntN(len(all))] }

func (p *programs) word() string {
	p.depth++
	defer func() { p.depth-- }()
	if p.left--; p.left < 0 || p.depth > 12 {
		return p.pick(p.words...)
	}
	switch p.IntN(16) {
	case 0, 1, 2, 3, 4:
		return fmt.Sprintf("(%s %s %s)", p.word(), p.pick("+", "-", "*", "&", "|", "^", "&^"), p.word())
	case 5:
		return fmt.Sprintf("(%s %s %#x)", p.word(), p.pick("+", "-", "*", "&", "|", "^", "&^"), p.Uint32()>>p.IntN(32))
	case 6:
		return fmt.Sprintf("(%d %s %s)", p.Uint32()>>p.IntN(32), p.pick("+", "-", "*", "&", "|", "^", "&^"), p.word())
	case 7, 8:
		return fmt.Sprintf("(%s %s %d)", p.word(), p.pick("<<", ">>"), p.IntN(32))
	case 9:
		return fmt.Sprintf("(%s%s)", p.pick("^", "-", "+"), p.word())
	case 10:
		return fmt.Sprintf("rule.MulHigh(%s, %s)", p.word(), p.word())
	case 11, 12:
		return fmt.Sprintf("bits(%s)", p.number())
	case 13:
		return fmt.Sprintf("half(%s)", p.number())
	case 14:
		return fmt.Sprintf("choose(%s, %s, %s)", p.condition(), p.word(), p.word())
	}
	w, by := p.pick(p.words...), 1+p.IntN(31)
	return fmt.Sprintf("(%s<<%d | %s>>%d)", w, by, w, 32-by)
}

func (p *programs) number() string {
	p.depth++
	defer func() { p.depth-- }()
	if p.left--; p.left < 0 || p.depth > 12 {
		return p.pick(p.numbers...)
	}
	switch p.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("rule.FromBits[float32](%s)", p.word())
	case 2:
		return fmt.Sprintf("rule.FromHalf[float32](%s)", p.word())
	case 3, 4:
		return fmt.Sprintf("float32(%s %s %s)", p.number(), p.pick("+", "-", "*", "/"), p.number())
	case 5:
		return fmt.Sprintf("rule.%s(%s)", p.pick("Abs", "Flush", "Sign"), p.number())
	case 6:
		return fmt.Sprintf("rule.%s(%s, %g)", p.pick("Max", "Min"), p.number(), p.NormFloat64())
	}
	return p.pick(p.numbers...)
}

func (p *programs) condition() string {
	switch p.IntN(5) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", p.condition(), p.pick("&&", "||"), p.condition())
	case 1:
		return fmt.Sprintf("%s %s %s", p.number(), p.pick("<", "<=", ">", ">=", "==", "!="), p.number())
	case 2:
		return fmt.Sprintf("!(%s %s %#x)", p.word(), p.pick("<", "<=", ">", ">=", "==", "!="), p.Uint32())
	}
	return fmt.Sprintf("%s %s %s", p.word(), p.pick("<", "<=", ">", ">=", "==", "!="), p.word())
}

func (p *programs) statement(b *strings.Builder, depth int) {
	switch k := p.IntN(8); {
	case k < 2 || depth == 3:
		fmt.Fprintf(b, "%s %s= %s\n", p.pick(p.words...), p.pick("+", "-", "*", "&", "|", "^", "&^"), p.word())
	case k == 2:
		fmt.Fprintf(b, "%s %s= %d\n", p.pick(p.words...), p.pick("<<", ">>"), p.IntN(32))
	case k == 3:
		fmt.Fprintf(b, "%s, %s = %s, %s\n", p.words[0], p.words[1], p.word(), p.word())
	case k == 4:
		fmt.Fprintf(b, "%s = %s\n", p.pick(p.numbers...), p.number())
	case k == 5 && p.IntN(3) == 0:
		fmt.Fprintf(b, "if %s {\nreturn %s, %s\n}\n", p.condition(), p.word(), p.number())
	default:
		fmt.Fprintf(b, "if %s {\n", p.condition())
		p.statement(b, depth+1)
		b.WriteString("} else {\n")
		p.statement(b, depth+1)
		b.WriteString("}\n")
	}
}

// function is the text of one: three words and two numbers become a word and a number.
func (p *programs) function(name string) string {
	p.words, p.numbers, p.left = []string{"a", "b", "c"}, []string{"x", "y"}, 60
	var b strings.Builder
	fmt.Fprintf(&b, "func %s(a, b, c uint32, x, y float32) (uint32, float32) {\n", name)
	for i := range 4 {
		fmt.Fprintf(&b, "w%d, z%d := %s, %s\n", i, i, p.word(), p.number())
		p.words, p.numbers = append(p.words, fmt.Sprint("w", i)), append(p.numbers, fmt.Sprint("z", i))
		p.statement(&b, 0)
	}
	fmt.Fprintf(&b, "return %s + bits(%s), z3\n}\n", strings.Join(p.words, " + "), strings.Join(p.numbers, ") + bits("))
	return b.String()
}

const programsHead = `package main

import (
	"bufio"
	"fmt"
	"math"
	"os"

	"github.com/fusestep/fusestep/kernels/rule"
)

// Which NaN an operation gives is not defined.
func bits(x float32) uint32 {
	if x != x {
		return 0x7fc00000
	}
	return rule.ToBits(x)
}

func half(x float32) uint32 {
	if x != x {
		return 0x7e00
	}
	return rule.ToHalf(x)
}

func choose(c bool, a, b uint32) uint32 {
	if c {
		return a
	}
	return b
}

`

// TestWordsAreGos: format functions of random statements do in their graphs what they do compiled.
func TestWordsAreGos(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs the Go compiler")
	}
	const functions, rows = 60, 64
	p := &programs{Rand: rand.New(rand.NewPCG(5, 6))}
	var src, inputs, calls strings.Builder
	src.WriteString(programsHead)
	for i := range functions {
		src.WriteString(p.function(fmt.Sprint("f", i)))
		fmt.Fprintf(&calls, "f%d, ", i)
	}
	var in [rows][5]uint32
	for i := range in {
		for k := range in[i] {
			w := p.Uint32() >> (p.IntN(2) * p.IntN(32))
			if k >= 3 {
				w = math.Float32bits(float32(math.Ldexp(p.NormFloat64(), p.IntN(40)-20)))
				if p.IntN(4) == 0 {
					w = []uint32{0, 1 << 31, 1, 0x7f800000, 0xff800000, 0x7fc00000, p.Uint32()}[p.IntN(7)]
				}
			}
			in[i][k] = w
		}
		fmt.Fprintf(&inputs, "{%d, %d, %d, %d, %d},\n", in[i][0], in[i][1], in[i][2], in[i][3], in[i][4])
	}
	fmt.Fprintf(&src, `
func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, f := range []func(a, b, c uint32, x, y float32) (uint32, float32){%s} {
		for _, in := range [][5]uint32{
			%s} {
			w, z := f(in[0], in[1], in[2], math.Float32frombits(in[3]), math.Float32frombits(in[4]))
			fmt.Fprintln(out, w, math.Float32bits(z))
		}
	}
}
`, calls.String(), inputs.String())
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(src.String()), 0o644))
	var stderr bytes.Buffer
	cmd := exec.Command("go", "run", file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())

	lib := testLang(t)
	lib.Path = "github.com/fusestep/fusestep/kernels/rule"
	parsed, err := Parse("main.go", src.String(), lib)
	require.NoError(t, err)
	compiled := bytes.NewReader(out)
	seen := map[ir.Op]bool{}
	for i := range functions {
		fn, err := parsed.FormatFunction(fmt.Sprint("f", i))
		require.NoError(t, err)
		f, err := fn.Lower(32, 0)
		require.NoError(t, err)
		wellFormed(t, f)
		for _, n := range f.Nodes {
			seen[n.Op] = true
		}
		e, vars := ir.NewEvaluator[float32](f), make([]float32, 7)
		for _, in := range in {
			copy(e.Words, in[:3])
			vars[3], vars[4] = math.Float32frombits(in[3]), math.Float32frombits(in[4])
			e.Run(vars)
			var word, number uint32
			_, err := fmt.Fscan(compiled, &word, &number)
			require.NoError(t, err)
			z := math.Float32frombits(number)
			if e.Words[5] != word || math.Float32bits(vars[6]) != number && (z == z || vars[6] == vars[6]) {
				t.Fatalf("f%d of %#x: the graph gives %#x, %v, the compiled function %#x, %v\n%s", i, in, e.Words[5], vars[6], word, z, src.String())
			}
		}
	}
	for op := ir.FromBits; op <= ir.WEq; op++ {
		require.True(t, seen[op], "no function has %s", op)
	}
}
