package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// waits are the ways in which threads of OpenMP can wait for work. A process has one of them for its life.
var waits = []struct {
	name string
	env  []string
}{
	{"waiting as by default", nil},
	{"waiting passively", []string{"OMP_WAIT_POLICY=passive", "KMP_BLOCKTIME=0"}},
	{"waiting actively", []string{"OMP_WAIT_POLICY=active", "KMP_BLOCKTIME=infinite"}},
}

// peers are processes of bench/peers/cpu.py, one for each of waits.
type peers struct {
	all       []*peer
	libraries string
	deepspeed string // why there is none
}

// peer is one process of bench/peers/cpu.py, which says what is asked and answered.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

type answer struct {
	ID               int
	Seconds          float64
	Error            string
	Torch, DeepSpeed string
	Capability       string `json:"cpu_capability"`
}

func startPeers(python, deepspeed string) (*peers, error) {
	p := &peers{}
	for _, w := range waits {
		one, err := startPeer(python, deepspeed, w.env)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.all = append(p.all, one)
		about, err := one.ask(map[string]any{"what": "about"})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s bench/peers/cpu.py does not answer; run from the module's root, by a Python that has torch: %w", python, err), p.close())
		}
		p.libraries = fmt.Sprintf("torch %s (%s)", about.Torch, about.Capability)
		p.deepspeed = about.DeepSpeed
		if p.deepspeed == "" {
			p.libraries += ", DeepSpeed's CPUAdam"
		} else {
			p.libraries += ", no DeepSpeed: " + p.deepspeed
		}
	}
	return p, nil
}

func startPeer(python, deepspeed string, env []string) (*peer, error) {
	args := []string{"bench/peers/cpu.py"}
	if deepspeed != "" {
		args = append(args, "--deepspeed", deepspeed)
	}
	p := &peer{cmd: exec.Command(python, args...)}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS":
		default:
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *peers) about() string {
	if p == nil {
		return "none; see -python"
	}
	return p.libraries
}

// ask has a request answered. Until the next one the process stands still: threads that wait actively would take the
// processors from whoever is timed next.
func (p *peer) ask(what map[string]any) (a answer, err error) {
	line, err := json.Marshal(what)
	if err != nil {
		return a, err
	}
	if err := p.wake(); err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, err
	}
	if line, err = p.out.ReadBytes('\n'); err != nil {
		return a, err
	}
	if err := p.halt(); err != nil {
		return a, err
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// places are where a peer's optimizer can run, with up to so many threads. With one thread nobody waits.
func (p *peers) places(name, optimizer string, shapes [][]int, most int) (out []place, err error) {
	switch {
	case p == nil:
		return nil, errors.New("no -python")
	case name == "deepspeed" && p.deepspeed != "":
		return nil, errors.New(p.deepspeed)
	}
	for i, one := range p.all {
		if name == "optax" && i > 0 {
			break // whose threads are not OpenMP's
		}
		threads := threadCounts(most)
		if i > 0 {
			threads = threads[1:]
		}
		if len(threads) == 0 {
			continue
		}
		out = append(out, place{waits[i].name, threads, func() (func(threads, steps int) (time.Duration, error), func() error, error) {
			made, err := one.ask(map[string]any{"what": "make", "peer": name, "optimizer": optimizer, "shapes": shapes})
			if err != nil {
				return nil, nil, err
			}
			run := func(threads, steps int) (time.Duration, error) {
				a, err := one.ask(map[string]any{"what": "run", "id": made.ID, "threads": threads, "steps": steps})
				return time.Duration(a.Seconds * 1e9), err
			}
			return run, func() error {
				_, err := one.ask(map[string]any{"what": "drop", "id": made.ID})
				return err
			}, nil
		}})
	}
	return out, nil
}

func (p *peers) close() (err error) {
	for _, one := range p.all {
		err = errors.Join(err, one.wake(), one.in.Close())
		waited := one.cmd.Wait()
		if exit := (*exec.ExitError)(nil); !errors.As(waited, &exit) { // which has said why on standard error
			err = errors.Join(err, waited)
		}
	}
	return err
}
