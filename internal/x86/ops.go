package x86

// Op is what an instruction does. The operands are in Intel's order, the destination first.
type Op uint8

const (
	LABEL Op = iota // the label is here
	ALIGN           // what follows is at a multiple of an immediate, a power of two

	VADDPS
	VADDPD
	VSUBPS
	VSUBPD
	VMULPS
	VMULPD
	VDIVPS
	VDIVPD
	VSQRTPS
	VSQRTPD
	VANDPS
	VANDPD
	VANDNPS // not the first source, and the second
	VANDNPD
	VORPS
	VORPD
	VXORPS
	VXORPD
	VCMPPS // into a vector, or with AVX-512 into a mask register; the last operand is the predicate
	VCMPPD
	VBLENDVPS // AVX2: the last operand chooses the second source
	VBLENDVPD
	VBLENDMPS // AVX-512: the mask chooses the second source
	VBLENDMPD
	VMOVUPS // from a register or memory
	VMOVUPD
	VSTOREUPS // VMOVUPS to memory
	VSTOREUPD
	VMASKMOVPS // AVX2, from memory: the second operand chooses, the others become 0
	VMASKMOVPD
	VMASKSTOREPS // VMASKMOVPS to memory
	VMASKSTOREPD
	VBROADCASTSS // from memory
	VBROADCASTSD
	VZEROUPPER

	KANDW
	KANDNW // not the first source, and the second
	KORW
	KNOTW
	KLOADW  // KMOVW from memory
	KSTOREW // KMOVW to memory
	KMOVW   // from a general register

	LOAD // MOV from memory, 8 bytes as all that follow except where they say 4
	MOV
	MOV4 // an immediate into the lower 4 bytes; the upper ones become 0
	XOR4
	BTS4 // sets the bit that the second operand names
	ADD
	SUB
	CMP
	ADDI // an immediate of one byte with its sign, as the next three
	SUBI
	CMPI
	ANDI
	NEG
	CMOVG
	PREFETCHT0
	PREFETCHT1
	JMP
	JB // unsigned
	JE
	JG // signed
	RET

	opCount
)

// form says which operand goes where in the encoding: into ModRM's reg and rm, or into VEX's vvvv.
type form uint8

const (
	pseudoLabel form = iota
	pseudoAlign
	rvm  // reg, vvvv, rm
	rm   // reg, rm
	mr   // rm, reg
	rvmr // reg, vvvv, rm, the upper half of an immediate
	mvr  // rm, vvvv, reg
	m    // rm; the opcode's extension is in reg
	mi   // rm, an immediate of one byte; the opcode's extension is in reg
	oi   // a register within the opcode, an immediate of four bytes
	plain
	branch
)

// coding are the encodings that an instruction has.
type coding uint8

const (
	vex   coding = 1 << iota // AVX2's
	evex                     // AVX-512's
	broad                    // evex may take one element of memory for all
	kvex                     // vex for mask registers, of which L is fixed
	long                     // kvex with L
	wide                     // general registers of 8 bytes
)

type spec struct {
	name   string
	form   form
	coding coding
	prefix uint8 // pp: 1 is 66, 2 is F3, 3 is F2
	table  uint8 // 1 is 0F, 2 is 0F 38, 3 is 0F 3A
	op     uint8
	ext    uint8 // the opcode's extension in ModRM's reg
	elem   uint8 // bytes of an element
	single bool  // memory is one element
	imm    bool  // an immediate of one byte is the last operand
}

const both = vex | evex

var specs = [opCount]spec{
	LABEL: {name: "label", form: pseudoLabel},
	ALIGN: {name: "align", form: pseudoAlign},

	VADDPS: {name: "vaddps", form: rvm, coding: both | broad, table: 1, op: 0x58, elem: 4},
	VADDPD: {name: "vaddpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x58, elem: 8},
	VSUBPS: {name: "vsubps", form: rvm, coding: both | broad, table: 1, op: 0x5C, elem: 4},
	VSUBPD: {name: "vsubpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x5C, elem: 8},
	VMULPS: {name: "vmulps", form: rvm, coding: both | broad, table: 1, op: 0x59, elem: 4},
	VMULPD: {name: "vmulpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x59, elem: 8},
	VDIVPS: {name: "vdivps", form: rvm, coding: both | broad, table: 1, op: 0x5E, elem: 4},
	VDIVPD: {name: "vdivpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x5E, elem: 8},

	VSQRTPS: {name: "vsqrtps", form: rm, coding: both | broad, table: 1, op: 0x51, elem: 4},
	VSQRTPD: {name: "vsqrtpd", form: rm, coding: both | broad, prefix: 1, table: 1, op: 0x51, elem: 8},

	VANDPS:  {name: "vandps", form: rvm, coding: both | broad, table: 1, op: 0x54, elem: 4},
	VANDPD:  {name: "vandpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x54, elem: 8},
	VANDNPS: {name: "vandnps", form: rvm, coding: both | broad, table: 1, op: 0x55, elem: 4},
	VANDNPD: {name: "vandnpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x55, elem: 8},
	VORPS:   {name: "vorps", form: rvm, coding: both | broad, table: 1, op: 0x56, elem: 4},
	VORPD:   {name: "vorpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x56, elem: 8},
	VXORPS:  {name: "vxorps", form: rvm, coding: both | broad, table: 1, op: 0x57, elem: 4},
	VXORPD:  {name: "vxorpd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0x57, elem: 8},

	VCMPPS: {name: "vcmpps", form: rvm, coding: both | broad, table: 1, op: 0xC2, elem: 4, imm: true},
	VCMPPD: {name: "vcmppd", form: rvm, coding: both | broad, prefix: 1, table: 1, op: 0xC2, elem: 8, imm: true},

	VBLENDVPS: {name: "vblendvps", form: rvmr, coding: vex, prefix: 1, table: 3, op: 0x4A, elem: 4},
	VBLENDVPD: {name: "vblendvpd", form: rvmr, coding: vex, prefix: 1, table: 3, op: 0x4B, elem: 8},
	VBLENDMPS: {name: "vblendmps", form: rvm, coding: evex | broad, prefix: 1, table: 2, op: 0x65, elem: 4},
	VBLENDMPD: {name: "vblendmpd", form: rvm, coding: evex | broad, prefix: 1, table: 2, op: 0x65, elem: 8},

	VMOVUPS:   {name: "vmovups", form: rm, coding: both, table: 1, op: 0x10, elem: 4},
	VMOVUPD:   {name: "vmovupd", form: rm, coding: both, prefix: 1, table: 1, op: 0x10, elem: 8},
	VSTOREUPS: {name: "vmovups", form: mr, coding: both, table: 1, op: 0x11, elem: 4},
	VSTOREUPD: {name: "vmovupd", form: mr, coding: both, prefix: 1, table: 1, op: 0x11, elem: 8},

	VMASKMOVPS:   {name: "vmaskmovps", form: rvm, coding: vex, prefix: 1, table: 2, op: 0x2C, elem: 4},
	VMASKMOVPD:   {name: "vmaskmovpd", form: rvm, coding: vex, prefix: 1, table: 2, op: 0x2D, elem: 8},
	VMASKSTOREPS: {name: "vmaskmovps", form: mvr, coding: vex, prefix: 1, table: 2, op: 0x2E, elem: 4},
	VMASKSTOREPD: {name: "vmaskmovpd", form: mvr, coding: vex, prefix: 1, table: 2, op: 0x2F, elem: 8},

	VBROADCASTSS: {name: "vbroadcastss", form: rm, coding: both, prefix: 1, table: 2, op: 0x18, elem: 4, single: true},
	VBROADCASTSD: {name: "vbroadcastsd", form: rm, coding: both, prefix: 1, table: 2, op: 0x19, elem: 8, single: true},
	VZEROUPPER:   {name: "vzeroupper", form: plain},

	KANDW:   {name: "kandw", form: rvm, coding: kvex | long, table: 1, op: 0x41},
	KANDNW:  {name: "kandnw", form: rvm, coding: kvex | long, table: 1, op: 0x42},
	KORW:    {name: "korw", form: rvm, coding: kvex | long, table: 1, op: 0x45},
	KNOTW:   {name: "knotw", form: rm, coding: kvex, table: 1, op: 0x44},
	KLOADW:  {name: "kmovw", form: rm, coding: kvex, table: 1, op: 0x90, elem: 2, single: true},
	KSTOREW: {name: "kmovw", form: mr, coding: kvex, table: 1, op: 0x91, elem: 2, single: true},
	KMOVW:   {name: "kmovw", form: rm, coding: kvex, table: 1, op: 0x92},

	LOAD:       {name: "mov", form: rm, coding: wide, op: 0x8B},
	MOV:        {name: "mov", form: mr, coding: wide, op: 0x89},
	MOV4:       {name: "mov", form: oi, op: 0xB8},
	XOR4:       {name: "xor", form: mr, op: 0x31},
	BTS4:       {name: "bts", form: mr, table: 1, op: 0xAB},
	ADD:        {name: "add", form: mr, coding: wide, op: 0x01},
	SUB:        {name: "sub", form: mr, coding: wide, op: 0x29},
	CMP:        {name: "cmp", form: mr, coding: wide, op: 0x39},
	ADDI:       {name: "add", form: mi, coding: wide, op: 0x83, ext: 0},
	SUBI:       {name: "sub", form: mi, coding: wide, op: 0x83, ext: 5},
	CMPI:       {name: "cmp", form: mi, coding: wide, op: 0x83, ext: 7},
	ANDI:       {name: "and", form: mi, coding: wide, op: 0x83, ext: 4},
	NEG:        {name: "neg", form: m, coding: wide, op: 0xF7, ext: 3},
	CMOVG:      {name: "cmovg", form: rm, coding: wide, table: 1, op: 0x4F},
	PREFETCHT0: {name: "prefetcht0", form: m, table: 1, op: 0x18, ext: 1, elem: 1, single: true},
	PREFETCHT1: {name: "prefetcht1", form: m, table: 1, op: 0x18, ext: 2, elem: 1, single: true},
	JMP:        {name: "jmp", form: branch, op: 0xEB},
	JB:         {name: "jb", form: branch, op: 0x72},
	JE:         {name: "je", form: branch, op: 0x74},
	JG:         {name: "jg", form: branch, op: 0x7F},
	RET:        {name: "ret", form: plain},
}

// Double is the operation on float64 that corresponds to one on float32.
func (o Op) Double() Op { return o + 1 }

func (o Op) String() string { return specs[o].name }
