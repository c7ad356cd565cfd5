// Package manual makes a command's documentation of its source, so that the doc comment is the manual.
package manual

import "strings"

// Of is the doc comment of a main package's file, whose text is source.
func Of(source string) string {
	comment, _, _ := strings.Cut(source, "\npackage main\n")
	var b strings.Builder
	for line := range strings.Lines(comment + "\n") {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "//"), " "))
	}
	return b.String()
}
