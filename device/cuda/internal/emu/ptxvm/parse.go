package ptxvm

import "strings"

// Load parses and checks a module. The error is a [LoadError] that lists all that is wrong, as the log of a driver's
// JIT compiler would.
func Load(text string) (*Module, error) {
	p := &parser{module: &Module{kernels: map[string]*Kernel{}}, globals: newScope(nil)}
	p.source = strings.Split(text, "\n")
	p.toks = lex(text, &p.diag)
	p.parseModule()
	if err := p.diag.err(); err != nil {
		return nil, err
	}
	return p.module, nil
}

// parser reads tokens; its methods leave the position after what they read.
type parser struct {
	diag    diagnostics
	toks    []token
	pos     int
	source  []string
	module  *Module
	globals *scope
	shared  uint64 // bytes of module-scope shared variables
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) next() token {
	t := p.toks[p.pos]
	if t.kind != tokEOF {
		p.pos++
	}
	return t
}

func (p *parser) accept(text string) bool {
	if t := p.peek(); t.kind != tokString && t.text == text {
		p.pos++
		return true
	}
	return false
}

// expect reports what was found in place of text.
func (p *parser) expect(text string) bool {
	if p.accept(text) {
		return true
	}
	p.diag.errorf(p.peek().line, "expected %q, found %q", text, p.peek().text)
	return false
}

func (p *parser) word() (string, bool) {
	t := p.peek()
	if t.kind != tokWord || t.text[0] == '.' {
		p.diag.errorf(t.line, "expected a name, found %q", t.text)
		return "", false
	}
	p.pos++
	return t.text, true
}

// uint reads a literal no larger than limit.
func (p *parser) uint(limit uint64) (uint64, bool) {
	t := p.peek()
	if t.kind == tokNumber {
		if n, err := parseNumber(t.text, false); err == nil && n.form == integer && n.bits <= limit {
			p.pos++
			return n.bits, true
		}
	}
	p.diag.errorf(t.line, "expected an integer from 0 to %d, found %q", limit, t.text)
	return 0, false
}

// recover skips the rest of a statement that was reported, but not a brace at the start of a line: it closes a scope,
// where one in the middle closes a vector.
func (p *parser) recover() {
	for p.peek().kind != tokEOF {
		if t := p.peek(); t.text == "}" && p.pos > 0 && p.toks[p.pos-1].line < t.line {
			return
		}
		if p.next().text == ";" {
			return
		}
	}
}

func (p *parser) parseModule() {
	header := map[string]bool{}
	for last := ""; p.peek().kind != tokEOF; {
		t := p.next()
		linkage := last
		last = t.text
		header[t.text] = true
		switch t.text {
		case ".version":
			p.module.Version = p.next().text
		case ".target":
			p.module.Target = p.next().text
			for p.accept(",") {
				p.next()
			}
		case ".address_size":
			if size := p.next(); size.text != "64" {
				p.diag.errorf(size.line, "address size %s is not emulated", size.text)
			}
		case ".visible", ".weak", ".extern":
		case ".entry":
			p.parseEntry()
		case ".shared":
			p.parseShared(p.globals, &p.shared, linkage == ".extern")
		case ".pragma":
			p.next()
			p.expect(";")
		case ".global", ".const", ".func", ".alias", ".tex":
			p.diag.errorf(t.line, "%s is not emulated", t.text)
			p.skipDeclaration()
		default:
			p.diag.errorf(t.line, "expected a directive, found %q", t.text)
			p.skipDeclaration()
		}
	}
	for _, directive := range []string{".version", ".target", ".address_size"} {
		if !header[directive] {
			p.diag.errorf(1, "the module has no %s", directive)
		}
	}
}

// skipDeclaration skips to the end of a module-scope declaration: a semicolon or a body in braces.
func (p *parser) skipDeclaration() {
	depth := 0
	for p.peek().kind != tokEOF {
		switch p.next().text {
		case "{":
			depth++
		case "}":
			if depth--; depth <= 0 {
				return
			}
		case ";":
			if depth == 0 {
				return
			}
		}
	}
}

func (p *parser) parseEntry() {
	line := p.peek().line
	name, ok := p.word()
	if !ok {
		p.skipDeclaration()
		return
	}
	k := &Kernel{name: name, source: p.source}
	b := &body{parser: p, kernel: k}
	b.top = newScope(p.globals)
	ok = true
	if p.accept("(") && !p.accept(")") {
		ok = p.parseParams(k, b.top)
	}
	if !ok || !p.parseLimits(k) || !p.expect("{") {
		p.skipDeclaration()
		return
	}
	b.sharedEnd = p.shared
	b.parse()
	b.assemble()
	if p.module.kernels[name] != nil {
		p.diag.errorf(line, "kernel %s is defined twice", name)
	}
	p.module.kernels[name] = k
	p.module.names = append(p.module.names, name)
}

// maxParamBytes is the parameter space of a kernel.
const maxParamBytes = 4096

func (p *parser) parseParams(k *Kernel, s *scope) bool {
	for {
		line := p.peek().line
		t, align, ok := typ{}, uint64(0), p.expect(".param")
		if ok {
			t, align, ok = p.typeAndAlign()
		}
		var name string
		if ok {
			name, ok = p.word()
		}
		size := uint64(t.size)
		if ok && p.accept("[") {
			var n uint64
			n, ok = p.uint(maxParamBytes)
			size *= n
			ok = ok && p.expect("]")
		}
		if !ok {
			return false
		}
		off := roundUp(k.paramBytes, align)
		k.params = append(k.params, Param{Name: name, Size: size, off: off})
		k.paramBytes = off + size
		if k.paramBytes > maxParamBytes {
			p.diag.errorf(line, "parameters of %s exceed %d bytes", k.name, maxParamBytes)
		}
		p.declare(s, line, name, &symbol{kind: symParam, off: off, size: size})
		if p.accept(")") {
			return true
		}
		if !p.expect(",") {
			return false
		}
	}
}

// typeAndAlign reads ".align 8 .b8" or ".u64" (with .ptr attributes, which only hint).
func (p *parser) typeAndAlign() (typ, uint64, bool) {
	align := uint64(0)
	t := p.next()
	if t.text == ".align" {
		a, ok := p.uint(128)
		if !ok || a == 0 || a&(a-1) != 0 {
			p.diag.errorf(t.line, "alignment %d is not a power of two", a)
			return typ{}, 0, false
		}
		align, t = a, p.next()
	}
	ty, ok := typesByName[strings.TrimPrefix(t.text, ".")]
	if !ok || ty == pred {
		p.diag.errorf(t.line, "expected a type, found %q", t.text)
		return typ{}, 0, false
	}
	if p.accept(".ptr") {
		for p.accept(".global") || p.accept(".shared") {
		}
		if p.accept(".align") {
			p.uint(1 << 20)
		}
	}
	return ty, max(align, uint64(ty.size)), true
}

func (p *parser) parseLimits(k *Kernel) bool {
	for {
		t := p.peek()
		switch t.text {
		case ".maxntid", ".reqntid":
			p.next()
			block := [3]uint32{1, 1, 1}
			for i := range block {
				n, ok := p.uint(maxBlockThreads)
				if !ok {
					return false
				}
				block[i] = uint32(n)
				if !p.accept(",") {
					break
				}
			}
			if t.text == ".reqntid" {
				k.reqBlock = block
			}
			k.maxThreads = uint64(block[0]) * uint64(block[1]) * uint64(block[2])
			if k.maxThreads == 0 || k.maxThreads > maxBlockThreads {
				p.diag.errorf(t.line, "%s %v is not a block of 1 to %d threads", t.text, block, maxBlockThreads)
			}
		case ".minnctapersm", ".maxnreg":
			p.next()
			if _, ok := p.uint(1 << 16); !ok {
				return false
			}
		default:
			return true
		}
	}
}

func roundUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }
