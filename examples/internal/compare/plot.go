package compare

import (
	"cmp"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

const (
	pictureWidth  = 11 * vg.Inch
	pictureHeight = 6.5 * vg.Inch
	legendWidth   = 2.8 * vg.Inch
	pictureDPI    = 130
)

// draw writes a PNG of the losses by epoch, a line a run. The legend stands beside them, the best run first. Variants of a
// rule have its colour, and dashes of their own.
func (p *Problem) draw(w io.Writer, runs []*Run) error {
	if len(p.drawn(runs[0])) == 0 { // all runs begin alike
		return fmt.Errorf("no picture: the loss begins at %v, where nothing is above the least, %v", runs[0].Loss[0], p.Best)
	}
	runs = slices.SortedFunc(slices.Values(runs), func(a, b *Run) int { return cmp.Compare(rank(a), rank(b)) })
	plot.DefaultFont.Variant = "Sans"
	pl, legend := plot.New(), plot.NewLegend()
	pl.Title.Text = fmt.Sprintf("%s\nbatches of %d of %d", p.Title, p.Batch, p.Rows)
	pl.Title.Padding = vg.Points(8)
	pl.X.Label.Text, pl.Y.Label.Text = "epoch", fmt.Sprintf("loss (%s)", p.Unit)
	if p.Best > 0 {
		pl.Title.Text += fmt.Sprintf("; the least possible loss is %.4f", p.Best)
		pl.Y.Label.Text = fmt.Sprintf("loss less %.4f (%s)", p.Best, p.Unit)
	}
	lo, hi := p.span(runs)
	y, ticks := func(loss float64) float64 { return loss }, linearTicks
	if hi > 4*lo { // logarithms on a linear axis, because plot.LogScale puts the axis's label in the wrong place
		y, ticks = math.Log10, logTicks
		pl.Y.Label.Text += ", log scale"
	}
	pl.Y.Tick.Marker = plot.TickerFunc(ticks)
	legend.Top, legend.Left, legend.ThumbnailWidth, legend.Padding = true, true, vg.Points(36), vg.Points(2)
	legend.TextStyle.Font.Size = min(11, (pictureHeight-vg.Points(60))/(1.4*vg.Length(len(runs)+1)))
	pl.Add(plotter.NewGrid())
	legend.Add("last loss")
	styles := lineStyles(runs)
	for i, r := range runs {
		points := plotter.XYs{}
		for epoch, loss := range p.drawn(r) {
			points = append(points, plotter.XY{X: float64(epoch), Y: y(loss)})
		}
		line := &plotter.Line{XYs: points, LineStyle: styles[i]}
		pl.Add(line)
		if len(points) == 1 { // which no line is seen of
			pl.Add(&plotter.Scatter{XYs: points, GlyphStyle: draw.GlyphStyle{Color: styles[i].Color, Radius: vg.Points(3), Shape: draw.CircleGlyph{}}})
		}
		legend.Add(fmt.Sprintf("%#.4g  %s", last(r), r.name()), line)
	}
	pl.X.Min, pl.X.Max = 0, float64(max(1, len(runs[0].Loss)-1))
	pl.Y.Min, pl.Y.Max = y(lo), y(hi)

	c := vgimg.NewWith(vgimg.UseWH(pictureWidth, pictureHeight), vgimg.UseDPI(pictureDPI))
	all := draw.New(c)
	pl.Draw(draw.Crop(all, vg.Points(8), -legendWidth, vg.Points(8), -vg.Points(8)))
	legend.Draw(draw.Crop(all, pictureWidth-legendWidth+vg.Points(14), 0, 0, -vg.Points(30)))
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// drawn are a run's losses above Best, up to the first that cannot be drawn: one that is not finite, or not above Best.
func (p *Problem) drawn(r *Run) (out []float64) {
	for _, loss := range r.Loss {
		if !(loss > p.Best && loss <= math.MaxFloat32) {
			break
		}
		out = append(out, loss-p.Best)
	}
	return out
}

// span is what the picture must show. A run that runs away does not set its scale. Losses that hardly differ are shown amid a
// millionth of their size: no axis can label less.
func (p *Problem) span(runs []*Run) (lo, hi float64) {
	lo = math.Inf(1)
	for _, r := range runs {
		losses := p.drawn(r)
		lo, hi = min(lo, slices.Min(losses)), max(hi, losses[0])
	}
	if least := 1e-6 * hi; hi-lo < least {
		middle := lo/2 + hi/2
		lo, hi = middle-least/2, middle+least/2
	}
	return lo, hi
}

func last(r *Run) float64 { return r.Loss[len(r.Loss)-1] }

// rank is the last loss, infinite where there is none.
func rank(r *Run) float64 {
	if math.IsNaN(last(r)) {
		return math.Inf(1)
	}
	return last(r)
}

// dashes tell variants of a rule apart.
var dashes = [][]vg.Length{
	nil, {vg.Points(7), vg.Points(3)}, {vg.Points(2), vg.Points(2)}, {vg.Points(9), vg.Points(2), vg.Points(2), vg.Points(2)},
	{vg.Points(4), vg.Points(1.5)}, {vg.Points(12), vg.Points(4)}, {vg.Points(1), vg.Points(3)},
	{vg.Points(9), vg.Points(2), vg.Points(2), vg.Points(2), vg.Points(2), vg.Points(2)},
}

// lineStyles gives each rule a hue, as far from the others as can be, and each of its variants dashes. Where all are of one rule and of several
// precisions, each of these has a hue, and dashes too, as some lines lie on each other.
func lineStyles(runs []*Run) (out []draw.LineStyle) {
	of, dash := func(r *Run) string { return r.Rule }, 0
	if !slices.ContainsFunc(runs, func(r *Run) bool { return r.Rule != runs[0].Rule }) {
		of = func(r *Run) string { return r.Precision.Name }
		dash = 1
	}
	var kinds []string
	variants := map[string]int{}
	for _, r := range runs {
		if !slices.Contains(kinds, of(r)) {
			kinds = append(kinds, of(r))
		}
	}
	slices.Sort(kinds) // so that a kind's colour does not depend on how it fares
	for _, r := range runs {
		k := slices.Index(kinds, of(r))
		out = append(out, draw.LineStyle{Color: hue(k, len(kinds)), Width: vg.Points(1.6), Dashes: dashes[(variants[of(r)]+dash*k)%len(dashes)]})
		variants[of(r)]++
	}
	return out
}

// hue is the kth of n colours around the circle, in turn dark, bright and dull.
func hue(k, n int) color.Color {
	c := palette.HSVA{H: float64(k) / float64(n), S: 1, V: 0.85, A: 1}
	switch k % 3 {
	case 1:
		c.V = 0.55
	case 2:
		c.S, c.V = 0.55, 0.8
	}
	return c
}
