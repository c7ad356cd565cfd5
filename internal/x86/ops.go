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
	VBROADCASTSS // from memory or a register's first element
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
	PREFETCHW
	JMP
	JB // unsigned
	JE
	JG // signed
	RET

	// Words, of 4 bytes each or alone in the lower half of 8. Pairs of operations are for lanes of 4 and of 8 bytes.
	VPADDD
	VPSUBD
	VPMULLD  // the lower halves of the products
	VPMULUDQ // the products of the words at even places
	VPMAXUD
	VPCMPEQD // AVX2: into a vector
	VPCMPEQQ
	VPCMPGTQ // AVX2: of signed numbers
	VPCMPUD  // AVX-512: into a mask register; the last operand is the predicate
	VPCMPUQ
	VPSLLD // by an immediate, as the next four
	VPSLLQ
	VPSRLD
	VPSRLQ
	VPROLD  // AVX-512
	VSHUFPS // two of the first source, two of the second, in each 16 bytes
	VPSHUFD
	VPERMQ       // in each 32 bytes
	VPACKUSDW    // AVX2: both sources' numbers with their sign, to 2 bytes or the nearest that these hold
	VPACKUSWB    // AVX2: likewise of 2 bytes to 1
	VPBROADCASTD // AVX-512: from a general register
	VPBROADCASTQ
	VMOVD // from a general register

	// Between elements of different sizes: zeros fill the upper bits of a wider one, a narrower one loses them.
	VPMOVZXBD
	VPMOVZXBQ
	VPMOVZXWD
	VPMOVZXWQ
	VPMOVZXDQ
	VPMOVDB // AVX-512, as the next four: to memory or a register
	VPMOVQB
	VPMOVDW
	VPMOVQW
	VPMOVQD
	VCVTPH2PS
	VCVTPS2PH // to memory or a register; the last operand is how to round
	VCVTPS2PD

	VSTORED // VMOVD to memory: the first 4 bytes
	VSTOREQ // VMOVQ to memory: the first 8 bytes
	VMOVNTPS
	VPINSRB // from memory, to the place that the last operand names
	VPINSRW
	VPINSRD
	VPEXTRB // to memory
	VPEXTRW
	VPEXTRD
	MOVI // an immediate of 4 bytes to memory

	SFENCE // what was stored past the caches is seen before what comes later

	VFPCLASSPS // AVX-512, into a mask register: whether it is of one of the classes that the last operand names
	VFPCLASSPD
	VFIXUPIMMPS // AVX-512: by the class of the first source, what the second says; the last operand names exceptions
	VFIXUPIMMPD
	VPTERNLOGD // AVX-512: for each bit of destination, first and second source, as a number, that bit of the last operand
	VPBLENDW   // AVX2: in each 16 bytes, the second source's elements of 2 bytes that the last operand names

	VFMADD231PD  // FMA: the destination, and the product of the sources, rounded once
	VFMADD231PS  // likewise
	VFNMADD231PS // the destination less the product of the sources
	VRSQRT14PS   // AVX-512: about one over the root, with an error of less than 2^-14 of it
	KORTESTW     // JAE is for a bit that is 0 in both sources, JB for none
	JAE
	VMAXPS // the second source where the two are equal or one is NaN, as the next one
	VMINPS

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
	vm   // vvvv, rm; the opcode's extension is in reg
	m    // rm; the opcode's extension is in reg
	mi   // rm, an immediate of one byte; the opcode's extension is in reg
	mi4  // rm, an immediate of four bytes; the opcode's extension is in reg
	oi   // a register within the opcode, an immediate of four bytes
	plain
	branch
)

// coding are the encodings that an instruction has.
type coding uint16

const (
	vex   coding = 1 << iota // AVX2's, of 32 bytes
	short                    // vex of 16 bytes
	w1                       // vex with W
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
	single bool  // rm is one element
	narrow uint8 // how many times smaller rm is than the other vector; 0: it is not
	imm    bool  // an immediate of one byte is the last operand
}

const both = vex | evex

// operands is how many operands an instruction has before an immediate.
func (f form) operands() int {
	if f == rvm {
		return 3
	}
	return 2
}

// rm is which operand is ModRM's rm, of those that may be memory.
func (f form) rm() int {
	switch f {
	case rvm, rvmr:
		return 2
	case rm, vm:
		return 1
	}
	return 0
}

// bytes is how large the operand rm is, in an instruction whose vectors have size bytes.
func (s *spec) bytes(size int) int {
	switch {
	case s.single:
		return int(s.elem)
	case s.narrow != 0:
		return size / int(s.narrow)
	}
	return size
}

// Double is the operation on float64 that corresponds to one on float32.
func (o Op) Double() Op { return o + 1 }

func (o Op) String() string { return specs[o].name }
