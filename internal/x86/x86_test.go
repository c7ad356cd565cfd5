package x86

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var write = flag.Bool("write", false, "write testdata/encodings.txt")

const table = "testdata/encodings.txt"

// variants is how many instructions of each operation and size are tried.
const variants = 1000

// source makes operands. PCG's numbers are specified, so the table's are the same everywhere.
type source struct{ rng *rand.PCG }

func (s source) n(n int) int          { return int(s.rng.Uint64() % uint64(n)) }
func (s source) pick(from ...int) int { return from[s.n(len(from))] }
func (s source) reg(size int) (n int) { return s.n(map[bool]int{true: 32, false: 16}[size == 64]) }
func (s source) displacement() (n int) {
	return s.near(s.pick(0, 0, 1, 64, 127, 128, 4064, 8128, 8192))
}

// near is a displacement near the borders of a byte, of a byte that counts vectors, or anything.
func (s source) near(n int) int {
	switch s.n(8) {
	case 0:
		return int(int32(s.rng.Uint64()))
	case 1:
		return n + s.n(9) - 4
	case 2:
		return -n - s.n(2)*s.pick(4, 8, 32, 64)
	}
	return n
}

func (s source) mem() Arg {
	base := R(s.n(16))
	if s.n(3) == 0 {
		return Mem(base, s.displacement())
	}
	index := R(s.n(16))
	if index == SP {
		index = AX
	}
	return At(base, index, s.pick(1, 2, 4, 8), s.displacement())
}

// vectorOrMem is the operand that may be either.
func (s source) vectorOrMem(size int, coding coding) Arg {
	switch {
	case s.n(2) == 0:
		return V(s.reg(size))
	case coding&broad != 0 && size == 64 && s.n(3) == 0:
		return s.mem().Each()
	}
	return s.mem()
}

// ins is an instruction of the operation with any operands.
func (s source) ins(op Op, size int) Ins {
	f := &specs[op]
	i := Ins{Op: op, Size: size}
	dst, src, any := V(s.reg(size)), V(s.reg(size)), s.vectorOrMem(size, f.coding)
	if f.coding&kvex != 0 {
		i.Size = 0
		dst, src, any = K(s.n(8)), K(s.n(8)), K(s.n(8))
		switch op {
		case KLOADW, KSTOREW:
			any = s.mem()
		case KMOVW:
			any = R(s.n(16))
		}
	}
	if f.coding&(vex|short|evex|kvex) == 0 {
		i.Size = 0
		dst, any = R(s.n(16)), R(s.n(16))
		if op == LOAD || f.form == m && op != NEG || (op == MOV || op == ADD) && s.n(2) == 0 {
			any = s.mem()
		}
	}
	if f.coding&evex != 0 && op != VMOVNTPS && size == 64 && s.n(2) == 0 || op == VBLENDMPS || op == VBLENDMPD {
		i.Mask = 1 + s.n(7)
		i.Zero = s.n(2) == 0
	}
	switch op {
	case VCMPPS, VCMPPD, VFPCLASSPS, VFPCLASSPD, VPCMPUD, VPCMPUQ:
		if size == 64 {
			dst, i.Zero = K(s.n(8)), false
		}
	case VMASKMOVPS, VMASKMOVPD, VSTOREUPS, VSTOREUPD, VMOVNTPS, VSTORED, VSTOREQ, VPINSRB, VPINSRW, VPINSRD, VPEXTRB, VPEXTRW, VPEXTRD, MOVI:
		any = s.mem()
	case VMOVD, VPBROADCASTD, VPBROADCASTQ:
		any = R(s.n(16))
	}
	switch f.form {
	case rvm:
		i.Args = [4]Arg{dst, src, any}
	case rm:
		i.Args = [4]Arg{dst, any}
	case vm:
		i.Args = [4]Arg{dst, src}
	case mr:
		if f.coding&evex != 0 && any.IsMem() {
			i.Zero = false
		}
		i.Args = [4]Arg{any, dst}
	case mvr:
		i.Args = [4]Arg{s.mem(), src, dst}
	case rvmr:
		i.Args = [4]Arg{dst, src, any, V(s.n(16))}
	case m:
		i.Args = [4]Arg{any}
	case mi:
		i.Args = [4]Arg{dst, Imm(s.n(256) - 128)}
	case mi4:
		i.Args = [4]Arg{any, Imm(int(int32(s.rng.Uint64())))}
	case oi:
		i.Args = [4]Arg{dst, Imm(int(int32(s.rng.Uint64())))}
	}
	if f.imm {
		i.Args[f.form.operands()] = Imm(s.n(32))
	}
	return i
}

// group is the instructions of an operation and size.
type group struct {
	name string
	list []Ins
}

func groups() (out []group) {
	for op := VADDPS; op < opCount; op++ {
		f := &specs[op]
		var sizes []int
		for size, coding := range map[int]coding{16: short, 32: vex, 64: evex} {
			if f.coding&coding != 0 {
				sizes = append(sizes, size)
			}
		}
		slices.Sort(sizes)
		switch {
		case f.form == branch:
			continue
		case sizes == nil:
			sizes = []int{0}
		}
		for _, size := range sizes {
			s := source{rand.NewPCG(uint64(op), uint64(size))}
			g := group{name: fmt.Sprintf("%s.%d.%d", f.name, f.form, size)}
			n := variants
			if f.form == plain {
				n = 1
			}
			for range n {
				g.list = append(g.list, s.ins(op, size))
			}
			out = append(out, g)
		}
	}
	return out
}

// TestTable holds the encodings to the committed table, which an assembler has confirmed: a digest of each operation's, and some to
// read.
func TestTable(t *testing.T) {
	var b strings.Builder
	for _, g := range groups() {
		h := sha256.New()
		var samples strings.Builder
		for k := range g.list {
			code, err := encode(nil, &g.list[k])
			require.NoError(t, err)
			line := fmt.Sprintf("%x  %s\n", code, &g.list[k])
			h.Write([]byte(line))
			if k < 4 {
				samples.WriteString("  " + line)
			}
		}
		fmt.Fprintf(&b, "%s %d %x\n%s", g.name, len(g.list), h.Sum(nil)[:12], samples.String())
	}
	if *write {
		require.NoError(t, os.MkdirAll(filepath.Dir(table), 0o777))
		require.NoError(t, os.WriteFile(table, []byte(b.String()), 0o666))
	}
	want, err := os.ReadFile(table)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "go test ./internal/x86 -write, once TestAssembler has passed with llvm-mc or gas")
}

// encodings is what llvm-mc -show-encoding prints.
var encodings = regexp.MustCompile(`encoding: \[(.*?)\]`)

// TestLLVM holds the encodings to those of llvm-mc.
func TestLLVM(t *testing.T) {
	out := assemble(t, "llvm-mc", "-triple=x86_64", "-x86-asm-syntax=intel", "-output-asm-variant=1", "-mattr=+avx2,+f16c,+fma,+avx512f,+avx512dq", "-show-encoding")
	found := encodings.FindAllSubmatch(out, -1)
	list := all()
	require.Len(t, found, len(list))
	for k := range list {
		want := strings.NewReplacer("0x", "", ",", "").Replace(string(found[k][1]))
		if got := code(t, list[k]); got != want && code(t, swapped(list[k])) != want {
			t.Fatalf("%s is %s, llvm-mc makes it %s", &list[k], got, want)
		}
	}
}

// TestGas holds the encodings to those of binutils' assembler.
func TestGas(t *testing.T) {
	object := filepath.Join(t.TempDir(), "o")
	assemble(t, "as", "--64", "-msyntax=intel", "-mnaked-reg", "-o", object)
	f, err := elf.Open(object)
	require.NoError(t, err)
	defer f.Close()
	text, err := f.Section(".text").Data()
	require.NoError(t, err)
	rest := fmt.Sprintf("%x", text)
	for _, i := range all() {
		got, ok := code(t, i), false
		for _, got := range []string{got, code(t, swapped(i))} {
			if !ok {
				if after, found := strings.CutPrefix(rest, got); found {
					rest, ok = after, true
				}
			}
		}
		require.True(t, ok, "%s is %s, gas makes it %.30s", &i, got, rest)
	}
	require.Empty(t, rest)
}

func all() (list []Ins) {
	for _, g := range groups() {
		list = append(list, g.list...)
	}
	return list
}

func code(t *testing.T, i Ins) string {
	code, err := encode(nil, &i)
	require.NoError(t, err)
	return fmt.Sprintf("%x", code)
}

// assemble runs an assembler on all instructions.
func assemble(t *testing.T, tool string, args ...string) []byte {
	if testing.Short() {
		t.Skip("TestTable has compared the encodings with the table")
	}
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("NOTE: there is no %s here to compare encodings with; TestTable has compared them with the table", tool)
	}
	var in, complaints bytes.Buffer
	for _, i := range all() {
		fmt.Fprintln(&in, &i)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stderr = &in, &complaints
	out, err := cmd.Output()
	require.NoError(t, err, "%.2000s", &complaints)
	return out
}

// swapped is an instruction that does the same with its registers at each other's place: assemblers save a byte so.
func swapped(i Ins) Ins {
	f := &specs[i.Op]
	switch i.Op {
	case VSUBPS, VSUBPD, VDIVPS, VDIVPD, VMAXPS, VMINPS, VANDNPS, VANDNPD, VPSUBD, VPCMPGTQ, VPBLENDW, VPACKUSDW, VPACKUSWB, VSHUFPS:
		return i
	case VMOVUPS, VMOVUPD:
		if i.Args[1].kind == vector {
			i.Op += VSTOREUPS - VMOVUPS
		}
	default:
		if f.form == rvm && f.coding&vex != 0 && i.Args[2].kind == vector {
			i.Args[1], i.Args[2] = i.Args[2], i.Args[1]
		}
	}
	return i
}

// Jumps and padding, whose bytes depend on where they are.
func TestJumps(t *testing.T) {
	var a Asm
	again, end := a.Label(), a.Label()
	a.Emit(JE, end)
	a.Emit(RET)
	a.Emit(ALIGN, Imm(16))
	a.Emit(LABEL, again)
	a.Emit(RET)
	a.Emit(JB, again)
	a.Emit(JG, end)
	a.Emit(JMP, again)
	a.Emit(LABEL, end)
	a.Emit(RET)
	code, err := a.Bytes()
	require.NoError(t, err)
	require.Equal(t, "0f8415000000"+"c3"+"0f1f840000000000"+"90"+
		"c3"+"72fd"+"0f8f02000000"+"ebf5"+"c3", fmt.Sprintf("%x", code))

	for _, length := range []int{124, 127} { // with the jump itself, 126 and 129 bytes back
		a = Asm{}
		back := a.Label()
		a.Emit(LABEL, back)
		for range length {
			a.Emit(RET)
		}
		a.Emit(JG, back)
		code, err = a.Bytes()
		require.NoError(t, err)
		want := "7f82"
		if length == 127 {
			want = "0f8f7bffffff"
		}
		require.Equal(t, want, fmt.Sprintf("%x", code[length:]))
	}
	a = Asm{}
	a.Emit(JMP, a.Label())
	_, err = a.Bytes()
	require.ErrorContains(t, err, "label 0 is nowhere")
}

// What has no encoding is refused.
func TestRefused(t *testing.T) {
	for _, i := range []Ins{
		{Op: VBLENDVPS, Size: 32, Args: [4]Arg{V(16), V(0), V(0), V(0)}},
		{Op: VBLENDVPS, Size: 32, Args: [4]Arg{V(0), V(0), V(0), V(16)}},
		{Op: VMASKMOVPS, Size: 64, Args: [4]Arg{V(0), V(0), Mem(AX, 0)}},
		{Op: VMOVUPS, Size: 64, Args: [4]Arg{V(0), Mem(AX, 0).Each()}},
		{Op: VADDPS, Size: 32, Args: [4]Arg{V(0), V(0), At(AX, SP, 1, 0)}},
		{Op: VADDPS, Size: 16, Args: [4]Arg{V(0), V(0), V(0)}},
		{Op: VMOVUPS, Size: 16, Args: [4]Arg{V(16), V(0)}},
		{Op: VPACKUSDW, Size: 64, Args: [4]Arg{V(0), V(0), V(0)}},
		{Op: VPMOVDW, Size: 64, Args: [4]Arg{Mem(AX, 0).Each(), V(0)}},
		{Op: VPSLLD, Size: 32, Args: [4]Arg{V(0), Mem(AX, 0), Imm(8)}},
		{Op: VADDPS, Size: 64, Args: [4]Arg{V(32), V(0), V(0)}},
		{Op: ADDI, Args: [4]Arg{AX, Imm(128)}},
	} {
		_, err := encode(nil, &i)
		require.Error(t, err, "%s", &i)
	}
}

func TestListing(t *testing.T) {
	var a Asm
	loop := a.Label()
	a.Emit(XOR4, AX, AX)
	a.Emit(LABEL, loop)
	a.Add(Ins{Op: VMULPS, Size: 64, Mask: 1, Zero: true, Args: [4]Arg{V(1), V(31), At(DI, AX, 4, 64)}, Note: "g"})
	a.Emit(JB, loop)
	text, err := a.Listing()
	require.NoError(t, err)
	require.Equal(t, `    0  31c0                    xor eax, eax
L0:
    2  62f104c1594c8701        vmulps zmm1 {k1} {z}, zmm31, zmmword ptr [rdi + 4*rax + 64]	; g
   10  72f6                    jb L0
`, text)
}
