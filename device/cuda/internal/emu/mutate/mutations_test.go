package mutate

import (
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mutation is one line of a text replaced by another.
type mutation struct {
	kernel string
	line   int // from 1
	from   string
	to     string // "" if the instruction is deleted
}

// String tells a mutation apart from all others of its kernel but those of equal instructions.
func (m mutation) String() string {
	to := m.to
	if to == "" {
		to = "deleted"
	}
	return fmt.Sprintf("%s: %s => %s", m.kernel, m.from, to)
}

// apply is the text with the mutation.
func (m mutation) apply(text string) string {
	lines := strings.Split(text, "\n")
	lines[m.line-1] = "\t" + m.to
	return strings.Join(lines, "\n")
}

// kernel is what the mutations of an instruction are drawn from.
type kernel struct {
	name      string
	types     map[string]string   // of registers
	registers map[string][]string // by type
	labels    []string
	params    []string
}

var (
	entryLine    = regexp.MustCompile(`^\.visible \.entry ([\w$]+)\($`)
	paramLine    = regexp.MustCompile(`^\t\.param \.\w+ (\w+),?$`)
	registerLine = regexp.MustCompile(`^\t\.reg \.(\w+) (.*);$`)
	labelLine    = regexp.MustCompile(`^(\w+):$`)
)

// mutations are all that there are of the kernels of a text whose names match.
func mutations(text string, kernels *regexp.Regexp) (all []mutation) {
	lines := strings.Split(text, "\n")
	var k *kernel
	var body []int
	finish := func() {
		if k != nil && kernels.MatchString(k.name) {
			for _, i := range body {
				from := strings.TrimPrefix(lines[i], "\t")
				seen := map[string]bool{from: true}
				for _, to := range k.mutants(from) {
					if !seen[to] {
						seen[to] = true
						all = append(all, mutation{k.name, i + 1, from, to})
					}
				}
			}
		}
	}
	for i, line := range lines {
		if m := entryLine.FindStringSubmatch(line); m != nil {
			finish()
			k, body = &kernel{name: m[1], types: map[string]string{}, registers: map[string][]string{}}, nil
		} else if m := paramLine.FindStringSubmatch(line); m != nil {
			k.params = append(k.params, m[1])
		} else if m := registerLine.FindStringSubmatch(line); m != nil {
			for _, r := range strings.Split(m[2], ", ") {
				k.types[r] = m[1]
				k.registers[m[1]] = append(k.registers[m[1]], r)
			}
		} else if m := labelLine.FindStringSubmatch(line); m != nil {
			k.labels = append(k.labels, m[1])
		} else if code, ok := strings.CutPrefix(line, "\t"); ok && !strings.HasPrefix(code, ".") && !strings.HasPrefix(code, "//") {
			body = append(body, i)
		}
	}
	finish()
	return all
}

// instead are the parts of a mnemonic that are replaced, each by the others of its row. What comes out need not be an
// instruction.
var instead = [][]string{
	{"add", "sub", "mul", "div"}, {"and", "or", "xor"}, {"min", "max"}, {"sqrt", "abs", "neg", "not"}, {"shl", "shr"},
	{"lt", "le", "eq", "ne", "neu", "ge"}, {"rn", "rz"}, {"down", "up"}, {"lo", "hi"}, {"f16", "bf16"},
}

var (
	word        = regexp.MustCompile(`[%@!]?[A-Za-z_][A-Za-z0-9_.$]*|0[fd][0-9A-F]+|0x[0-9a-f]+|[0-9]+`)
	braces      = regexp.MustCompile(`\{[^}]*\}`)
	address     = regexp.MustCompile(`\[(%[\w$]+)(?:\+(\d+))?\]`)
	commutative = regexp.MustCompile(`^(add|mul|mad|and|or|xor|min|setp.(eq|neu?))\.`)
	specialXY   = []string{"%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x", "%tid.y"}
)

// mutants are what one instruction is replaced by.
func (k *kernel) mutants(from string) (to []string) {
	if from != "ret;" {
		to = append(to, "") // without it, the text may end without a return: another way to say bra END
	}
	code, guard := from, ""
	if strings.HasPrefix(code, "@") {
		guard, code, _ = strings.Cut(code, " ")
		to = append(to, "@!"+guard[1:]+" "+code, code)
		guard += " "
	}
	op, operands, _ := strings.Cut(strings.TrimSuffix(code, ";"), " ")
	emit := func(op, operands string) { to = append(to, strings.TrimSuffix(guard+op+" "+operands, " ")+";") }

	parts := strings.Split(op, ".")
	for i, part := range parts {
		for _, row := range instead {
			if !slices.Contains(row, part) {
				continue
			}
			for _, other := range row {
				changed := slices.Clone(parts)
				changed[i] = other
				emit(strings.Join(changed, "."), operands)
			}
		}
	}
	if op == "sqrt.rn.f32" || op == "sqrt.rn.f64" {
		emit("mov"+strings.TrimPrefix(op, "sqrt.rn"), operands)
	}
	if op == "abs.f32" || op == "abs.f64" {
		emit("neg"+strings.TrimPrefix(op, "abs"), operands)
		emit("mov"+strings.TrimPrefix(op, "abs"), operands)
	}
	if strings.HasPrefix(op, "mad.lo") { // without the addition
		emit("mul"+strings.TrimPrefix(op, "mad"), operands[:strings.LastIndex(operands, ",")])
	}

	// two operands swapped: the arms of a select, the sides of a difference, lanes of a vector
	list := split(operands)
	for i := range len(list) - 1 {
		if commutes := i == 1 && commutative.MatchString(op); i > 0 && !commutes {
			changed := slices.Clone(list)
			changed[i], changed[i+1] = changed[i+1], changed[i]
			emit(op, strings.Join(changed, ", "))
		}
	}
	if at := braces.FindStringIndex(operands); at != nil {
		lanes := strings.Split(operands[at[0]+1:at[1]-1], ", ")
		for i := range len(lanes) - 1 {
			changed := slices.Clone(lanes)
			changed[i], changed[i+1] = changed[i+1], changed[i]
			emit(op, operands[:at[0]]+"{"+strings.Join(changed, ", ")+"}"+operands[at[1]:])
		}
	}

	// the offset of an address, by an element and by a word
	if at := address.FindStringSubmatchIndex(operands); at != nil {
		offset, size := 0, 0
		if at[4] >= 0 {
			offset, _ = strconv.Atoi(operands[at[4]:at[5]])
		}
		for suffix, bytes := range map[string]int{"8": 1, "16": 2, "32": 4, "64": 8} {
			if strings.HasSuffix(op, suffix) {
				size = bytes
			}
		}
		for _, changed := range []int{offset + size, offset - size} {
			if changed >= 0 {
				emit(op, operands[:at[3]]+"+"+strconv.Itoa(changed)+operands[at[1]-1:])
			}
		}
	}

	for _, at := range word.FindAllStringIndex(operands, -1) {
		put := func(s string) { emit(op, operands[:at[0]]+s+operands[at[1]:]) }
		w := operands[at[0]:at[1]]
		offset := at[0] > 0 && operands[at[0]-1] == '+' // has been changed above
		switch {
		case slices.Contains(specialXY, w):
			for _, other := range specialXY {
				put(other)
			}
		case k.types[w] != "":
			for _, other := range k.others(from+strconv.Itoa(at[0]), w) {
				put(other)
			}
		case slices.Contains(k.labels, w):
			for _, other := range k.labels {
				put(other)
			}
		case slices.Contains(k.params, w):
			for _, other := range k.params {
				put(other)
			}
		case strings.HasPrefix(w, "0f") || strings.HasPrefix(w, "0d"):
			x, _ := strconv.ParseUint(w[2:], 16, 64)
			for _, other := range []uint64{x + 1, x - 1, 0} {
				put(fmt.Sprintf("%s%0*X", w[:2], len(w)-2, other&(1<<(4*(len(w)-2))-1)))
			}
		case strings.HasPrefix(w, "0x"):
			x, _ := strconv.ParseUint(w[2:], 16, 64)
			put(fmt.Sprintf("0x%x", x>>1))
		case !offset:
			x, _ := strconv.Atoi(w)
			put(strconv.Itoa(x + 1))
			if x > 0 {
				put(strconv.Itoa(x - 1))
			}
		}
	}
	return to
}

// others is another register of the same type, drawn by the place's hash: every run draws the same.
func (k *kernel) others(place, register string) []string {
	all := k.registers[k.types[register]]
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.name + place))
	at := int(h.Sum32() % uint32(len(all)))
	for i := range all {
		if other := all[(at+i)%len(all)]; other != register {
			return []string{other}
		}
	}
	return nil
}

// split cuts operands at the commas outside braces.
func split(operands string) (list []string) {
	deep, from := 0, 0
	for i, c := range operands {
		switch {
		case c == '{':
			deep++
		case c == '}':
			deep--
		case c == ',' && deep == 0:
			list = append(list, operands[from:i])
			from = i + 2
		}
	}
	return append(list, operands[from:])
}

func TestMutations(t *testing.T) {
	const text = `
.visible .entry k(
	.param .u64 x,
	.param .u64 y
)
{
	.reg .pred %p;
	.reg .b32 %i, %j;
	.reg .f32 %a, %b;
	.reg .b64 %x, %y;

	ld.param.u64 %x, [x];
	ld.global.v2.f32 {%a, %b}, [%x+8];
L:
	@%p bra L;
	add.rn.f32 %a, %a, 0f00000000;
M:
	setp.lt.f32 %p, %a, %b;
	and.b64 %x, %x, 15;
	ld.global.u16 %i, [%x+2];
	mul.hi.u32 %i, %i, %j;
	prmt.b32 %i, %i, %j, 0x5410;
	selp.f32 %a, %a, %b, %p;
	ret;
}
`
	got := map[string][]string{}
	for _, m := range mutations(text, regexp.MustCompile("k")) {
		require.Equal(t, "\t"+m.from, strings.Split(text, "\n")[m.line-1])
		require.Contains(t, m.apply(text), "\t"+m.to+"\n")
		got[m.from] = append(got[m.from], m.to)
	}
	for from, want := range map[string][]string{
		"ld.param.u64 %x, [x];":              {"", "ld.param.u64 %y, [x];", "ld.param.u64 %x, [y];"},
		"ld.global.v2.f32 {%a, %b}, [%x+8];": {"", "ld.global.v2.f32 {%b, %a}, [%x+8];", "ld.global.v2.f32 {%a, %b}, [%x+4];", "ld.global.v2.f32 {%a, %b}, [%x+12];", "ld.global.v2.f32 {%a, %b}, [%y+8];"},
		"@%p bra L;":                         {"", "@!%p bra L;", "bra L;", "@%p bra M;"},
		"add.rn.f32 %a, %a, 0f00000000;":     {"", "sub.rn.f32 %a, %a, 0f00000000;", "add.rn.f32 %a, %b, 0f00000000;", "add.rn.f32 %b, %a, 0f00000000;", "add.rn.f32 %a, %a, 0f00000001;"},
		"setp.lt.f32 %p, %a, %b;":            {"", "setp.le.f32 %p, %a, %b;", "setp.neu.f32 %p, %a, %b;"},
		"and.b64 %x, %x, 15;":                {"", "or.b64 %x, %x, 15;", "and.b64 %x, %x, 14;", "and.b64 %x, %x, 16;"},
		"ld.global.u16 %i, [%x+2];":          {"", "ld.global.u16 %i, [%x+0];", "ld.global.u16 %i, [%x+4];"},
		"mul.hi.u32 %i, %i, %j;":             {"", "mul.lo.u32 %i, %i, %j;", "mul.hi.u32 %i, %j, %j;"},
		"prmt.b32 %i, %i, %j, 0x5410;":       {"", "prmt.b32 %i, %j, %i, 0x5410;", "prmt.b32 %i, %i, %j, 0x2a08;"},
		"selp.f32 %a, %a, %b, %p;":           {"", "selp.f32 %a, %b, %a, %p;"},
	} {
		require.Subset(t, got[from], want)
	}
	require.Len(t, slices.Collect(maps.Keys(got)), 10)
}
