package models

import "strings"

// closest returns the names that someone who typed so may have meant: those
// fewest edits away, two at most, or else those that start as typed. Case
// does not count. It returns nothing for less than three letters, which are
// close to everything.
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

// edits is the Levenshtein distance in bytes: how many insertions, deletions
// and replacements make b out of a.
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
