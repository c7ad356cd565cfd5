// Command pictures draws docs/lion.svg: the rule of Lion as its Go source, the graph that fusestep makes of it, and the PTX that it
// makes of the graph. All three are read from the code, so the picture cannot tell anything else than the code does.
//
//	go run ./docs/pictures docs/lion.svg
package main

import (
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rules"
)

//go:generate go run . ../lion.svg

func main() { cli.Main("pictures", run) }

func run(args []string, stdout io.Writer) error {
	fs := cli.Flags("pictures")
	if err := cli.ParseFlags(fs, args, func() { fmt.Fprintln(stdout, "usage: pictures lion.svg") }); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return cli.Usagef("need lion.svg")
	}
	file, err := cli.NewOutputFile("pictures", fs.Arg(0), []string{".svg"}, nil)
	if err != nil {
		return err
	}
	svg, err := lion()
	if err != nil {
		return err
	}
	return file.Write([]byte(svg))
}

// The picture's measures, in pixels.
const (
	width   = 1180
	margin  = 24
	left    = 640 // of the graph's panel
	line    = 17  // height of a line of text
	title   = 44  // height of a panel's title
	between = 26  // panels
)

// lion draws the three panels.
func lion() (string, error) {
	p, err := kernels.New(kernels.Spec{Rule: rules.LionRule().Rule, Compute: device.Float32})
	if err != nil {
		return "", err
	}
	f, m := p.Passes[0].Graph, ptx.New(p)
	rule, err := function(p.Rule.Source(), "func Lion[")
	if err != nil {
		return "", err
	}
	text, err := lane(m.Text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	y := panel(&b, margin, 0, "1  The rule, in Go: all that is ever written", rule)
	y = panel(&b, margin, y+between, "3  PTX of one element, made from the graph at run time", text)
	draw(&b, layers(f), left, title, y)
	height := y + margin
	heading(&b, left, 0, "2  Its graph: each operation rounds once, in this order")
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="12">
<style>.page{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.box{fill:#f6f8fa;stroke:#d1d9e0}.node{fill:#ddf4ff;stroke:#54aeff}.load{fill:#fff8c5;stroke:#d4a72c}.store{fill:#dafbe1;stroke:#4ac26b}.edge{stroke:#818b98;fill:none}</style>
<rect class="page" width="%d" height="%d" rx="8"/>
%s</svg>
`, width, height, width, height, width, height, b.String()), nil
}

// function is the source's function that starts so.
func function(source, start string) ([]string, error) {
	_, rest, ok := strings.Cut(source, "\n"+start)
	body, _, end := strings.Cut(rest, "\n}\n")
	if !ok || !end {
		return nil, fmt.Errorf("there is no %q", start)
	}
	return strings.Split(strings.ReplaceAll(start+body+"\n}", "\t", "    "), "\n"), nil
}

// lane is what a kernel does to the first of the elements in a vector: the instructions on registers that end in _0.
func lane(text string) ([]string, error) {
	_, rest, ok := strings.Cut(text, "NEXT_ELEMENT:\n")
	body, _, end := strings.Cut(rest, "bra NEXT_ELEMENT")
	if !ok || !end {
		return nil, fmt.Errorf("the PTX has no loop over single elements")
	}
	var out []string
	for l := range strings.Lines(body) {
		op := strings.TrimSpace(l)
		// Addresses and the loop's count are not the rule's.
		if strings.Contains(op, "f32") {
			out = append(out, op)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the PTX' loop over single elements has no arithmetic")
	}
	return out, nil
}

func heading(b *strings.Builder, x, y int, what string) {
	fmt.Fprintf(b, `<text class="ink" x="%d" y="%d" font-family="system-ui,'DejaVu Sans',sans-serif" font-size="15" font-weight="600">%s</text>`+"\n", x, y+30, html.EscapeString(what))
}

// panel writes lines under a title, and returns where it ends.
func panel(b *strings.Builder, x, y int, what string, lines []string) int {
	heading(b, x, y, what)
	y += title
	h := len(lines)*line + 16
	fmt.Fprintf(b, `<rect class="box" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n", x, y, left-2*margin-x, h)
	for i, l := range lines {
		fmt.Fprintf(b, `<text class="ink" xml:space="preserve" x="%d" y="%d">%s</text>`+"\n", x+12, y+8+line*i+13, html.EscapeString(l))
	}
	return y + h
}
