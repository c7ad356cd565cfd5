package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// api is what the three tables say.
type api struct {
	entries   []entry
	constants []constant
	types     string
}

// entry is one function. Its symbol in the library is name+suffix; callers only ever see name.
type entry struct {
	name, suffix string
	params       []param
}

type param struct{ ctype, name string }

type constant struct {
	name  string
	value int
}

func load() (*api, error) {
	var text [3]string
	for i, name := range []string{"entries.txt", "constants.txt", "types.txt"} {
		b, err := tables.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text[i] = string(b)
	}
	a := &api{types: text[2]}
	for n, line := range lines(text[0]) {
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("entries.txt: entry %d: %w", n, err)
		}
		a.entries = append(a.entries, e)
	}
	for n, line := range lines(text[1]) {
		c, err := parseConstants(line)
		if err != nil {
			return nil, fmt.Errorf("constants.txt: line %d: %w", n, err)
		}
		a.constants = append(a.constants, c...)
	}
	return a, nil
}

// lines drops comments and empty lines.
func lines(text string) (out []string) {
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			out = append(out, l)
		}
	}
	return out
}

var (
	entryLine = regexp.MustCompile(`^(cu\w+)(?:=(\w+))? :(.*)$`)
	paramText = regexp.MustCompile(`^(.*?[ *])(\w+)$`)
	unsigned  = regexp.MustCompile(`\bU\b`)
)

func parseEntry(line string) (entry, error) {
	m := entryLine.FindStringSubmatch(line)
	if m == nil {
		return entry{}, fmt.Errorf("%q is not `name[=suffix] : parameters`", line)
	}
	e := entry{name: m[1], suffix: m[2]}
	if strings.TrimSpace(m[3]) == "" {
		return e, nil
	}
	for p := range strings.SplitSeq(m[3], ",") {
		q := paramText.FindStringSubmatch(strings.TrimSpace(p))
		if q == nil {
			return e, fmt.Errorf("%s: %q is not `type name`", e.name, p)
		}
		ctype := strings.TrimSpace(unsigned.ReplaceAllString(q[1], "unsigned int"))
		e.params = append(e.params, param{ctype, q[2]})
	}
	return e, nil
}

func parseConstants(line string) ([]constant, error) {
	var out []constant
	prefix, rest, _ := strings.Cut(line, "=")
	next, single := 0, !strings.HasSuffix(prefix, " ")
	if single { // NAME=value
		v, err := strconv.Atoi(rest)
		return append(out, constant{prefix, v}), err
	}
	for word := range strings.FieldsSeq("=" + rest) {
		if value, ok := strings.CutPrefix(word, "="); ok {
			v, err := strconv.Atoi(value)
			if err != nil {
				return nil, err
			}
			next = v
			continue
		}
		out = append(out, constant{strings.TrimSpace(prefix) + word, next})
		next++
	}
	return out, nil
}

// decl is the parameter list as C declares it.
func (e entry) decl() string {
	if len(e.params) == 0 {
		return "void"
	}
	return e.list(func(p param) string {
		if strings.HasSuffix(p.ctype, "*") {
			return p.ctype + p.name
		}
		return p.ctype + " " + p.name
	})
}

// names is the parameter list as a call passes it on.
func (e entry) names() string { return e.list(func(p param) string { return p.name }) }

// words is the parameter list as 64-bit words for a hook.
func (e entry) words() string {
	return e.list(func(p param) string {
		if p.ctype == "float" {
			return "FS_FLOAT(" + p.name + ")"
		}
		return "FS_WORD(" + p.name + ")"
	})
}

func (e entry) list(f func(param) string) string {
	s := make([]string, len(e.params))
	for i, p := range e.params {
		s[i] = f(p)
	}
	return strings.Join(s, ", ")
}
