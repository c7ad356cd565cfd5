package ptxvm

import "math/bits"

// reconverge finds for each branch the instruction where the lanes it divides meet again: the first that every path from
// the branch goes through.
//
// A path that only leads to an exit does not keep the others from meeting, so the exits are taken one by one, the last in
// the text first: what reaches it is one group, what reaches only the next is another, and post-dominance is a matter
// within a group. The answer is right for any group: lanes on a way to another exit never come back.
func reconverge(code []inst) {
	g := newGraph(code)
	reachable := g.reach(0, g.succ)
	group := make([]int, len(g.start)) // 0 is none
	for exit := len(g.start) - 1; exit >= 0; exit-- {
		if len(g.succ[exit]) > 0 || !reachable[exit] || group[exit] != 0 {
			continue
		}
		var members []int
		for b, in := range g.reach(exit, g.pred) {
			if in && group[b] == 0 {
				group[b] = exit + 1
				members = append(members, b)
			}
		}
		g.postDominate(members, exit, group)
	}
	for i := range code {
		if code[i].op != opBranch {
			continue
		}
		code[i].reconverge = int32(len(code)) // nowhere
		if m := g.meet[g.blockOf[i]]; m >= 0 {
			code[i].reconverge = int32(g.start[m])
		}
	}
}

// graph is the control flow between basic blocks. Predicated exits do not end a block: the lanes that do not exit go on.
type graph struct {
	start      []int // first instruction of each block
	blockOf    []int // of each instruction
	succ, pred [][]int
	meet       []int // immediate post-dominator within the group, -1 without
}

func newGraph(code []inst) *graph {
	leader := make([]bool, len(code)+1)
	leader[0] = true
	for i := range code {
		switch in := &code[i]; {
		case in.op == opBranch:
			leader[in.target], leader[i+1] = true, true
		case in.ends():
			leader[i+1] = true
		}
	}
	g := &graph{blockOf: make([]int, len(code))}
	for i := range code {
		if leader[i] {
			g.start = append(g.start, i)
		}
		g.blockOf[i] = len(g.start) - 1
	}
	g.succ, g.pred = make([][]int, len(g.start)), make([][]int, len(g.start))
	g.meet = make([]int, len(g.start))
	for b := range g.start {
		g.meet[b] = -1
		last := len(code) - 1
		if b+1 < len(g.start) {
			last = g.start[b+1] - 1
		}
		in := &code[last]
		if in.op == opBranch {
			g.edge(b, g.blockOf[in.target])
		}
		if !in.ends() && (in.op != opBranch || in.guard > 0) {
			g.edge(b, b+1)
		}
	}
	return g
}

// ends tells that no lane goes on behind the instruction.
func (in *inst) ends() bool { return (in.op == opExit || in.op == opTrap) && in.guard == 0 }

func (g *graph) edge(from, to int) {
	g.succ[from] = append(g.succ[from], to)
	g.pred[to] = append(g.pred[to], from)
}

// reach marks what can be reached from a block along edges.
func (g *graph) reach(from int, edges [][]int) []bool {
	seen := make([]bool, len(edges))
	seen[from] = true
	for work := []int{from}; len(work) > 0; {
		b := work[len(work)-1]
		work = work[:len(work)-1]
		for _, next := range edges[b] {
			if !seen[next] {
				seen[next] = true
				work = append(work, next)
			}
		}
	}
	return seen
}

// postDominate finds the immediate post-dominators of a group by iteration over sets: kernels have tens of blocks.
func (g *graph) postDominate(members []int, exit int, group []int) {
	words := (len(g.start) + 63) / 64
	sets := make(map[int][]uint64, len(members))
	for _, b := range members {
		sets[b] = make([]uint64, words)
		for i := range sets[b] {
			sets[b][i] = ^uint64(0)
		}
	}
	clear(sets[exit])
	setBits(sets[exit], uint64(exit), 1)
	next := make([]uint64, words)
	for changed := true; changed; {
		changed = false
		for i := len(members) - 1; i >= 0; i-- {
			b := members[i]
			if b == exit {
				continue
			}
			for i := range next {
				next[i] = ^uint64(0)
			}
			for _, s := range g.succ[b] {
				if group[s] == group[b] {
					for i := range next {
						next[i] &= sets[s][i]
					}
				}
			}
			setBits(next, uint64(b), 1)
			for i := range next {
				changed = changed || next[i] != sets[b][i]
			}
			copy(sets[b], next)
		}
	}
	size := make(map[int]int, len(members))
	for _, b := range members {
		for _, word := range sets[b] {
			size[b] += bits.OnesCount64(word)
		}
	}
	// The post-dominators of a block lie on one chain; the nearest has the largest set.
	for _, b := range members {
		best := 0
		for _, m := range members {
			if m != b && sets[b][m/64]>>(m%64)&1 != 0 && size[m] > best {
				best, g.meet[b] = size[m], m
			}
		}
	}
}
