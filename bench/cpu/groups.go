package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/models"
	"github.com/fusestep/fusestep/optim"
)

// group is what is compared in one run.
type group struct {
	name      string
	readme    bool // it is part of the README's table
	optimizer string
	lengths   []int
	goals     []goal
	rounds    int // 0: as many as usual
	make      func(p *peers, m *match) error
}

// match is the contenders of a group.
type match struct {
	contenders []contender
	missing    map[string]string
	closers    []func() error
}

func (g group) measure(p *peers, budget time.Duration) (measurement, error) {
	made := match{missing: map[string]string{}}
	err := g.make(p, &made)
	var m measurement
	if err == nil {
		m, err = compare(made.contenders, budget, cmp.Or(g.rounds, rounds))
		m.missing = made.missing
	}
	for _, f := range made.closers {
		err = errors.Join(err, f())
	}
	return m, err
}

// add adds a step of ours under a name, with so many threads.
func (m *match) add(name string, f form, alg optim.Algorithm, lengths []int, threads int, implementation string) (*step, error) {
	s, err := newStep(f, alg, lengths, threads, implementation)
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, s.close)
	m.contenders = append(m.contenders, s.contender(name))
	return s, nil
}

// addBest adds a step of ours under a name with as many threads, up to most, as it runs best with, and returns its ceiling with as many.
func (m *match) addBest(name string, f form, alg optim.Algorithm, lengths []int, most int) (ceiling contender, err error) {
	var places []place
	var made *step // the one that was opened last
	for _, threads := range threadCounts(most) {
		places = append(places, place{"", []int{threads}, func() (func(threads, steps int) (time.Duration, error), func() error, error) {
			s, err := newStep(f, alg, lengths, threads, "")
			if err != nil {
				return nil, nil, err
			}
			made = s
			return func(_, n int) (time.Duration, error) { return s.contender("").run(n) }, s.close, nil
		}})
	}
	c, drop, err := best(name, 0, places)
	if err != nil {
		return ceiling, err
	}
	m.closers = append(m.closers, drop)
	c.bytes = made.bytes
	ceiling = made.ceiling()
	ceiling.setting = c.setting
	m.contenders = append(m.contenders, c)
	return ceiling, nil
}

// addPeer adds a peer's with the threads, up to most, and the waiting with which it runs best, or says why it is missing.
func (m *match) addPeer(p *peers, name, optimizer string, shapes [][]int, most int, bytes float64) {
	places, err := p.places(name, optimizer, shapes, most)
	if err != nil {
		m.missing[name] = err.Error()
		return
	}
	c, drop, err := best(name, bytes, places)
	if err != nil {
		m.missing[name] = err.Error()
		return
	}
	m.closers = append(m.closers, drop)
	m.contenders = append(m.contenders, c)
}

// stepGroup holds one of our steps to its ceiling and to peers: all that the goals name. Each has up to so many threads, and takes
// as many as suit it.
func stepGroup(name, optimizer string, alg optim.Algorithm, lengths []int, threads int, goals ...goal) group {
	return stepGroupIn(float32Form, name, optimizer, alg, lengths, threads, goals...)
}

func stepGroupIn(f form, name, optimizer string, alg optim.Algorithm, lengths []int, threads int, goals ...goal) group {
	what := "1 thread"
	if threads > 1 {
		what = "up to " + plural(threads, "thread")
	}
	return group{name: name + ", " + what, optimizer: optimizer, lengths: lengths, goals: goals, make: func(p *peers, m *match) error {
		ceiling, err := m.addBest("fusestep", f, alg, lengths, threads)
		if err != nil {
			return err
		}
		m.contenders = append(m.contenders, ceiling)
		for i, g := range goals {
			if g.other != "ceiling" && !slices.ContainsFunc(goals[:i], func(o goal) bool { return o.other == g.other }) {
				m.addPeer(p, g.other, optimizer, f.shapes(lengths), threads, m.contenders[0].bytes)
			}
		}
		return nil
	}}
}

// sizes are what the groups that do not fit into caches measure.
type sizes struct{ large, many int }

var (
	whole     = sizes{64 << 20, 10_000}
	rehearsal = sizes{64 << 10, 100} // whose times mean nothing
)

// groups are all. Files are written to folders of their own in dir.
func groups(size sizes, dir string) (out []group) {
	all := runtime.GOMAXPROCS(0)
	l2, l3 := cacheSize(2)/2/16, cacheSize(3)/4/16 // elements of Adam's four slots
	adamw := optim.DefaultAdamW()
	momentum := optim.DefaultSGD()
	momentum.Momentum = 0.9
	dram := []int{size.large}
	large := parameters(size.large)
	threads := slices.Compact([]int{1, all})
	for _, o := range []struct {
		name  string
		alg   optim.Algorithm
		goals []goal
	}{
		{"adamw", adamw, []goal{{other: "deepspeed", least: 1.1}, {other: "fused", least: 1}, {other: "foreach", least: 1}, {other: "for-loop", least: 1}}},
		{"sgd", optim.DefaultSGD(), []goal{{other: "fused", least: 1}}},
		{"sgd-momentum", momentum, []goal{{other: "fused", least: 1}}},
		{"lion", optim.DefaultLion(), nil},
		{"rmsprop", optim.DefaultRMSprop(), nil},
		{"adagrad", optim.DefaultAdagrad(), []goal{{other: "fused", least: 1}}},
	} {
		for _, t := range threads {
			g := stepGroup(o.name+", "+large, o.name, o.alg, dram, t, append([]goal{{other: "ceiling", least: 0.95}}, o.goals...)...)
			g.readme = t == all && o.name != "rmsprop"
			out = append(out, g)
		}
	}
	for _, t := range threads {
		out = append(out, stepGroup(fmt.Sprintf("adamw, %d parameters, in L3", l3), "adamw", adamw, []int{l3}, t,
			goal{other: "ceiling", least: 0.93}, goal{other: "deepspeed", least: 1.05}, goal{other: "fused-kernel", least: 1}))
	}
	name, lengths := fmt.Sprintf("adamw, %d tensors of 1,024", size.many), slices.Repeat([]int{1024}, size.many)
	many := stepGroup(name, "adamw", adamw, lengths, all,
		goal{other: "deepspeed", least: 1.1}, goal{other: "fused", least: 3}, goal{other: "foreach", least: 3}, goal{other: "for-loop", least: 3}, goal{other: "ceiling", what: "against ceiling (no goal)"})
	many.readme = true
	out = append(out,
		stepGroup(fmt.Sprintf("adamw, %d parameters, in L2", l2), "adamw", adamw, []int{l2}, 1,
			goal{other: "ceiling", what: "against ceiling (no goal)"}, goal{other: "deepspeed", least: 1.05}, goal{other: "deepspeed", least: 1.5, what: "against deepspeed (stretch)"},
			goal{other: "fused-kernel", least: 1.4}),
		many,
		stepGroup(name+", as torch 1.13 did it", "adamw", adamw, lengths, all, goal{other: "foreach-1.13", least: 30}),
		smallGroup(adamw),
		inventoryGroup(adamw, all),
		threadsGroup(adamw, large, dram, all),
		zeroGroup(adamw),
		tilesGroup("adamw on tiles, as where machine code is forbidden, in L2", adamw, l2, 1, goal{other: "scalar", least: 3}),
	)
	out = append(out, sumGroups(size, large, threads)...)
	for _, o := range []struct {
		name string
		alg  optim.Algorithm
	}{{"adamw", adamw}, {"sgd-momentum", momentum}, {"lion", optim.DefaultLion()}, {"adagrad", optim.DefaultAdagrad()}} {
		for _, f := range forms {
			out = append(out, formGroup(o.name, large, f, o.alg, size.large, all))
		}
	}
	for _, t := range threads {
		out = append(out, tilesGroup("adamw on tiles, as where machine code is forbidden, "+large, adamw, dram[0], t, goal{other: "ceiling", least: 0.45}))
	}
	return append(out, checkpointGroup(fmt.Sprintf("checkpoint, adamw, 4 tensors of %d", size.large/2), adamw, slices.Repeat([]int{size.large / 2}, 4), all, dir, 0.8),
		checkpointGroup(fmt.Sprintf("checkpoint, adamw, %d tensors of 1,024", size.many), adamw, lengths, all, dir, 0))
}

func parameters(n int) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d Mi parameters", n>>20)
	}
	return plural(n, "parameter")
}

// sumGroups hold rules that sum over tensors, rows or columns to their ceilings, to AdamW on small tensors, and to peers, on a quarter of the
// elements, as these take long.
func sumGroups(size sizes, large string, threads []int) (out []group) {
	all := threads[len(threads)-1]
	side := func(n int) int { // of a square of n elements
		k := 1
		for k*k < n {
			k *= 2
		}
		return k
	}
	for _, o := range []struct {
		name  string
		alg   optim.Algorithm
		least float64
		peers []goal
		rows  bool
	}{
		{"lamb", optim.DefaultLAMB(), 0.92, []goal{{other: "bitsandbytes", least: 2}}, false},
		{"lars", optim.DefaultLARS(), 0.92, nil, false},
		{"novograd", optim.DefaultNovoGrad(), 0.92, nil, false},
		{"adafactor", optim.DefaultAdafactor(), 0.85, nil, true},
	} {
		in := func(n int) form {
			f := float32Form
			if o.rows {
				f.columns = side(n)
			}
			return f
		}
		for _, t := range threads {
			out = append(out, stepGroupIn(in(size.large), o.name+", "+large, o.name, o.alg, []int{size.large}, t, goal{other: "ceiling", least: o.least}))
		}
		out = append(out, stepGroupIn(in(size.large/4), o.name+", "+parameters(size.large/4)+" beside others", o.name, o.alg, []int{size.large / 4}, all,
			append([]goal{{other: "optax", least: 2}}, o.peers...)...))
		for i := range out {
			out[i].rounds = 7 // as steps are long
		}
		lengths := slices.Repeat([]int{1024}, size.many)
		out = append(out, group{name: fmt.Sprintf("%s, %d tensors of 1,024, up to %s", o.name, size.many, plural(all, "thread")), optimizer: o.name,
			lengths: lengths, goals: []goal{{other: "adamw", most: 1.3, what: "time against adamw's"}}, make: func(_ *peers, m *match) error {
				if _, err := m.addBest("fusestep", in(1024), o.alg, lengths, all); err != nil {
					return err
				}
				_, err := m.addBest("adamw", float32Form, optim.DefaultAdamW(), lengths, all)
				return err
			}})
	}
	for _, t := range threads {
		f := float32Form
		f.columns, f.clipping = side(size.large), 0.01
		out = append(out, stepGroupIn(f, "adamw, rows clipped adaptively, "+large, "adamw", optim.DefaultAdamW(), []int{size.large}, t,
			goal{other: "ceiling", what: "against ceiling (no goal)"}))
	}
	return out
}

// smallGroup finds what a step costs beside its kernel: one tensor's step, less its share of a step over many that still lie in
// cache.
func smallGroup(alg optim.Algorithm) group {
	const many = 32
	return group{name: "adamw, one tensor of 1,024", goals: []goal{{other: "kernel", most: 1, difference: true, what: "beyond the kernel, µs"}}, make: func(_ *peers, m *match) error {
		if _, err := m.add("fusestep", float32Form, alg, []int{1024}, 1, ""); err != nil {
			return err
		}
		s, err := m.add("kernel", float32Form, alg, slices.Repeat([]int{1024}, many), 1, "")
		if err != nil {
			return err
		}
		m.contenders[1].bytes = 0
		m.contenders[1].run = func(n int) (time.Duration, error) {
			took, err := s.contender("").run(n)
			return took / many, err
		}
		return nil
	}}
}

// inventoryGroup holds the parameters of GPT-2 to one flat tensor of as many elements.
func inventoryGroup(alg optim.Algorithm, threads int) group {
	return group{name: "adamw, GPT-2 124M's 148 tensors", goals: []goal{{other: "one tensor", least: 0.95}, {other: "ceiling", least: 0.95}}, make: func(_ *peers, m *match) error {
		gpt2, err := models.Parse("gpt2", "", "")
		if err != nil {
			return err
		}
		var lengths []int
		for _, t := range gpt2.Tensors {
			lengths = append(lengths, int(t.Len()))
		}
		s, err := m.add("fusestep", float32Form, alg, lengths, threads, "")
		if err != nil {
			return err
		}
		m.contenders = append(m.contenders, s.ceiling())
		_, err = m.add("one tensor", float32Form, alg, []int{int(gpt2.Params())}, threads, "")
		return err
	}}
}

// threadsGroup holds all threads to one, and the ceilings likewise: more than they gain, no step can.
func threadsGroup(alg optim.Algorithm, large string, lengths []int, threads int) group {
	goals := []goal{{other: "1 thread", least: 1.8}, {other: "ceiling, 1 thread", ours: "ceiling", what: "what the ceiling gains (no goal)"}}
	return group{name: fmt.Sprintf("adamw, %s, all %s", large, plural(threads, "thread")), goals: goals, make: func(_ *peers, m *match) error {
		s, err := m.add("fusestep", float32Form, alg, lengths, threads, "")
		if err != nil {
			return err
		}
		one, err := m.add("1 thread", float32Form, alg, lengths, 1, "")
		if err != nil {
			return err
		}
		ceiling := one.ceiling()
		ceiling.name = "ceiling, 1 thread"
		m.contenders = append(m.contenders, s.ceiling(), ceiling)
		return nil
	}}
}

// zeroGroup holds a tensor whose gradient has been zero for a million steps to one that has always had one.
func zeroGroup(alg optim.Algorithm) group {
	return group{name: "adamw, gradient zero for 10⁶ steps", goals: []goal{{other: "ordinary", most: 1.1, what: "against an ordinary gradient"}}, make: func(_ *peers, m *match) error {
		s, err := m.add("fusestep", float32Form, alg, []int{1024}, 1, "")
		if err != nil {
			return err
		}
		if _, err := m.add("ordinary", float32Form, alg, []int{1024}, 1, ""); err != nil {
			return err
		}
		if _, err := s.contender("").run(100); err != nil {
			return err
		}
		if err := s.opt.ZeroGrad(nil); err != nil {
			return err
		}
		_, err = s.contender("").run(1_000_000)
		return err
	}}
}

// tilesGroup runs a rule as it runs where the system forbids machine code that is made at run time.
func tilesGroup(name string, alg optim.Algorithm, n, threads int, g goal) group {
	return group{name: fmt.Sprintf("%s, %s", name, plural(threads, "thread")), goals: []goal{g}, make: func(_ *peers, m *match) error {
		const tiles = "avx2-tiles"
		if !slices.Contains(cpu.Implementations(), tiles) {
			m.missing[g.other] = "this machine and build have no vector code"
			return nil
		}
		s, err := m.add("fusestep", float32Form, alg, []int{n}, threads, tiles)
		if err != nil {
			return err
		}
		if g.other == "ceiling" {
			m.contenders = append(m.contenders, s.ceiling())
			return nil
		}
		_, err = m.add(g.other, float32Form, alg, []int{n}, threads, g.other)
		return err
	}}
}

// cacheSize is the bytes of the first processor's cache of a level, where Linux tells them; otherwise those of a small one.
func cacheSize(level int) int {
	text, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu0/cache/index%d/size", level))
	if kib, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "K"); err == nil && ok {
		if n, err := strconv.Atoi(kib); err == nil {
			return n << 10
		}
	}
	return map[int]int{2: 256 << 10, 3: 8 << 20}[level]
}
