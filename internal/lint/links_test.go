package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var root = filepath.Join("..", "..")

// files are those of this module whose names end so.
func files(t *testing.T, endings ...string) (out []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || path == filepath.Join(root, "bin")) {
			return filepath.SkipDir
		}
		for _, e := range endings {
			if d.Type().IsRegular() && strings.HasSuffix(path, e) {
				out = append(out, path)
				break
			}
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
	inline  = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	defined = regexp.MustCompile(`(?m)^\[[^\]]+\]: *(\S+)`)
	html    = regexp.MustCompile(`(?:href|src|srcset)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *#* *$`)
	marked  = regexp.MustCompile(`(?:id|name)="([^"]+)"`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are the names that a Markdown text's headings can be reached by, as GitHub makes them.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(linked.ReplaceAllString(m[1], "$1")) {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r), r == '-', r == '_':
				b.WriteRune(r)
			case r == ' ':
				b.WriteByte('-')
			}
		}
		name := b.String()
		for i := 1; out[name]; i++ {
			name = b.String() + "-" + string(rune('0'+i))
		}
		out[name] = true
	}
	for _, m := range marked.FindAllStringSubmatch(text, -1) {
		out[m[1]] = true
	}
	return out
}

// links are where a Markdown text's links lead, those to other hosts left out.
func links(text string) (out []string) {
	text = code.ReplaceAllString(fence.ReplaceAllString(text, ""), "``")
	for _, re := range []*regexp.Regexp{inline, defined, html} {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			if to := strings.Trim(m[1], "<>"); !strings.Contains(to, "://") && !strings.HasPrefix(to, "mailto:") {
				out = append(out, to)
			}
		}
	}
	return out
}

// broken says what is wrong with a link in the file of a name, or "".
func broken(name, link string) string {
	path, anchor, hasAnchor := strings.Cut(link, "#")
	to := name
	if path != "" {
		if filepath.IsAbs(path) {
			return "is absolute"
		}
		to = filepath.Join(filepath.Dir(name), path)
		if inside, err := filepath.Rel(root, to); err != nil || strings.HasPrefix(inside, "..") {
			return "leaves the repository"
		}
		if _, err := os.Stat(to); err != nil {
			return "leads to no file"
		}
	}
	if !hasAnchor || !strings.HasSuffix(to, ".md") {
		return ""
	}
	text, err := os.ReadFile(to)
	if err != nil {
		return err.Error()
	}
	if !anchors(string(text))[anchor] {
		return "names no heading there"
	}
	return ""
}

// TestLinks: every link of a document within this repository leads somewhere, to the heading that it names. P5.
func TestLinks(t *testing.T) {
	found := 0
	for _, name := range files(t, ".md") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, link := range links(string(text)) {
			found++
			if why := broken(name, link); why != "" {
				t.Errorf("%s: the link %q %s", name, link, why)
			}
		}
	}
	require.Greater(t, found, 3, "hardly any links are found: is the pattern right?")
}

// named is how a comment names a document, a script or a folder of data: a path that ends in one of these.
var named = regexp.MustCompile(`(?:^|[\s(,;"'])((?:[A-Za-z0-9_.-]+/)*[A-Za-z0-9_-]+\.(?:md|sh|py))(?:$|[\s),.;:"'])`)

// TestNamedFiles: a document or script that a comment names is there: beside the file, or below the repository's root. P5.
func TestNamedFiles(t *testing.T) {
	found := 0
	for _, name := range files(t, ".go") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			_, comment, ok := strings.Cut(line, "//")
			if !ok || strings.HasSuffix(name, "links_test.go") {
				continue
			}
			for _, m := range named.FindAllStringSubmatch(comment, -1) {
				found++
				if !there(name, m[1]) {
					t.Errorf("%s names %s, which is not there: %s", name, m[1], strings.TrimSpace(line))
				}
			}
		}
	}
	require.Greater(t, found, 10, "hardly any names are found: is the pattern right?")
}

// there looks for a file from the folder of the one that names it upwards, up to the root; and where a comment gives no folder,
// below that folder.
func there(from, name string) bool {
	dir := filepath.Dir(from)
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, name)); err == nil {
			return true
		}
		if rel, err := filepath.Rel(root, at); err != nil || rel == "." {
			break
		}
	}
	below, err := filepath.Glob(filepath.Join(dir, "*", name))
	return err == nil && len(below) > 0
}

func TestAnchorsAndLinks(t *testing.T) {
	const text = "# A `b` & C\n\n## A b  c!\n### [Linked](x.md) text\n```\n# no heading\n[no](link.md)\n```\n## A b  c!\n<a id=\"own\"></a>\n" +
		"[one](a.md#x \"title\") `[code](no.md)` ![two](p.png)\n[ref]: b.md\n<img src=\"c.png\"> [out](https://x.org/y.md)\n"
	require.Equal(t, map[string]bool{"a-b--c": true, "a-b--c-1": true, "a-b--c-2": true, "linked-text": true, "own": true}, anchors(text))
	require.Equal(t, []string{"x.md", "a.md#x", "p.png", "b.md", "c.png"}, links(text))
	readme := filepath.Join(root, "README.md")
	require.Equal(t, "leads to no file", broken(readme, "no/such.md"))
	require.Equal(t, "names no heading there", broken(readme, "ARCHITECTURE.md#nothing"))
	require.Equal(t, "", broken(readme, "ARCHITECTURE.md#layers"))
	require.Equal(t, "leaves the repository", broken(readme, "../other"))
	require.Equal(t, "is absolute", broken(readme, "/etc/passwd"))
}
