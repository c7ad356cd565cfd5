package cpu

import (
	"slices"
	"sync"
	"time"
)

// pace chooses how many threads a loop runs on, by the time that it takes. Results have the same bits with any number. More threads are slower where
// other programs' threads want the processors, too: who is taken from a processor while it holds a chunk makes the others wait for as long as the system
// lets somebody else run.
//
// It begins with all threads. Now and then, ever less often, a few loops are tried on another number, and soon where loops take longer than they did. A
// trial on fewer threads costs little where these are slower: as soon as that is seen, the others are called to the same loop, and the trial is over.
type pace struct {
	mu     sync.Mutex
	use    int                       // threads, 0 before the first loop
	took   [5]time.Duration          // the last loops on them
	loops  int                       // of took, since the number was chosen
	usual  time.Duration             // what they took when the last trial was over
	since  int                       // loops since then
	pause  int                       // loops from one trial to the next
	trial  int                       // threads of the trial that is under way, or 0
	tried  [trialLoops]time.Duration // its loops
	trials int                       // how many of them there have been
	turn   int                       // of the numbers that are tried
	lent   bool                      // threads are lent
}

const (
	trialLoops            = 3
	firstPause, lastPause = 16, 256
)

// do is pool.do on the threads of the pace's choice.
func (c *pace) do(p *pool, n int, body func(thread, i int)) {
	if p.threads == 1 || n <= 1 {
		p.do(n, body)
		return
	}
	w := c.choose(p.threads, p.lend != nil)
	began := time.Now()
	called := p.on(w, n, body)
	c.done(w.threads, p.threads, time.Since(began), called)
}

// choose is who works at the next loop, of all threads. Those that are lent are so all or none, and not called later.
func (c *pace) choose(all int, lent bool) crew {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent = lent
	if c.use == 0 {
		c.use, c.pause = all, firstPause
	}
	if c.trial == 0 {
		return crew{threads: c.use}
	}
	w := crew{threads: c.trial}
	if !lent {
		w.reserve, w.limit = c.use-c.trial, slower(middleOf(c.took[:]))
	}
	return w
}

// done notes what a loop on so many threads, of all there are, has taken, and whether it was so slow that the others were called to it.
func (c *pace) done(threads, all int, took time.Duration, called bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.trial != 0 && threads == c.trial:
		c.triedOn(took, called)
		return
	case c.trial != 0 || threads != c.use: // of another stream, begun before the last choice
		return
	}
	c.took[c.loops%len(c.took)] = took
	c.loops++
	c.since++
	if c.loops < len(c.took) {
		return
	}
	if c.since >= c.pause || c.usual != 0 && c.since >= c.pause/8 && middleOf(c.took[:]) > slower(c.usual) {
		c.trial, c.trials = c.other(all), 0
	}
}

// other is the number of threads that is tried next: one, the half, the double, or all.
func (c *pace) other(all int) int {
	for {
		n := [...]int{1, c.use / 2, 2 * c.use, all}[c.turn%4]
		c.turn++
		if n >= 1 && n <= all && n != c.use && (!c.lent || n == 1 || n == all) {
			return n
		}
	}
}

// triedOn notes what a loop of a trial has taken, and ends the trial where it says enough. Where there is no difference, more threads are better.
func (c *pace) triedOn(took time.Duration, fails bool) {
	c.tried[c.trials] = took
	c.trials++
	before := middleOf(c.took[:])
	fails = fails || took > slower(before)
	if !fails && c.trials < trialLoops {
		return
	}
	if now := middleOf(c.tried[:]); !fails && (now < before-before/10 || c.trial > c.use && now <= before) {
		c.use, c.pause = c.trial, firstPause
		c.loops = copy(c.took[:], c.tried[:])
	} else {
		c.pause = min(2*c.pause, lastPause)
	}
	c.trial, c.since, c.usual = 0, 0, middleOf(c.took[:])
}

// slower is clearly longer than usual.
func slower(usual time.Duration) time.Duration { return usual + usual/4 }

// middleOf is the median of at most five.
func middleOf(took []time.Duration) time.Duration {
	var sorted [5]time.Duration
	x := sorted[:copy(sorted[:], took)]
	slices.Sort(x)
	return x[len(x)/2]
}
