package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/examples/internal/compare/comparetest"
	"github.com/fusestep/fusestep/internal/gpu"
)

var (
	kills = flag.Int("kills", 10, "how often TestKilled kills")
	seed  = flag.Uint64("seed", 0, "of the moments at which TestKilled kills; 0 takes another each time")
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"resume": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) { comparetest.Sessions(t) }

// short is a run of some hundred milliseconds, with 30 checkpoints.
var short = []string{"-steps", "150", "-every", "5", "-width", "24"}

// process is a run that is under way.
type process struct {
	*exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
	lines  []string // of stdout, that were read
}

func start(t *testing.T, dir string, args ...string) *process {
	p := &process{Cmd: exec.Command("resume", append([]string{"-dir", dir}, args...)...)}
	p.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewReader(out)
	require.NoError(t, p.Start())
	return p
}

// read reads lines up to one with the text, or to the end.
func (p *process) read(text string) (found bool) {
	for {
		line, err := p.stdout.ReadString('\n')
		if err != nil {
			return false
		}
		p.lines = append(p.lines, strings.TrimSuffix(line, "\n"))
		if text != "" && strings.Contains(line, text) {
			return true
		}
	}
}

// end reads all that is left and returns the exit status; -1 is a signal.
func (p *process) end(t *testing.T) int {
	p.read("")
	err := p.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

func (p *process) output() string { return strings.Join(p.lines, "\n") }

// complete runs to the end, which must be a good one, and returns the digest.
func complete(t *testing.T, dir string, args ...string) (digest string, p *process) {
	p = start(t, dir, args...)
	require.Zero(t, p.end(t), p.stderr.String())
	return p.digest(t), p
}

// digest is what the last line must be.
func (p *process) digest(t *testing.T) string {
	last := p.lines[len(p.lines)-1]
	require.Regexp(t, regexp.MustCompile("^[0-9a-f]{64}$"), last, p.output())
	require.Empty(t, p.stderr.String(), "nothing of a terminal in a pipe")
	return last
}

// unfinished are the files that a writer has left in the folder.
func unfinished(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.fusestep-tmp"))
	require.NoError(t, err)
	return files
}

// TestKilled kills the run at random moments, and starts it again. Whenever one comes to its end, the digest must be that of a run that was never
// killed, and the next begins anew.
func TestKilled(t *testing.T) {
	began := time.Now()
	want, _ := complete(t, t.TempDir(), short...)
	took := time.Since(began)
	if testing.Short() {
		*kills = min(*kills, 3)
	}
	for *seed == 0 {
		*seed = rand.Uint64()
	}
	rng := rand.New(rand.NewPCG(*seed, 0))
	killed, writing, ended, dir := 0, 0, 0, t.TempDir()
	for killed < *kills {
		p := start(t, dir, short...)
		timer := time.AfterFunc(time.Duration(rng.Float64()*float64(took)), func() { p.Process.Kill() })
		status := p.end(t)
		timer.Stop()
		if status == -1 {
			killed++
			if len(unfinished(t, dir)) > 0 {
				writing++
			}
			continue
		}
		require.Zero(t, status, "-seed %d, kill %d: %s", *seed, killed, &p.stderr)
		require.Equal(t, want, p.digest(t), "-seed %d, kill %d: %s", *seed, killed, p.output())
		ended, dir = ended+1, t.TempDir()
	}
	digest, p := complete(t, dir, short...)
	require.Equal(t, want, digest, "-seed %d: %s", *seed, p.output())
	require.Empty(t, unfinished(t, dir))
	t.Logf("-seed %d: killed %d times, %d of them while a file was written; %d runs came to their end, all with the digest of one that was never killed", *seed, killed, writing, ended+1)
}

// TestKilledWhileSaving kills while there is a file that is not yet whole, of a state that takes its time to write.
func TestKilledWhileSaving(t *testing.T) {
	large := []string{"-steps", "8", "-every", "1", "-width", "500"}
	want, _ := complete(t, t.TempDir(), large...)
	rng := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	times := 4
	if testing.Short() {
		times = 1
	}
	for killed := 0; killed < times; {
		p := start(t, dir, large...)
		eof := make(chan bool)
		go func() { p.read(""); close(eof) }()
		seen, most, running := map[string]bool{}, rng.IntN(3), true
		for running {
			select {
			case <-eof:
				running = false
			case <-time.After(100 * time.Microsecond):
				for _, name := range unfinished(t, dir) {
					if seen[name] = true; len(seen) > most {
						p.Process.Kill()
						running = false
					}
				}
			}
		}
		<-eof
		if p.end(t) == 0 {
			require.Equal(t, want, p.digest(t))
			dir = t.TempDir()
		} else if len(unfinished(t, dir)) > 0 { // else it got its name just then
			killed++
		}
	}
	digest, _ := complete(t, dir, large...)
	require.Equal(t, want, digest)
	require.Empty(t, unfinished(t, dir))
}

// unkilled is the digest of a short run that was never killed; "" before the first.
var unkilled string

// half takes half of the steps of a short run, and returns the folder and what the digest at the end will be.
func half(t *testing.T) (dir, want string) {
	if unkilled == "" {
		unkilled, _ = complete(t, t.TempDir(), short...)
	}
	dir, want = t.TempDir(), unkilled
	complete(t, dir, append(short, "-steps", "75")...)
	return dir, want
}

// TestDamaged: a checkpoint that is not whole is passed over and named, whatever is wrong with it, and the run goes on from the one before.
func TestDamaged(t *testing.T) {
	original, want := half(t)
	for name, damage := range map[string]func(b []byte) []byte{
		"a bit of a tensor":     func(b []byte) []byte { b[len(b)-100] ^= 1; return b },
		"a bit of the header":   func(b []byte) []byte { b[100] ^= 1; return b },
		"cut off":               func(b []byte) []byte { return b[:len(b)-1] },
		"empty":                 func([]byte) []byte { return nil },
		"zeros":                 func(b []byte) []byte { clear(b); return b },
		"a file of somebody's":  func([]byte) []byte { return []byte("this is no checkpoint") },
		"bytes behind its end":  func(b []byte) []byte { return append(b, 0) },
		"random bytes in place": func(b []byte) []byte { rand.NewChaCha8([32]byte{}).Read(b); return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(original)))
			latest := filepath.Join(dir, "step-00000075.safetensors")
			b, err := os.ReadFile(latest)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(latest, damage(b), 0o666))
			digest, p := complete(t, dir, short...)
			require.Equal(t, want, digest)
			require.Contains(t, p.output(), "passed over: checkpoint: "+latest+" is not whole")
			require.Contains(t, p.output(), "on from step 70, ")
		})
	}
}

// TestForeignFiles: what is no checkpoint by its name stays as it is and disturbs nothing.
func TestForeignFiles(t *testing.T) {
	dir, want := half(t)
	names := []string{"notes.txt", "step-1.safetensors", "step-00000099.safetensors.bak", "model.tmp", "step-00000080.safetensors.tmp"}
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o666))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "step-xxxxxxxx.safetensors"), 0o777))
	digest, p := complete(t, dir, short...)
	require.Equal(t, want, digest)
	require.NotContains(t, p.output(), "passed over")
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, name, string(b))
	}
}

// TestOtherRun: a folder with another network's checkpoints is refused by what does not fit, and stays as it is.
func TestOtherRun(t *testing.T) {
	dir := t.TempDir()
	complete(t, dir, append(short, "-steps", "5")...)
	p := start(t, dir, append(short, "-width", "25")...)
	require.Equal(t, 1, p.end(t))
	require.Contains(t, p.stderr.String(), `tensor "0.weight"`)
	require.Contains(t, p.stderr.String(), "shape")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
}

// TestFurther: a run that goes on behind its end is one that was longer from the beginning.
func TestFurther(t *testing.T) {
	dir, want := half(t)
	complete(t, dir, append(short, "-steps", "110", "-every", "1000")...)
	digest, _ := complete(t, dir, short...)
	require.Equal(t, want, digest)
	again, p := complete(t, dir, short...)
	require.Equal(t, want, again)
	require.Contains(t, p.output(), "on from step 150, ")
}

// TestDevices: a run that goes on on another device ends with the same bits.
func TestDevices(t *testing.T) {
	if !gpu.Built {
		_, err := gpu.Open("emu")
		require.ErrorContains(t, err, "built without CUDA")
		return
	}
	dir, want := half(t)
	complete(t, dir, append(short, "-steps", "100", "-device", "emu")...)
	digest, _ := complete(t, dir, append(short, "-steps", "125")...)
	require.NotEqual(t, want, digest)
	digest, _ = complete(t, dir, append(short, "-device", "emu")...)
	require.Equal(t, want, digest)
}

// TestGradient holds the gradient against differences of the loss.
func TestGradient(t *testing.T) {
	n := newNetwork(5)
	batch := rows(3, 1, 40)
	n.gradient(batch, 2)
	all := []tensor{n.kinds}
	for _, l := range n.layers {
		all = append(all, l.weights, l.bias)
	}
	for _, x := range all {
		grad := append([]float32(nil), x.grad...)
		for i, v := range x.value {
			const h = 0x1p-11
			x.value[i] = v + h
			up := n.loss(batch)
			x.value[i] = v - h
			down := n.loss(batch)
			x.value[i] = v
			require.InDelta(t, (up-down)/(2*h)*40*2, grad[i], 0.03, "%s[%d]", x.name, i)
		}
	}
	require.Equal(t, fmt.Sprint(rows(3, 1, 2)), fmt.Sprint(rows(3, 1, 2)))
	require.NotEqual(t, fmt.Sprint(rows(3, 1, 2)), fmt.Sprint(rows(3, 0, 2)))
}
