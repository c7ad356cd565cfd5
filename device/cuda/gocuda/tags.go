package main

import (
	"slices"
	"strings"
)

const tag = "cuda"

// withTagInFlags adds the tag to a value of GOFLAGS.
func withTagInFlags(goflags string) string {
	fields := strings.Fields(goflags)
	for i, f := range fields {
		if name, value, found := strings.Cut(f, "="); found && isTags(name) {
			fields[i] = name + "=" + addTag(value)
			return strings.Join(fields, " ")
		}
	}
	return strings.Join(append(fields, "-tags="+tag), " ")
}

// withTag adds the tag to a -tags among the arguments of the go command, which would otherwise hide the one in
// GOFLAGS. Without -tags the arguments stay as they are.
func withTag(args []string) []string {
	args = slices.Clone(args)
	for i := 1; i < len(args); i++ {
		name, value, found := strings.Cut(args[i], "=")
		switch {
		case name == "-args" || name == "--args" || name == "--":
			return args
		case isTags(name) && found:
			args[i] = name + "=" + addTag(value)
		case isTags(name) && i+1 < len(args):
			args[i+1] = addTag(args[i+1])
			i++
		case args[0] == "run" && !strings.HasPrefix(name, "-"):
			return args
		}
	}
	return args
}

func isTags(name string) bool { return name == "-tags" || name == "--tags" }

func addTag(list string) string {
	tags := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if !slices.Contains(tags, tag) {
		tags = append(tags, tag)
	}
	return strings.Join(tags, ",")
}
