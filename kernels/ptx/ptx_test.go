package ptx

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

var write = flag.Bool("write", false, "write the golden files instead of comparing with them")

// everything is each text that is ever emitted for the rules, by name: in the types that are calculated with, and some in formats of 16 bits.
func everything(t *testing.T) map[string]string {
	if texts != nil {
		return texts
	}
	all := map[string]string{"norm": Norm(kernels.Norm()), "norm_tensors": Norm(kernels.NormOfTensors()), "words": OfGraph("words", words(), 0, 0).Text}
	add := func(s kernels.Spec) {
		p, err := kernels.New(s)
		require.NoError(t, err)
		m := New(p)
		name := strings.TrimSuffix(m.Prologue, "_prologue")
		for all[name] != "" {
			name += "_" // options that differ in case alone
		}
		all[name] = m.Text
	}
	arounds := []rule.Around{0, rule.Penalties | beside | rule.ClipTensorNorm, rule.L1, rule.L2, rule.Penalties, rule.ClipTensorNorm, beside}
	matrices := kerneltest.Matrices(t)
	for _, r := range slices.Concat(optim.Rules(), kerneltest.Staged(t), matrices, []*rule.Rule{kerneltest.Names(t)}) {
		some := arounds
		if slices.Contains(matrices, r) {
			some = arounds[:2]
		}
		for set := range uint64(1) << len(r.Options) {
			for _, around := range some {
				if around&kernels.Refused(r) != 0 {
					continue
				}
				s := kernels.Spec{Rule: r, Options: set, Around: around, Compute: device.Float32}
				add(s)
				s.Compute = device.Float64
				add(s)
				if around == rule.L1 || around == rule.L2 || around == rule.ClipTensorNorm {
					continue
				}
				s.Compute = device.Float32
				for _, format := range []string{"=bf16 ", "=f16 "} {
					s.Formats = strings.Join(r.Slots, format) + format
					add(s)
				}
				s.Formats = rule.Param + "=bf16"
				add(s)
				s.Formats = strings.Join(r.Slots, "=bf16/sr ") + "=bf16/sr"
				add(s)
				for _, master := range []string{"f32", "i16", "i8"} {
					s.Formats = rule.Param + "=bf16+" + master
					add(s)
				}
			}
		}
	}
	texts = all
	return all
}

// beside is what can be done around a rule beside penalties, with the scalars that a group's tensors share.
const beside = rule.ClipValue | rule.EMA | rule.ZeroGrad

// texts is everything, made once.
var texts map[string]string

// The common variants are committed, to be read and to be assembled by NVIDIA's ptxas (make ptxas).
var golden = []string{"sgd_f32", "sgd_f64", "sgd_momentum_f32", "sgd_l2_momentum_nesterov_f32", "sgd_l2_l1_f32", "sgd_cliptensornorm_f32",
	"adam_f32", "adam_f64", "adam_l2_f32", "adam_amsgrad_f32", "adam_l2_l1_amsgrad_f64",
	"lion_f32", "radam_f32", "rprop_f32", "asgd_f32", "norm", "words",
	"lamb_f32", "lamb_f64", "lamb_f32_param_bf16", "adafactor_matrix_f32", "adam_f32_param_bf16", "adam_clipvalue_ema_zerograd_f32", "lion_f32_param_bf16_grad_bf16_exp_avg_bf16", "lion_f32_param_f16_grad_f16_exp_avg_f16",
	"lion_f32_param_bf16_sr_grad_bf16_sr_exp_avg_bf16_sr"}

func TestGolden(t *testing.T) {
	all := everything(t)
	for _, name := range golden {
		file := filepath.Join("testdata", name+".ptx")
		require.NotEmpty(t, all[name], name)
		if *write {
			require.NoError(t, os.WriteFile(file, []byte(all[name]), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, string(want) == all[name], "%s is not what is emitted now: look at the difference, then make generate", file)
	}
	files, err := filepath.Glob("testdata/*.ptx")
	require.NoError(t, err)
	require.Len(t, files, len(golden), "testdata has files that no test knows")
}

// TestRegisters: the table of registers and instructions has the kernels of the committed texts. Their numbers make ptxas checks, which
// has NVIDIA's tools. M4.
func TestRegisters(t *testing.T) {
	all := everything(t)
	var want, got []string
	for _, name := range golden {
		for _, m := range regexp.MustCompile(`(?m)^\.visible \.entry ([\w$]+)\(`).FindAllStringSubmatch(all[name], -1) {
			want = append(want, m[1])
		}
	}
	table, err := os.ReadFile("testdata/registers.txt")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^([\w$]+) +[1-9]\d* +[1-9]\d*$`).FindAllStringSubmatch(string(table), -1) {
		got = append(got, m[1])
	}
	require.ElementsMatch(t, want, got, "make registers, which has NVIDIA's ptxas from PyPI, writes the table")
}

// TestDump writes every text for make ptxas.
func TestDump(t *testing.T) {
	dir := os.Getenv("PTX_DUMP")
	if dir == "" {
		t.Skip("PTX_DUMP names no folder")
	}
	for name, text := range everything(t) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".ptx"), []byte(text), 0o644))
	}
}

// allowed are the instructions that may be emitted, operands aside. Floating-point arithmetic rounds to nearest even, keeps
// subnormals and is not fused; there are no approximations and no atomics. Integers are not divided, as a compiler may make a call of
// it (M4).
var allowed = regexp.MustCompile(`^(` + strings.Join([]string{
	`(add|sub|mul|div)\.rn\.f(32|64)`, `sqrt\.rn\.f(32|64)`, `rcp\.rn\.f64`, `(neg|abs)\.f(32|64)`,
	`setp\.(lt|le|eq|neu)\.f(32|64)`, `setp\.gt(\.and)?\.f64`, `setp\.(eq|ne|ge|lt)\.u(32|64)`, `selp\.(f32|f64|b32|b64)`,
	`(and|or|not)\.pred`, `cvt\.rn\.f32\.f64`, `cvt\.f64\.f32`, `cvt\.u64\.u32`, `cvt\.u32\.u64`,
	`cvt\.f32\.f16`, `cvt\.rn\.f16\.f32`, `cvt\.u16\.u32`, `cvt\.u32\.u16`,
	`(and|or|xor|shl)\.b(32|64)`, `shr\.u(32|64)`, `(add|sub)\.u(32|64)`, `min\.u64`, `mul\.(lo\.u(32|64)|hi\.u(32|64))`, `mad\.lo\.u(32|64)`, `neg\.s64`,
	`prmt\.b32`, `shf\.l\.wrap\.b32`, `mov\.(u32|u64|b32|b64|f32|f64)`, `cvta\.to\.global\.u64`, `ld\.param\.u64`,
	`(ld\.global(\.c[ags])?|st\.global(\.(wb|cg|cs|wt))?)(\.v[24])?\.(u8|u16|u32|u64|b32|f32|f64)`, `shfl\.sync\.(down|idx)\.b32`, `bar\.warp\.sync`, `bra`, `ret`,
}, "|") + `)$`)

var (
	registers   = regexp.MustCompile(`%[a-zA-Z0-9_$]+(\.x)?`)
	declaration = regexp.MustCompile(`^\t\.reg \.\w+ (.*);$`)
	special     = []string{"%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x"}
)

// lint returns what is wrong with a text: an instruction that is not allowed, a register that is not declared, declared
// and not used, or read before anything in the text above has written it.
func lint(text string) (wrong []string) {
	declared, written, used := map[string]bool{}, map[string]bool{}, map[string]bool{}
	finish := func() {
		for r := range declared {
			if !used[r] {
				wrong = append(wrong, r+" is declared and never used")
			}
		}
	}
	for i, line := range strings.Split(text, "\n") {
		complain := func(format string, args ...any) {
			wrong = append(wrong, fmt.Sprintf("line %d: %s: %s", i+1, strings.TrimSpace(line), fmt.Sprintf(format, args...)))
		}
		line, _, _ = strings.Cut(line, "//")
		line = strings.TrimRight(line, " \t")
		if strings.HasPrefix(line, ".visible .entry") {
			finish()
			clear(declared)
			clear(written)
			clear(used)
		}
		if m := declaration.FindStringSubmatch(line); m != nil {
			for _, r := range strings.Split(m[1], ", ") {
				declared[r] = true
			}
			continue
		}
		code, ok := strings.CutPrefix(line, "\t")
		if !ok || strings.HasPrefix(code, ".") {
			continue
		}
		code = strings.TrimSuffix(code, ";")
		if guard, after, ok := strings.Cut(code, " "); ok && strings.HasPrefix(guard, "@") {
			r := strings.TrimLeft(guard, "@!")
			used[r] = true
			if !written[r] {
				complain("%s is read before it is written", r)
			}
			code = after
		}
		op, operands, _ := strings.Cut(code, " ")
		if !allowed.MatchString(op) {
			complain("%s is not an instruction that may be emitted", op)
		}
		// The first operand, or the first group in braces, is written, except by stores and branches.
		dst := operands
		if end := strings.IndexAny(operands, ",]}"); strings.HasPrefix(operands, "{") {
			dst = operands[:strings.Index(operands, "}")]
		} else if end >= 0 {
			dst = operands[:end]
		}
		if strings.HasPrefix(op, "st.") || op == "bra" || op == "ret" || strings.HasPrefix(op, "bar.") {
			dst = ""
		}
		for _, r := range registers.FindAllString(operands[len(dst):], -1) {
			used[r] = true
			if !slices.Contains(special, r) && !declared[r] {
				complain("%s is not declared", r)
			} else if !slices.Contains(special, r) && !written[r] {
				complain("%s is read before it is written", r)
			}
		}
		for _, r := range registers.FindAllString(dst, -1) {
			if !declared[r] {
				complain("%s is not declared", r)
			}
			written[r] = true
		}
	}
	finish()
	return wrong
}

func TestLint(t *testing.T) {
	for name, text := range everything(t) {
		require.Empty(t, lint(text), name)
	}
}

// Hints stand at each access to elements and change nothing else.
func TestHints(t *testing.T) {
	p, err := kernels.New(kernels.Spec{Rule: kerneltest.Names(t), Compute: device.Float32, Formats: "grad=bf16"})
	require.NoError(t, err)
	plain := New(p)
	for _, load := range LoadHints {
		for _, store := range StoreHints {
			m := Hints{load, store}.New(p)
			require.Empty(t, lint(m.Text))
			for line := range strings.Lines(m.Text) {
				for op, hint := range map[string]string{"ld.global": load, "st.global": store} {
					if hint != "" && strings.Contains(line, op) {
						require.Equal(t, strings.Contains(line, "[%address$"), strings.Contains(line, hinted(op, hint)+"."), line)
					}
				}
			}
			m.Text = strings.ReplaceAll(m.Text, hinted("ld.global", load)+".", "ld.global.")
			m.Text = strings.ReplaceAll(m.Text, hinted("st.global", store)+".", "st.global.")
			require.True(t, m.Text == plain.Text, "%s and %s change more than accesses", load, store)
		}
	}
}

// I16, W3: different names stay different, whatever stands before them, and are identifiers of PTX.
func TestNames(t *testing.T) {
	identifier := regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9_$]*|[_$%][a-zA-Z0-9_$]+)$`)
	own := []string{"in", "in_0", "in_1", "at", "address", "v1", "v12", "v1_0", "v1_scale", "v12_yes_0"}
	user := []string{"e.M_x", "e_M.x", "e.M_x_0", "e_M.x_0", "e.M", "e", "M", "x", "e.e", "no.norm", "no_norm", "in.Norm", "in_Norm", "_", "_._", "__",
		"β", "β1", "e.β1", "e_β1", "eβ.1x", "δ", "Δ", "µ", "μ", "数", "e.数", "b", "e.b", "_03b2_", "_03b2", "u03b2", "가", "ac00", "e.ac00",
		"e가", "e.x가", "in_0", "at", "v1", "e.v1", "𝛽", "é", "e\u0301"}
	seen := map[string]string{}
	for _, u := range user {
		require.Regexp(t, identifier, mangle(u)+"_f32")
		for _, o := range own {
			name := named(o, u)
			require.Regexp(t, identifier, name)
			require.Empty(t, seen[name], "%s and %s of %s", seen[name], u, o)
			seen[name] = o + " of " + u
		}
	}
	for name, text := range everything(t) {
		require.Negative(t, strings.IndexFunc(text, func(r rune) bool { return r >= 0x80 }), name)
	}
}

// The linter notices what it is there for.
func TestLintNotices(t *testing.T) {
	text := everything(t)["adam_f32"]
	tests := []struct{ name, from, to, want string }{
		{"fused", "mul.rn.f32", "fma.rn.f32", "fma.rn.f32 is not an instruction"},
		{"flush to zero", "add.rn.f32", "add.rn.ftz.f32", "add.rn.ftz.f32 is not"},
		{"approximate root", "sqrt.rn.f32", "sqrt.approx.f32", "sqrt.approx.f32 is not"},
		{"no rounding mode", "div.rn.f32", "div.f32", "div.f32 is not"},
		{"atomic", "st.global.f32", "red.global.add.f32", "red.global.add.f32 is not"},
		{"max", "sub.rn.f32", "max.f32", "max.f32 is not"},
		{"integer division", "shr.u64 %vectors, %vectors, 2", "div.u64 %vectors, %vectors, 4", "div.u64 is not"}, // M4
		{"undeclared", "mov.u64 %chunk,", "mov.u64 %chank,", "%chank is not declared"},
		{"not written", "mov.u64 %chunk,", "mov.u64 %i,", "%chunk is read before it is written"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.ReplaceAll(text, tt.from, tt.to)
			require.True(t, changed != text, "the text has no %s", tt.from)
			require.Contains(t, strings.Join(lint(changed), "\n"), tt.want)
		})
	}
}
