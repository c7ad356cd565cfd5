package ptxvm

// scope is a region in braces with the names declared in it.
type scope struct {
	outer   *scope
	symbols map[string]*symbol
}

type symbol struct {
	kind symbolKind
	typ  typ
	off  uint64 // of a parameter or shared variable; index of a label's statement
	size uint64
	line int
	slot int32 // of a register: assigned at its first use, -1 before
	set  bool  // some instruction writes the register
}

type symbolKind uint8

const (
	symRegister symbolKind = iota
	symParam
	symShared
	symDynamic // shared memory whose size the launch tells
	symLabel
)

func newScope(outer *scope) *scope { return &scope{outer, map[string]*symbol{}} }

func (s *scope) find(name string) *symbol {
	for ; s != nil; s = s.outer {
		if sym := s.symbols[name]; sym != nil {
			return sym
		}
	}
	return nil
}

func (p *parser) declare(s *scope, line int, name string, sym *symbol) {
	if s.symbols[name] != nil {
		p.diag.errorf(line, "%s is declared twice", name)
		return
	}
	sym.line, sym.slot = line, -1
	s.symbols[name] = sym
}
