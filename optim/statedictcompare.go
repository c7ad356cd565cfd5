package optim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// String has a line for the optimizer, for each group and for each tensor: all but the numbers.
func (d *StateDict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d steps, %d applied, %d skipped", d.Steps, d.AppliedSteps, d.SkippedSteps)
	if text, err := json.Marshal(d.Around); err == nil && d.Around != nil {
		fmt.Fprintf(&b, ", %s", text)
	}
	b.WriteByte('\n')
	for i := range d.Groups {
		g := &d.Groups[i]
		fmt.Fprintf(&b, "group %d: %s", g.Index, g.Algorithm)
		for _, name := range sortedNames(g.Hyperparameters) {
			fmt.Fprintf(&b, " %s=%v", name, g.Hyperparameters[name])
		}
		if s := g.Setting; s != nil && s.Formats != "" {
			fmt.Fprintf(&b, " %s", s.Formats)
		}
		if g.Schedule != nil {
			fmt.Fprintf(&b, ", schedule %s", g.Schedule)
		}
		for _, name := range sortedNames(g.Schedules) {
			fmt.Fprintf(&b, ", of %s %s", name, g.Schedules[name])
		}
		b.WriteByte('\n')
		for k := range g.Tensors {
			t := &g.Tensors[k]
			fmt.Fprintf(&b, "\t%q %v", t.Name, t.Shape)
			for _, name := range sortedNames(t.Counters) {
				fmt.Fprintf(&b, " %s=%v", name, t.Counters[name])
			}
			for _, n := range t.Numbers {
				fmt.Fprintf(&b, ", %s %s", n.Slot, n.DType.Short())
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Differences lists in what two dicts differ, bit for bit: nothing where a training goes on from one as from the other. It fails where numbers
// cannot be read.
func (d *StateDict) Differences(other *StateDict) ([]string, error) {
	var sides [2]any
	for i, of := range []*StateDict{d, other} {
		text, err := json.Marshal(of)
		if err == nil {
			err = json.Unmarshal(text, &sides[i])
		}
		if err != nil {
			return nil, fmt.Errorf("optim: differences: %w", err)
		}
	}
	out := apartAt("", sides[0], sides[1])
	theirs := map[string]*TensorState{}
	for _, t := range other.Tensors() {
		theirs[t.Name] = t
	}
	for g, t := range d.Tensors() {
		u := theirs[t.Name]
		if u == nil {
			continue // which is known by now
		}
		slots, slotsOf := map[string]Numbers{}, map[string]Numbers{}
		for _, n := range t.Numbers {
			slots[n.Slot] = n
		}
		for _, n := range u.Numbers {
			slotsOf[n.Slot] = n
		}
		for _, slot := range union(slots, slotsOf) {
			a, ok := slots[slot]
			b, also := slotsOf[slot]
			at := fmt.Sprintf("group %d, tensor %q, %s: ", g.Index, t.Name, slot)
			switch {
			case ok != also:
				out = append(out, at+"only one has it")
			case a.DType != b.DType || a.Len != b.Len:
				out = append(out, fmt.Sprintf("%s%d elements of %s, and %d of %s", at, a.Len, a.DType, b.Len, b.DType))
			default:
				said, err := a.differ(b)
				if err != nil {
					return nil, fmt.Errorf("optim: differences: %s%w", at, err)
				}
				if said != "" {
					out = append(out, at+said)
				}
			}
		}
	}
	return out, nil
}

// differ says which elements of numbers of one type and length differ, "" if none do.
func (n Numbers) differ(other Numbers) (string, error) {
	size, count, first := n.DType.Size(), 0, ""
	for lo := 0; lo < n.Len; lo += chunk {
		a := make([]byte, min(chunk, n.Len-lo)*size)
		b := make([]byte, len(a))
		if err := n.Read(lo, a); err != nil {
			return "", err
		}
		if err := other.Read(lo, b); err != nil {
			return "", err
		}
		if bytes.Equal(a, b) {
			continue
		}
		for i := 0; i < len(a); i += size {
			if x, y := a[i:i+size], b[i:i+size]; !bytes.Equal(x, y) {
				if count++; first == "" {
					first = fmt.Sprintf("element %d is % x and % x", lo+i/size, x, y)
				}
			}
		}
	}
	if count == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d of %d elements differ: %s", count, n.Len, first), nil
}

// apartAt lists where two values of JSON differ.
func apartAt(path string, a, b any) (out []string) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			for _, name := range union(x, y) {
				out = append(out, apartAt(path+"."+name, x[name], y[name])...)
			}
			return out
		}
	case []any:
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				out = append(out, apartAt(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])...)
			}
			return out
		}
	case float64:
		if y, ok := b.(float64); ok && sameFloat(x, y) {
			return nil
		}
	default:
		if a == b {
			return nil
		}
	}
	say := func(x any) string {
		text, _ := json.Marshal(x) // of what was JSON
		return string(text)
	}
	return []string{fmt.Sprintf("%s is %.200s and %.200s", strings.TrimPrefix(path, "."), say(a), say(b))}
}
