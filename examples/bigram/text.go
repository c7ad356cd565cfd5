package main

import (
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed data/opticks.txt
var opticks string

// mostCharacters bounds the memory: a model of so many different characters has 16,777,216 parameters, and training it takes about 1.5 GB.
const mostCharacters = 4096

// text is characters, as indices of its alphabet. A model learns from the first nine tenths.
type text struct {
	alphabet []rune
	chars    []int
	train    int // how many characters are learned from
}

// load reads a file, or, without a name, the text that comes with the program.
func load(name string) (*text, error) {
	s := opticks
	if name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s = strings.TrimPrefix(string(b), "\ufeff") // a byte-order mark, which says what the encoding is
	}
	const least = 100
	switch {
	case !utf8.ValidString(s):
		return nil, fmt.Errorf("%s is not UTF-8", name)
	case utf8.RuneCountInString(s) < least:
		return nil, fmt.Errorf("%s has fewer than %d characters", name, least)
	}
	runes := []rune(s)
	alphabet := slices.Compact(slices.Sorted(slices.Values(runes)))
	if len(alphabet) > mostCharacters {
		return nil, fmt.Errorf("%s has %d different characters: the table of all pairs is for at most %d", name, len(alphabet), mostCharacters)
	}
	t := &text{alphabet: alphabet, train: len(runes) * 9 / 10}
	for _, r := range runes {
		i, _ := slices.BinarySearch(t.alphabet, r)
		t.chars = append(t.chars, i)
	}
	return t, nil
}

// rows are the characters to learn from that another one comes before.
func (t *text) rows() int { return t.train - 1 }

// pairs counts, for each two characters a and b, how often b comes after a, in the rows of a batch, of which row i is the
// characters i and i+1. The count of a and b is at a*len(alphabet) + b.
func (t *text) pairs(rows []int, counts []int) {
	clear(counts)
	for _, i := range rows {
		counts[t.chars[i]*len(t.alphabet)+t.chars[i+1]]++
	}
}
