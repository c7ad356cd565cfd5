package ptxvm

import (
	"fmt"
	"strings"
)

// body is a kernel's statements as read, before the names in them are resolved: labels and shared variables may be used
// before the text declares them all.
type body struct {
	*parser
	kernel     *Kernel
	top        *scope
	statements []statement
	sharedEnd  uint64
	registers  int // declared

	// of assemble
	constSlots   map[uint64]int32
	specialSlots map[string]int32
}

// statement is one instruction.
type statement struct {
	line     int
	guard    operand // opNone without
	mnemonic string
	operands []operand
	scope    *scope
}

type operand struct {
	kind    operandKind
	name    string // register or symbol; empty for the address [16]
	second  string // q of p|q
	negated bool   // !p
	num     number
	off     int64 // of an address
	list    []operand
}

type operandKind uint8

const (
	opNone operandKind = iota
	opName
	opNumber
	opVector
	opAddress
)

// String is the operand about as it was written.
func (o operand) String() string {
	switch o.kind {
	case opName:
		return strings.Repeat("!", btoi(o.negated)) + o.name
	case opNumber:
		return "number"
	case opVector:
		return "vector"
	case opAddress:
		return fmt.Sprintf("[%s%+d]", o.name, o.off)
	}
	return "nothing"
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// maxRegisters bounds what a text may declare.
const maxRegisters = 1 << 16

// parse reads statements up to the brace that closes the kernel.
func (b *body) parse() {
	s := b.top
	for {
		t := b.next()
		switch {
		case t.kind == tokEOF:
			b.diag.errorf(t.line, "kernel %s is not closed", b.kernel.name)
			return
		case t.text == "}":
			if s == b.top {
				return
			}
			s = s.outer
		case t.text == "{":
			s = newScope(s)
		case t.text == ";":
		case t.text == ".reg":
			b.parseRegisters(s)
		case t.text == ".shared":
			b.parseShared(s, &b.sharedEnd, false)
		case t.text == ".pragma":
			b.next()
			b.expect(";")
		case t.text == "@" || t.kind == tokWord && t.text[0] != '.' && t.text[0] != '%':
			b.parseStatement(s, t)
		default:
			b.diag.errorf(t.line, "expected an instruction, found %q", t.text)
			b.recover()
		}
	}
}

func (b *body) parseRegisters(s *scope) {
	t := b.next()
	ty, ok := typesByName[strings.TrimPrefix(t.text, ".")]
	if !ok || ty.size == 1 || t.text[0] != '.' {
		b.diag.errorf(t.line, "%s is not a type of registers", t.text)
		b.recover()
		return
	}
	for {
		line := b.peek().line
		name, ok := b.word()
		if !ok {
			b.recover()
			return
		}
		if b.accept("<") {
			n, ok := b.uint(maxRegisters)
			if b.registers += int(n); b.registers > maxRegisters {
				b.diag.errorf(line, "more than %d registers", maxRegisters)
				ok = false
			}
			if !ok || !b.expect(">") {
				b.recover()
				return
			}
			for i := range n {
				b.declare(s, line, fmt.Sprint(name, i), &symbol{kind: symRegister, typ: ty})
			}
		} else {
			b.declare(s, line, name, &symbol{kind: symRegister, typ: ty})
		}
		if !b.accept(",") {
			break
		}
	}
	if !b.expect(";") {
		b.recover()
	}
}

// maxSharedBytes is the most shared memory a block can have on the GPUs we know, static and dynamic together.
const maxSharedBytes = 227 << 10

// parseShared reads a declaration after ".shared". end is where the static variables of the scope end so far.
func (p *parser) parseShared(s *scope, end *uint64, extern bool) {
	line := p.peek().line
	t, align, ok := p.typeAndAlign()
	var name string
	if ok {
		name, ok = p.word()
	}
	size := uint64(t.size)
	kind := symShared
	if ok && p.accept("[") {
		if extern && p.accept("]") {
			kind, size = symDynamic, 0
		} else {
			var n uint64
			n, ok = p.uint(maxSharedBytes)
			size *= n
			ok = ok && p.expect("]")
		}
	}
	if !ok || !p.expect(";") {
		p.recover()
		return
	}
	sym := &symbol{kind: kind, size: size}
	if kind == symShared {
		sym.off = roundUp(*end, align)
		if *end = sym.off + size; *end > maxSharedBytes {
			p.diag.errorf(line, "%s exceeds the %d bytes of shared memory", name, maxSharedBytes)
			*end = 0
		}
	}
	p.declare(s, line, name, sym)
}

// parseStatement reads an instruction or a label, of which t is the first token.
func (b *body) parseStatement(s *scope, t token) {
	st := statement{line: t.line, scope: s}
	if t.text == "@" {
		st.guard = operand{kind: opName, negated: b.accept("!")}
		var ok bool
		if st.guard.name, ok = b.word(); !ok {
			b.recover()
			return
		}
		t = b.next()
		if t.kind != tokWord || t.text[0] == '.' || t.text[0] == '%' {
			b.diag.errorf(t.line, "expected an instruction, found %q", t.text)
			b.recover()
			return
		}
	} else if b.accept(":") {
		b.declare(s, t.line, t.text, &symbol{kind: symLabel, off: uint64(len(b.statements))})
		return
	}
	st.mnemonic = t.text
	for !b.accept(";") {
		if len(st.operands) > 0 && !b.expect(",") {
			b.recover()
			return
		}
		o, ok := b.parseOperand()
		if !ok {
			b.recover()
			return
		}
		st.operands = append(st.operands, o)
	}
	b.statements = append(b.statements, st)
}

func (b *body) parseOperand() (operand, bool) {
	t := b.peek()
	switch {
	case t.kind == tokNumber, t.text == "-":
		return b.parseLiteral()
	case b.accept("!"):
		name, ok := b.word()
		return operand{kind: opName, name: name, negated: true}, ok
	case b.accept("["):
		return b.parseAddress()
	case b.accept("{"):
		v := operand{kind: opVector}
		for {
			if b.peek().text == "{" || b.peek().text == "[" {
				b.diag.errorf(t.line, "malformed vector")
				return v, false
			}
			o, ok := b.parseOperand()
			if !ok {
				return v, false
			}
			v.list = append(v.list, o)
			if b.accept("}") {
				return v, true
			}
			if !b.expect(",") {
				return v, false
			}
		}
	}
	name, ok := b.word()
	o := operand{kind: opName, name: name}
	if ok && b.accept("|") {
		o.second, ok = b.word()
	}
	return o, ok
}

func (b *body) parseLiteral() (operand, bool) {
	negative := b.accept("-")
	t := b.peek()
	n, err := parseNumber(t.text, negative)
	if err != nil || t.kind != tokNumber {
		b.diag.errorf(t.line, "malformed number %s", t.text)
		return operand{}, false
	}
	b.next()
	return operand{kind: opNumber, num: n}, true
}

// parseAddress reads the rest of [name], [name+16], [name+-16] or [16].
func (b *body) parseAddress() (operand, bool) {
	a := operand{kind: opAddress}
	if b.peek().kind == tokWord {
		var ok bool
		if a.name, ok = b.word(); !ok {
			return a, false
		}
	}
	if a.name == "" || b.accept("+") {
		o, ok := b.parseLiteral()
		if !ok {
			return a, false
		}
		if o.num.form != integer {
			b.diag.errorf(b.peek().line, "offset is not an integer")
			return a, false
		}
		a.off = int64(o.num.bits)
	}
	return a, b.expect("]")
}
