package safetensors

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Scanner reads JSON, a value after the other. It refuses what encoding/json passes over: a key that stands twice in an object, invalid
// UTF-8, half a surrogate pair.
type Scanner struct {
	text  []byte
	at    int
	depth int
}

// maxDepth is how deep objects and arrays may stand in each other.
const maxDepth = 100

// Scan reads a text, which must be one value and white space. value reads that value.
func Scan(text []byte, value func(s *Scanner) error) error {
	s := &Scanner{text: text}
	if err := value(s); err != nil {
		return err
	}
	if s.space(); s.at < len(s.text) {
		return s.errorf("something stands behind the end of the JSON")
	}
	return nil
}

func (s *Scanner) errorf(format string, a ...any) error {
	return fmt.Errorf("byte %d: %s", s.at, fmt.Sprintf(format, a...))
}

func (s *Scanner) space() {
	for s.at < len(s.text) && bytes.IndexByte([]byte(" \t\r\n"), s.text[s.at]) >= 0 {
		s.at++
	}
}

// next takes a byte if it stands next.
func (s *Scanner) next(c byte) bool {
	s.space()
	if s.at == len(s.text) || s.text[s.at] != c {
		return false
	}
	s.at++
	return true
}

func (s *Scanner) expect(c byte, what string) error {
	if s.next(c) {
		return nil
	}
	if s.at == len(s.text) {
		return s.errorf("the text ends, where %s should stand", what)
	}
	return s.errorf("%q stands where %s should", s.text[s.at], what)
}

func (s *Scanner) enter() error {
	if s.depth++; s.depth > maxDepth {
		return s.errorf("more than %d objects and arrays stand in each other", maxDepth)
	}
	return nil
}

// Object reads an object. member reads the value of a key.
func (s *Scanner) Object(member func(key string) error) error {
	if err := s.expect('{', "an object"); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for more := !s.next('}'); more; {
		key, err := s.String()
		if err != nil {
			return err
		}
		if seen[key] {
			return s.errorf("the key %q stands twice", key)
		}
		seen[key] = true
		if err := s.expect(':', "a colon"); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		if more = !s.next('}'); more {
			if err := s.expect(',', "a comma or the object's end"); err != nil {
				return err
			}
		}
	}
	s.depth--
	return nil
}

// Array reads an array. element reads one element.
func (s *Scanner) Array(element func() error) error {
	if err := s.expect('[', "an array"); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	for more := !s.next(']'); more; {
		if err := element(); err != nil {
			return err
		}
		if more = !s.next(']'); more {
			if err := s.expect(',', "a comma or the array's end"); err != nil {
				return err
			}
		}
	}
	s.depth--
	return nil
}

// Integer reads a number that is whole, at least 0 and fits an int64.
func (s *Scanner) Integer() (int64, error) {
	s.space()
	n, err := s.number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(string(n), 10, 63)
	if err != nil {
		s.at -= len(n)
		return 0, s.errorf("%.40s is no whole number from 0 to %d", n, int64(math.MaxInt64))
	}
	return int64(v), nil
}

func (s *Scanner) digits() bool {
	from := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

// number takes a number as JSON spells it.
func (s *Scanner) number() ([]byte, error) {
	from := s.at
	is := func(chars string) bool {
		if s.at < len(s.text) && bytes.IndexByte([]byte(chars), s.text[s.at]) >= 0 {
			s.at++
			return true
		}
		return false
	}
	is("-")
	ok := is("0") || s.digits()
	if ok && is(".") {
		ok = s.digits()
	}
	if ok && is("eE") {
		is("+-")
		ok = s.digits()
	}
	if ok && (s.at == len(s.text) || bytes.IndexByte([]byte(" \t\r\n,]}"), s.text[s.at]) >= 0) {
		return s.text[from:s.at], nil
	}
	s.at = from
	return nil, s.errorf("%.40q is no number", s.text[from:])
}

// Skip reads any value.
func (s *Scanner) Skip() error {
	s.space()
	rest := s.text[s.at:]
	switch {
	case len(rest) == 0:
		return s.errorf("the text ends, where a value should stand")
	case rest[0] == '{':
		return s.Object(func(string) error { return s.Skip() })
	case rest[0] == '[':
		return s.Array(s.Skip)
	case rest[0] == '"':
		_, err := s.String()
		return err
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(rest, []byte(word)) {
			s.at += len(word)
			return nil
		}
	}
	_, err := s.number()
	return err
}

// String reads a string.
func (s *Scanner) String() (string, error) {
	if err := s.expect('"', "a string"); err != nil {
		return "", err
	}
	var out []byte
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return string(out), nil
		case c < ' ':
			return "", s.errorf("a string has the control character %#02x", c)
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		case c < utf8.RuneSelf:
			out = append(out, c)
			s.at++
		default:
			r, size := utf8.DecodeRune(s.text[s.at:])
			if r == utf8.RuneError && size == 1 {
				return "", s.errorf("a string is no UTF-8")
			}
			out = append(out, s.text[s.at:s.at+size]...)
			s.at += size
		}
	}
	return "", s.errorf("the text ends within a string")
}

// escape reads a backslash and what belongs to it.
func (s *Scanner) escape() (rune, error) {
	const short, means = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if s.at+1 < len(s.text) {
		if i := bytes.IndexByte([]byte(short), s.text[s.at+1]); i >= 0 {
			s.at += 2
			return rune(means[i]), nil
		}
	}
	r, ok := s.unicode()
	if ok && utf16.IsSurrogate(r) {
		var low rune
		if low, ok = s.unicode(); ok {
			r = utf16.DecodeRune(r, low)
			ok = r != utf8.RuneError
		}
	}
	if !ok {
		return 0, s.errorf("a string has a backslash before what is no escape")
	}
	return r, nil
}

// unicode reads a backslash, a u and four hexadecimal digits.
func (s *Scanner) unicode() (rune, bool) {
	if s.at+6 > len(s.text) || s.text[s.at] != '\\' || s.text[s.at+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(s.text[s.at+2:s.at+6]), 16, 16)
	if err != nil {
		return 0, false
	}
	s.at += 6
	return rune(v), true
}
