// Command picture draws the README's bars from what bench/cpu has measured:
//
//	go run ./bench/picture results.json picture.png
//
// On the left is a step of AdamW on many small tensors, where the calls that a step makes decide, on the right one on a single
// large tensor, where memory does. A bar is the median time of a step of one library, at its best setting, which stands beneath
// its name.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"os"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/fusestep/fusestep/bench/internal/results"
	"github.com/fusestep/fusestep/internal/cli"
)

const (
	width, height = 880, 340 // pixels
	dpi           = 96
)

// bars are the contenders of a panel, the topmost first, and what they are called.
var bars = []struct{ contender, name string }{
	{"fusestep", "fusestep"},
	{"deepspeed", "DeepSpeed CPUAdam"},
	{"fused", "PyTorch, fused=True"},
	{"foreach", "PyTorch, foreach=True"},
}

func main() { cli.Main("picture", run) }

func run(args []string, stdout io.Writer) error {
	fs := cli.Flags("picture")
	if err := cli.ParseFlags(fs, args, func() { fmt.Fprintln(stdout, "usage: picture results.json picture.png") }); err != nil {
		return err
	}
	if fs.NArg() != 2 {
		return cli.Usagef("need results.json and picture.png")
	}
	in, out := fs.Arg(0), fs.Arg(1)
	file, err := cli.NewOutputFile("picture", out, []string{".png"}, []string{in})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var r results.File
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	var picture bytes.Buffer
	if err := drawFile(&picture, &r); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	return file.Write(picture.Bytes())
}

func drawFile(w io.Writer, r *results.File) error {
	small, large := find(r, func(g results.Group) bool { return g.Tensors > 1 }), find(r, func(g results.Group) bool { return g.Tensors == 1 })
	if small == nil || large == nil {
		return fmt.Errorf("no AdamW on many tensors, or none on one: run bench/cpu -readme")
	}
	plot.DefaultFont.Variant = "Sans"
	left, err := panel(small, fmt.Sprintf("AdamW on %s tensors of %s elements", thousands(small.Tensors), thousands(small.Elements/small.Tensors)))
	if err != nil {
		return err
	}
	size := thousands(large.Elements)
	if large.Elements%(1<<20) == 0 {
		size = fmt.Sprintf("%d Mi", large.Elements>>20)
	}
	right, err := panel(large, fmt.Sprintf("AdamW on one tensor of %s elements", size))
	if err != nil {
		return err
	}
	c := vgimg.NewWith(vgimg.UseWH(pixels(width), pixels(height)), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.White))
	all := draw.New(c)
	middle := pixels(width) / 2
	left.Draw(draw.Crop(all, pixels(8), -middle-pixels(6), pixels(50), -pixels(10)))
	right.Draw(draw.Crop(all, middle+pixels(6), -pixels(12), pixels(50), -pixels(10)))
	note := left.X.Tick.Label
	note.XAlign, note.Font.Size = draw.XLeft, pixels(11)
	rehearsal := ""
	if r.Rehearsal {
		rehearsal = "A REHEARSAL, THE TIMES MEAN NOTHING. "
	}
	all.FillText(note, vg.Point{X: pixels(12), Y: pixels(30)}, fmt.Sprintf("%sMedians of %d rounds in turns, each at the setting that is best for it here; float32.", rehearsal, rounds(small)))
	all.FillText(note, vg.Point{X: pixels(12), Y: pixels(13)}, fmt.Sprintf("%s; %s; %s", r.Processor, r.Peers, r.Date))
	_, err = vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// find is the last group of AdamW that fits and has peers: the one with the most threads.
func find(r *results.File, fits func(results.Group) bool) (found *results.Group) {
	for i, g := range r.Groups {
		if _, ok := g.Find("fused"); ok && g.Optimizer == "adamw" && fits(g) {
			found = &r.Groups[i]
		}
	}
	return found
}

func rounds(g *results.Group) int {
	c, _ := g.Find("fusestep")
	return len(c.Rounds)
}

// panel is the bars of a group.
func panel(g *results.Group, title string) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.Title.Padding = title, pixels(8)
	p.Title.TextStyle.Font.Size = pixels(15)
	p.X.Label.Text = "time of a step, ms (less is better)"
	p.X.Label.TextStyle.Font.Size, p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size = pixels(12), pixels(11), pixels(12)
	p.X.Min = 0
	var names []string
	most, thick := 0.0, pixels(22)
	values, labels := plotter.XYs{}, []string{}
	for i := len(bars) - 1; i >= 0; i-- { // the axis goes up
		c, ok := g.Find(bars[i].contender)
		if !ok {
			continue
		}
		ms := c.Seconds * 1e3
		most = max(most, ms)
		at := float64(len(names))
		b, err := plotter.NewBarChart(plotter.Values{ms}, thick)
		if err != nil {
			return nil, err
		}
		b.Horizontal, b.XMin, b.LineStyle.Width = true, at, 0
		b.Color = color.RGBA{150, 160, 172, 255}
		if i == 0 {
			b.Color = color.RGBA{0, 120, 190, 255}
		}
		p.Add(b)
		names = append(names, bars[i].name+"\n"+strings.ReplaceAll(c.Setting, "waiting as by default", "default waiting"))
		values, labels = append(values, plotter.XY{X: ms, Y: at}), append(labels, fmt.Sprintf(" %.3g ms", ms))
	}
	figures, err := plotter.NewLabels(plotter.XYLabels{XYs: values, Labels: labels})
	if err != nil {
		return nil, err
	}
	for i := range figures.TextStyle {
		figures.TextStyle[i] = p.Y.Tick.Label // the font is as theirs
		figures.TextStyle[i].XAlign, figures.TextStyle[i].YAlign = text.XLeft, text.YCenter
	}
	p.Add(figures)
	p.NominalY(names...)
	p.X.Max = most * 1.25 // room for the longest bar's figure
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	return p, nil
}

func pixels(n float64) vg.Length { return vg.Length(n) * vg.Inch / dpi }

// thousands is such as 10,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
