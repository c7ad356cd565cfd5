package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// generatedLine is how a file says that nobody has written it by hand: see `go help generate`.
var generatedLine = regexp.MustCompile(`^// Code generated .* DO NOT EDIT\.$`)

// WriteGenerated writes the files of a generator, by path. A file that is there must say that it is generated, or have the content
// that it is to get. Otherwise nothing is written at all.
func WriteGenerated(files map[string][]byte) error {
	paths := slices.Sorted(maps.Keys(files))
	for _, path := range paths {
		switch old, err := os.ReadFile(path); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !generated(string(old)) && string(old) != string(files[path]):
			return fmt.Errorf("%s is there and does not say that it is generated: remove or rename it", path)
		}
	}
	for _, path := range paths {
		if err := (&OutputFile{path: path, mode: 0o644}).Write(files[path]); err != nil {
			return err
		}
	}
	return nil
}

// generated says whether the comments that a file begins with have the line of generated files.
func generated(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case generatedLine.MatchString(line):
			return true
		case line != "" && !strings.HasPrefix(line, "//"):
			return false
		}
	}
	return false
}
