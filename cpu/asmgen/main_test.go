package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

const head = `package mine

import "github.com/fusestep/fusestep/kernels/rule"

type Elem[F rule.Float] struct {
	P F ` + "`slot:\"param\"`" + `
	G F ` + "`slot:\"grad\"`" + `
}
type Scalars[F rule.Float] struct{ LR F }
type Options struct{ Twice, Abs bool }
type Hyper struct{ LR float64 }

func Prologue(h *Hyper, _ *struct{}, s *Scalars[float64], _ Options) { s.LR = h.LR }

func Rule[F rule.Float](e *Elem[F], s *Scalars[F], o Options) {
`

const plain = head + `	g := F(s.LR * e.G)
	if o.Twice {
		g += g
	}
	if o.Abs {
		g = rule.Abs(g)
	}
	e.P -= g
}
`

// hungry keeps more values at a time than AVX2 has registers.
func hungry() string {
	var b strings.Builder
	b.WriteString(head)
	const values = 20
	for i := range values {
		b.WriteString("\tx" + string(rune('a'+i)) + " := rule.Sqrt(e.G + " + strings.Repeat("1", i+1) + ")\n")
	}
	for i := range values {
		b.WriteString("\te.P += x" + string(rune('a'+i)) + "\n")
	}
	for i := range values {
		b.WriteString("\te.P += F(x" + string(rune('a'+i)) + " * s.LR)\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func TestUserRule(t *testing.T) {
	for _, tt := range []struct {
		name, source, options string
		loops                 int // in each instruction set
		err                   string
	}{
		{"none, and each option", plain, "", 6, ""},
		{"sets", plain, "none,Twice+Abs", 4, ""},
		{"unknown option", plain, "Thrice", 0, `-options Thrice: Rule has no option "Thrice", only ["Twice" "Abs"]`},
		{"twice", plain, "Abs,Abs", 0, "-options Abs,Abs: Abs is there twice"},
		{"too many registers", hungry(), "none", 0, "ruleF32AVX2 needs more than 16 registers, which is all that AVX2 has"},
		{"I16: one name", strings.NewReplacer("Twice, Abs bool", "Twice, Abs, TwiceA, bs bool").Replace(plain), "Twice+Abs,TwiceA+bs", 0,
			"the loops of Rule[Twice Abs] float32 and Rule[TwiceA bs] float32 would have the same name"},
		{"I16: Greek", strings.NewReplacer("Twice", "Δίς", "Abs bool", "β1 bool", "o.Abs", "o.β1", "LR F", "λ F", "s.LR", "s.λ", "g ", "γ ", "g)", "γ)", " g\n", " γ\n").Replace(plain), "", 6, ""},
		{"no rule", strings.Replace(plain, "F(s.LR * e.G)", "s.LR*e.G + e.P", 1), "", 0, "rule.go:16:7: a product is added without a conversion around it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "rule.go")
			require.NoError(t, os.WriteFile(path, []byte(tt.source), 0o666))
			err := run([]string{"-rule", "Rule", "-prologue", "Prologue", "-options", tt.options, path}, io.Discard)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				files, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.Len(t, files, 1, "nothing is written but what is whole")
				return
			}
			require.NoError(t, err)
			for _, set := range isas {
				text, err := os.ReadFile(assemblyFile(dir, "rule", set))
				require.NoError(t, err)
				require.Equal(t, tt.loops, strings.Count(string(text), "\nTEXT ·rule"))
				table, err := os.ReadFile(filepath.Join(dir, "rule_amd64.go"))
				require.NoError(t, err)
				require.Equal(t, 2*tt.loops, strings.Count(string(table), "\nfunc rule"))
				require.Contains(t, string(table), "package mine\n")
			}
			other, err := os.ReadFile(filepath.Join(dir, "rule_noasm.go"))
			require.NoError(t, err)
			require.Contains(t, string(other), "var RuleLoops cpu.Loops\n")
		})
	}
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "need -rule and one file",
		"-rule R":                        "need -rule and one file",
		"-rule R missing.go":             "missing.go",
		"-builtin":                       "the folder to write to",
		"-builtin -rule R .":             "takes no other flag",
		"-unknown":                       "flag provided but not defined: -unknown",
		"-builtin testdata/is/no/folder": "testdata/is/no/folder",
	} {
		require.ErrorContains(t, run(strings.Fields(args), io.Discard), want, args)
	}
}

// TestOverwritesNothing: what somebody has written, the rule itself among it, is not replaced. D3.
func TestOverwritesNothing(t *testing.T) {
	for _, tt := range []struct{ source, beside string }{
		{"rule_amd64.go", ""},
		{"mine.go", "rule_noasm.go"},
		{"mine.go", "rule_avx2_amd64.s"},
	} {
		dir := t.TempDir()
		source := filepath.Join(dir, tt.source)
		require.NoError(t, os.WriteFile(source, []byte(plain), 0o666))
		if tt.beside != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, tt.beside), []byte("package mine\n"), 0o666))
		}
		before, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.ErrorContains(t, run([]string{"-rule", "Rule", "-prologue", "Prologue", source}, io.Discard), "does not say that it is generated")
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		require.Equal(t, plain, string(text))
		after, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, after, len(before))
	}
}

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"asmgen": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}
