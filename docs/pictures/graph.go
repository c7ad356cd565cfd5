package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// node is a node of the drawing: an element's field as it is loaded or stored, or an operation.
type node struct {
	label, class string
	level        int // rows from the top
	args         []*node
	x, y         float64
}

// layers are the graph's nodes that differ from element to element, row by row. Scalars and constants stand in the labels of the
// operations that use them.
func layers(f *ir.Func) (rows [][]*node) {
	varying := f.Varying(rule.ElemBank)
	nodes := map[ir.Value]*node{}
	add := func(n *node) {
		for _, a := range n.args {
			n.level = max(n.level, a.level+1)
		}
		for len(rows) <= n.level {
			rows = append(rows, nil)
		}
		rows[n.level] = append(rows[n.level], n)
	}
	for i := range f.Nodes {
		v := ir.Value(i)
		if !varying[i] {
			continue
		}
		n := &node{label: label(f, varying, v), class: "node"}
		if f.Nodes[i].Op == ir.Var {
			n.class = "load"
		}
		for _, a := range f.Nodes[i].Args() {
			if varying[a] {
				n.args = append(n.args, nodes[a])
			}
		}
		nodes[v] = n
		add(n)
	}
	last := len(rows)
	for _, s := range f.Stores {
		add(&node{label: f.Vars[s.Var].Name, class: "store", level: last, args: []*node{nodes[s.Value]}})
	}
	return rows
}

var signs = map[ir.Op]string{ir.Add: "+", ir.Sub: "−", ir.Mul: "×", ir.Div: "÷", ir.Lt: "<", ir.Le: "≤", ir.Eq: "=", ir.Ne: "≠",
	ir.And: "and", ir.Or: "or", ir.Not: "not", ir.Neg: "−", ir.Abs: "abs", ir.Sqrt: "√"}

// label writes an operation with a dot for each operand that is a node of the drawing.
func label(f *ir.Func, varying []bool, v ir.Value) string {
	n := f.Nodes[v]
	operand := func(a ir.Value) string {
		switch m := f.Nodes[a]; {
		case varying[a]:
			return "·"
		case m.Op == ir.Var:
			return strings.TrimPrefix(f.Vars[m.Index].Name, "s.")
		case m.Op == ir.Const:
			return number(math.Float64frombits(m.Bits))
		}
		return "scalar"
	}
	switch {
	case n.Op == ir.Var:
		return f.Vars[n.Index].Name
	case n.Op == ir.Select:
		return fmt.Sprintf("%s ? %s : %s", operand(n.C), operand(n.A), operand(n.B))
	case n.Op.Arity() == 1:
		return fmt.Sprintf("%s %s", signs[n.Op], operand(n.A))
	}
	return fmt.Sprintf("%s %s %s", operand(n.A), signs[n.Op], operand(n.B))
}

func number(x float64) string {
	if x == 0x1p-126 {
		return "2⁻¹²⁶"
	}
	return strings.Replace(fmt.Sprint(x), "-", "−", 1)
}

const (
	boxHeight = 24
	character = 7.3 // width of one
)

// draw places the rows one below the other from y0 to y1, each node near what it uses.
func draw(b *strings.Builder, rows [][]*node, x0, y0, y1 int) {
	room := float64(width - margin - x0)
	rowHeight := float64(y1-y0-boxHeight) / float64(len(rows)-1)
	for r, row := range rows {
		for i, n := range row {
			n.y = float64(y0+boxHeight/2) + float64(r)*rowHeight
			n.x = room * (float64(i) + 0.5) / float64(len(row))
			for j, a := range n.args {
				if j == 0 {
					n.x = 0
				}
				n.x += a.x / float64(len(n.args))
			}
		}
		spread(row, room)
	}
	at := func(n *node) (float64, float64) { return float64(x0) + n.x, n.y }
	for _, row := range rows {
		for _, n := range row {
			for _, a := range n.args {
				ax, ay := at(a)
				nx, ny := at(n)
				ay, ny = ay+boxHeight/2, ny-boxHeight/2
				fmt.Fprintf(b, `<path class="edge" d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f"/>`+"\n", ax, ay, ax, ay+14, nx, ny-14, nx, ny)
			}
		}
	}
	for _, row := range rows {
		for _, n := range row {
			x, y := at(n)
			w := wide(n)
			fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%d" rx="5"/><text class="ink" text-anchor="middle" x="%.1f" y="%.1f">%s</text>`+"\n",
				n.class, x-w/2, y-boxHeight/2, w, boxHeight, x, y+4, html.EscapeString(n.label))
		}
	}
}

func wide(n *node) float64 { return float64(len([]rune(n.label)))*character + 14 }

// spread moves a row's nodes apart, in the order of their places, and back into the room.
func spread(row []*node, room float64) {
	slices.SortStableFunc(row, func(a, b *node) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		}
		return 0
	})
	const gap = 12
	edge := 0.0
	for _, n := range row {
		n.x = max(n.x, edge+wide(n)/2)
		edge = n.x + wide(n)/2 + gap
	}
	edge = room
	for _, n := range slices.Backward(row) {
		n.x = min(n.x, edge-wide(n)/2)
		edge = n.x - wide(n)/2 - gap
	}
}
