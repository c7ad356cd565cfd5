package cli

import "strings"

// Manual is the doc comment of a main package's file, whose text is source: the doc comment is the program's manual.
func Manual(source string) string {
	comment, _, _ := strings.Cut(source, "\npackage main\n")
	var b strings.Builder
	for line := range strings.Lines(comment + "\n") {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "//"), " "))
	}
	return b.String()
}
