package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// peers is bench/peers/cpu.py, which says what is asked and answered.
type peers struct {
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
	libraries string
	deepspeed string // why there is none
}

type answer struct {
	ID               int
	Seconds          float64
	Error            string
	Torch, DeepSpeed string
	Capability       string `json:"cpu_capability"`
}

func startPeers(python, deepspeed string) (*peers, error) {
	args := []string{"bench/peers/cpu.py"}
	if deepspeed != "" {
		args = append(args, "--deepspeed", deepspeed)
	}
	p := &peers{cmd: exec.Command(python, args...)}
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
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	about, err := p.ask(map[string]any{"what": "about"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s bench/peers/cpu.py does not answer; run from the module's root, by a Python that has torch: %w", python, err), p.close())
	}
	p.libraries = fmt.Sprintf("peers: torch %s (%s)", about.Torch, about.Capability)
	p.deepspeed = about.DeepSpeed
	if p.deepspeed == "" {
		p.libraries += ", DeepSpeed's CPUAdam"
	} else {
		p.libraries += ", no DeepSpeed: " + p.deepspeed
	}
	return p, nil
}

func (p *peers) about() string {
	if p == nil {
		return "peers: none; see -python"
	}
	return p.libraries
}

func (p *peers) ask(what map[string]any) (a answer, err error) {
	line, err := json.Marshal(what)
	if err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, err
	}
	if line, err = p.out.ReadBytes('\n'); err != nil {
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

// contender makes a peer's optimizer. Drop gives its memory back.
func (p *peers) contender(peer, optimizer string, lengths []int, threads int, bytes float64) (c contender, drop func() error, err error) {
	switch {
	case p == nil:
		return c, nil, errors.New("no -python")
	case peer == "deepspeed" && p.deepspeed != "":
		return c, nil, errors.New(p.deepspeed)
	}
	var shapes [][]int
	for _, n := range lengths {
		shapes = append(shapes, []int{n})
	}
	made, err := p.ask(map[string]any{"what": "make", "peer": peer, "optimizer": optimizer, "shapes": shapes})
	if err != nil {
		return c, nil, err
	}
	run := func(n int) (time.Duration, error) {
		a, err := p.ask(map[string]any{"what": "run", "id": made.ID, "threads": threads, "steps": n})
		return time.Duration(a.Seconds * 1e9), err
	}
	return contender{peer, bytes, run}, func() error {
		_, err := p.ask(map[string]any{"what": "drop", "id": made.ID})
		return err
	}, nil
}

func (p *peers) close() error {
	if err := p.in.Close(); err != nil {
		return err
	}
	err := p.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil // it has said why on standard error
	}
	return err
}
