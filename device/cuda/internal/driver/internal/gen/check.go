package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

var (
	typeName   = regexp.MustCompile(`\b(CU\w+|cuuint32_t)\b`)
	structText = regexp.MustCompile(`(?s)typedef struct \{(.*?)\} (\w+);`)
	fieldName  = regexp.MustCompile(`(\w+)(?:\[\d+\])?$`)
)

// nvidiaType names the structures for which NVIDIA's plain name moved on to a later layout. The symbols in our table
// take the layout named here.
var nvidiaType = map[string]string{
	"CUDA_KERNEL_NODE_PARAMS": "CUDA_KERNEL_NODE_PARAMS_v1",
}

// checkC is a C file that compiles without a complaint where the tables agree with the <cuda.h> in use.
//
// With __CUDA_API_VERSION_INTERNAL NVIDIA's header declares every exported symbol by its own name instead of renaming
// the old ones, so that a signature of the table can be held against exactly the symbol that the forwarder looks up.
// The table's parameter lists are read with NVIDIA's types; ours, renamed, are compared with those one by one.
//
// With NAMES defined the file instead compares the table's suffixes with those that NVIDIA's header gives the plain
// names: two symbols of the same signature cannot be told apart otherwise.
func (a *api) checkC() []byte {
	var b bytes.Buffer
	b.WriteString("#ifndef NAMES\n#define __CUDA_API_VERSION_INTERNAL 1\n#endif\n#include <cuda.h>\n")
	b.WriteString("#define SAME(what, x) _Static_assert(x, what)\n#ifdef NAMES\n")
	b.WriteString("#define TEXT(x) #x\n#define EXPANDED(x) TEXT(x)\n")
	for _, e := range a.entries {
		fmt.Fprintf(&b, "SAME(\"symbol of %s\", !__builtin_strcmp(EXPANDED(%s), \"%s%s\"));\n", e.name, e.name, e.name, e.suffix)
	}
	b.WriteString("#else\n")
	for _, c := range a.constants {
		fmt.Fprintf(&b, "SAME(\"value of %s\", %s == %d);\n", c.name, c.name, c.value)
	}

	names := a.typeNames()
	for _, n := range names {
		fmt.Fprintf(&b, "#define %s ours_%s\n", n, n)
	}
	b.WriteString(a.types)
	for _, n := range names {
		fmt.Fprintf(&b, "#undef %s\n", n)
	}
	for ours, theirs := range nvidiaType {
		fmt.Fprintf(&b, "#if CUDA_VERSION >= 12000\n#define %s %s\n#endif\n", ours, theirs)
	}
	for _, n := range names {
		fmt.Fprintf(&b, "SAME(\"size of %s\", sizeof(%s) == sizeof(ours_%s));\n", n, n, n)
	}
	for _, s := range structText.FindAllStringSubmatch(a.types, -1) {
		for _, f := range fields(s[1]) {
			fmt.Fprintf(&b, "SAME(\"offset of %s.%s\", __builtin_offsetof(%s, %s) == __builtin_offsetof(ours_%s, %s)", s[2], f, s[2], f, s[2], f)
			fmt.Fprintf(&b, " && sizeof(((%s *)0)->%s) == sizeof(((ours_%s *)0)->%s));\n", s[2], f, s[2], f)
		}
	}

	for _, e := range a.entries {
		symbol := e.name + e.suffix
		fmt.Fprintf(&b, "SAME(\"signature of %s\", __builtin_types_compatible_p(__typeof__(%s), CUresult(%s)));\n", symbol, symbol, e.decl())
	}
	b.WriteString("#endif\n")
	return b.Bytes()
}

// typeNames are the types that types.txt declares, each once, without the tags of opaque structures.
func (a *api) typeNames() (out []string) {
	seen := map[string]bool{}
	for _, n := range typeName.FindAllString(a.types, -1) {
		if !seen[n] && !strings.HasSuffix(n, "_st") {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// fields are the names in a structure's body: the last word of each declarator.
func fields(body string) (out []string) {
	for decl := range strings.SplitSeq(body, ";") {
		for d := range strings.SplitSeq(decl, ",") {
			if m := fieldName.FindStringSubmatch(strings.TrimSpace(d)); m != nil {
				out = append(out, m[1])
			}
		}
	}
	return out
}
