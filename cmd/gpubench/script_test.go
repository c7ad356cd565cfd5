package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/gpu"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gpubench": main})
}

// TestScript runs the sessions in testdata/script with the whole command.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status},
		Condition:           condition,
	})
}

// condition is [cuda]: this build can have GPUs; [driver]: the machine has a driver for them; [full]: it has a full device;
// [64bit]: an int is as wide; [code]: steps run machine code that is made for them.
func condition(name string) (bool, error) {
	switch name {
	case "cuda":
		return gpu.Built, nil
	case "driver":
		_, err := os.Stat("/proc/driver/nvidia/version")
		return err == nil, nil
	case "code":
		d := cpu.NewThreads(1)
		defer d.Close()
		return d.Implementation() == "avx2" || d.Implementation() == "avx512", nil
	case "64bit":
		return strconv.IntSize == 64, nil
	case "full":
		_, err := os.Stat("/dev/full")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// status runs gpubench with the arguments after the first, which is the exit status that it must have. A status other than 0 must
// come with nothing on standard output and one line on standard error.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: status code [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("gpubench", args[1:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	switch {
	case got != want:
		ts.Fatalf("gpubench %q: exit status %d, want %d", args[1:], got, want)
	case want == 0:
	case stdout != "":
		ts.Fatalf("gpubench %q: failed, but printed\n%s", args[1:], stdout)
	case len(stderr) < 2 || stderr[len(stderr)-1] != '\n' || countLines(stderr) != 1:
		ts.Fatalf("gpubench %q: want one line on standard error, got\n%s", args[1:], stderr)
	}
}

func countLines(s string) (n int) {
	for _, c := range s {
		if c == '\n' {
			n++
		}
	}
	return n
}
