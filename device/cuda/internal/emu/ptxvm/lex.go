package ptxvm

import "strings"

// token is one word, number, string or punctuation mark of the text; the last one has kind tokEOF.
type token struct {
	kind tokenKind
	text string
	line int
}

type tokenKind uint8

const (
	tokEOF    tokenKind = iota
	tokWord             // an identifier, directive or whole dotted mnemonic
	tokNumber           // as written, without sign
	tokString           // without its quotes
	tokPunct            // one character
)

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$' || c == '%'
}

// lex splits the text into tokens. A mnemonic with its modifiers, such as ld.global.L1::no_allocate.v4.f32, is one word.
func lex(text string, diag *diagnostics) []token {
	var toks []token
	line := 1
	for i := 0; i < len(text); {
		c := text[i]
		start := i
		kind := tokPunct
		switch {
		case c == '\n':
			line++
			i++
			continue
		case c == ' ' || c == '\t' || c == '\r':
			i++
			continue
		case strings.HasPrefix(text[i:], "//"):
			i = endOfLine(text, i)
			continue
		case strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				diag.errorf(line, "comment is not closed")
				end = len(text) - i - 4
			}
			line += strings.Count(text[i:i+end+4], "\n")
			i += end + 4
			continue
		case c == '"':
			end := strings.IndexAny(text[i+1:], "\"\n")
			if end < 0 || text[i+1+end] != '"' {
				diag.errorf(line, "string is not closed")
				i = endOfLine(text, i)
				continue
			}
			toks = append(toks, token{tokString, text[i+1 : i+1+end], line})
			i += end + 2
			continue
		case isDigit(c):
			kind, i = tokNumber, endOfNumber(text, i)
		case isLetter(c), c == '.' && i+1 < len(text) && isLetter(text[i+1]):
			kind, i = tokWord, endOfWord(text, i)
		case c < ' ' || c > '~':
			diag.errorf(line, "unexpected character %q", c)
			i++
			continue
		default:
			i++
		}
		toks = append(toks, token{kind, text[start:i], line})
		// .file and .loc end with their line, not with a semicolon.
		if w := text[start:i]; kind == tokWord && (w == ".loc" || w == ".file") {
			toks = toks[:len(toks)-1]
			i = endOfLine(text, i)
		}
	}
	return append(toks, token{tokEOF, "end of text", line})
}

func endOfLine(text string, i int) int {
	if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(text)
}

func endOfWord(text string, i int) int {
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case isLetter(c), isDigit(c), c == '.':
		case c == ':' && i+2 < len(text) && text[i+1] == ':' && (isLetter(text[i+2]) || isDigit(text[i+2])):
			i++
		default:
			return i
		}
	}
	return i
}

func endOfNumber(text string, i int) int {
	prefix := byte(0)
	if text[i] == '0' && i+1 < len(text) {
		prefix = text[i+1] | 0x20
	}
	decimal := prefix != 'x' && prefix != 'f' && prefix != 'd'
	for i++; i < len(text); i++ {
		c := text[i]
		exponentSign := decimal && (c == '+' || c == '-') && text[i-1]|0x20 == 'e'
		if !isLetter(c) && !isDigit(c) && c != '.' && !exponentSign {
			break
		}
	}
	return i
}
