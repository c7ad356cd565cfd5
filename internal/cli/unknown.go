package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// Unknown is the UsageError of a flag's value that is none of the known names of a kind of thing. It names the closest ones, and
// all.
func Unknown(flag, value, kind string, known []string) error {
	hint := ""
	if near := closest(value, known); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return Usagef("%s %s: unknown %s%s (known: %s)", flag, Shown(value), kind, hint, strings.Join(known, ", "))
}

// Shown is a flag's value for an error of one line. A value that cannot be read as it is stands in quotes, a long one is cut.
func Shown(value string) string {
	const most = 80
	tail := ""
	if len(value) > most {
		value, tail = value[:most], "..."
	}
	unreadable := func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '"' || r == unicode.ReplacementChar
	}
	if value == "" || strings.ContainsFunc(value, unreadable) {
		value = strconv.Quote(value)
	}
	return value + tail
}

// closest are the names that someone may have meant by what they typed: those that the fewest edits lead to, two at most. If
// there are none, it is the names that begin with what was typed. Case does not count. Fewer than three letters are close to
// everything, so they have no closest name.
func closest(typed string, names []string) []string {
	const maxEdits = 2
	typed = strings.ToLower(typed)
	// Nothing much longer than a name can be near one.
	if len(typed) < 3 || len(typed) > 64 {
		return nil
	}

	var near, begun []string
	best := maxEdits
	for _, name := range names {
		if strings.HasPrefix(name, typed) {
			begun = append(begun, name)
		}
		switch d := edits(typed, name); {
		case d < best:
			best, near = d, []string{name}
		case d == best:
			near = append(near, name)
		}
	}
	if len(near) > 0 {
		return near
	}
	return begun
}

// edits is the Levenshtein distance: the least number of bytes to insert, delete or replace that makes b out of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1) // row[j]: from a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
