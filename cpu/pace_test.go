package cpu

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

// machine says how long a loop takes on so many threads.
type machine func(threads int) float64

// alone has the processors to itself: half the time on twice the threads.
func alone(threads int) float64 { return 1 / float64(threads) }

// bound is a loop that one thread cannot do faster, nor more.
func bound(int) float64 { return 1 }

// crowded has one processor to itself, and on the others somebody else runs who is not let go before long.
func crowded(threads int) float64 {
	if threads == 1 {
		return 1
	}
	return 1/float64(threads) + 2
}

// half has half of four processors to itself.
func half(threads int) float64 {
	if threads > 2 {
		return 2
	}
	return alone(threads)
}

// A pace takes the number of threads that is fastest, keeps trying others, and follows where that changes: all of it costs next to nothing.
func TestPace(t *testing.T) {
	type stretch struct {
		machine machine
		loops   int
		want    int     // threads at the end
		cost    float64 // of the time of the fastest number
	}
	for _, tt := range []struct {
		name      string
		threads   int
		stretches []stretch
		lent      bool
	}{
		{"alone", 2, []stretch{{alone, 2000, 2, 1.002}}, false},
		{"alone for a short time", 2, []stretch{{alone, 250, 2, 1.004}}, false},
		{"alone, many", 64, []stretch{{alone, 2000, 64, 1.003}}, false},
		{"bound by memory", 4, []stretch{{bound, 2000, 4, 1.001}}, false},
		{"crowded", 2, []stretch{{crowded, 2000, 1, 1.03}}, false},
		{"crowded, many", 64, []stretch{{crowded, 2000, 1, 1.03}}, false},
		{"half", 4, []stretch{{half, 2000, 2, 1.08}}, false},
		{"of three", 3, []stretch{{alone, 1000, 3, 1.003}}, false},
		{"there and back", 2, []stretch{{alone, 1000, 2, 1.003}, {crowded, 2000, 1, 1.03}, {alone, 2000, 2, 1.1}, {alone, 2000, 2, 1.002}}, false},
		{"lent, alone", 4, []stretch{{alone, 2000, 4, 1.02}}, true},
		{"lent, crowded", 4, []stretch{{crowded, 2000, 1, 1.03}}, true},
		{"lent, there and back", 2, []stretch{{alone, 1000, 2, 1.02}, {crowded, 2000, 1, 1.03}, {alone, 2000, 2, 1.1}}, true},
	} {
		for _, noise := range []float64{0, 0.04} {
			t.Run(fmt.Sprintf("%s, noise %v", tt.name, noise), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				var c pace
				for i, s := range tt.stretches {
					var took, best float64
					for range s.loops {
						w := c.choose(tt.threads, tt.lent)
						x := s.machine(w.threads) * (1 + noise*rng.ExpFloat64())
						limit := w.limit.Seconds()
						called := w.reserve > 0 && x > limit
						if called { // four fifths, or a little more, are done by more
							x = limit/5 + (1-limit/5/x)*s.machine(w.threads+w.reserve)
						}
						c.done(w.threads, tt.threads, time.Duration(x*1e9), called)
						took += x
						fastest := s.machine(1)
						for k := 2; k <= tt.threads; k++ {
							fastest = min(fastest, s.machine(k))
						}
						best += fastest * (1 + noise)
					}
					require.Equal(t, s.want, c.use, "threads after stretch %d", i)
					require.LessOrEqual(t, took/best, s.cost+noise/4, "stretch %d: the time, of the fastest number's", i)
				}
			})
		}
	}
}

// A loop runs on the threads of the pace's choice, whole: on one only, where others are slower.
func TestPaceRuns(t *testing.T) {
	p := newPool(2)
	defer p.close()
	c := pace{use: 1, pause: lastPause}
	var ran atomic.Int64
	c.do(p, 100, func(thread, i int) {
		if thread != 0 {
			t.Errorf("thread %d, want 0", thread)
		}
		ran.Add(1)
	})
	require.EqualValues(t, 100, ran.Load())
	require.Equal(t, 1, c.loops)
	c.do(p, 1, func(int, int) { ran.Add(1) })
	require.EqualValues(t, 101, ran.Load())
	require.Equal(t, 1, c.loops, "what has one index says nothing")
}

// Loops of one pace on several streams: none is lost, and the pace goes on.
func TestPaceConcurrently(t *testing.T) {
	var c pace
	p := newPool(4)
	defer p.close()
	within(t, "loops on streams", func() {
		var all atomic.Int64
		done := make(chan struct{})
		for range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for range 200 {
					c.do(p, 9, func(int, int) { all.Add(1) })
				}
			}()
		}
		for range 4 {
			<-done
		}
		require.EqualValues(t, 4*200*9, all.Load())
	})
	require.Contains(t, []int{1, 2, 4}, c.use)
}

// The reserve is called to a loop that takes too long, and to no other.
func TestPoolReserve(t *testing.T) {
	p := newPool(2)
	defer p.close()
	for _, limit := range []time.Duration{0, time.Hour} {
		var both sync.WaitGroup
		both.Add(2)
		ran := 0
		within(t, "a loop", func() {
			p.on(crew{threads: 1, reserve: 1, limit: limit}, 2, func(thread, i int) {
				if limit == 0 {
					both.Done()
					both.Wait() // ends only on two threads
					return
				}
				if thread != 0 {
					t.Errorf("thread %d, want 0", thread)
				}
				ran++
			})
		})
		require.Equal(t, limit > 0, ran == 2)
	}
	defer func() { require.Equal(t, "no", recover().(*device.PanicError).Value) }()
	p.on(crew{threads: 1, reserve: 1, limit: time.Hour}, 2, func(int, int) { panic("no") })
}
