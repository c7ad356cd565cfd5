// Command gocuda runs the go command with what the build tag cuda needs:
//
//	go run github.com/fusestep/fusestep/device/cuda/gocuda build ./...
//	go run github.com/fusestep/fusestep/device/cuda/gocuda test -run Step ./...
//
// or, once `go get -tool github.com/fusestep/fusestep/device/cuda/gocuda` has put it into go.mod, `go tool gocuda ...`.
//
// No CUDA toolkit is needed, and no driver until the program calls it. gocuda
//
//   - finds the directory of package device/cuda/internal/driver, which holds cuda.h, in the module of the current directory;
//   - adds it to CGO_CPPFLAGS, since gorgonia.org/cu looks for the header nowhere that a module could reach, and
//     CGO_CFLAGS would drop -O2. A macro with the header's hash goes with it: the go command does not see changes of
//     the header, and so would not build cu again;
//   - sets CGO_ENABLED=1 and adds the tag cuda, in GOFLAGS and to any -tags among the arguments. With the run
//     subcommand a -tags must stand first, as whatever follows the package belongs to the program.
//
// Then it becomes the go command: the exit status, signals and output are that one's. Where it cannot become the go
// command, the exit status is 1, and 2 without arguments.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/fusestep/fusestep/internal/cli"
)

const driver = "github.com/fusestep/fusestep/device/cuda/internal/driver"

func main() { cli.Main("gocuda", run) }

// run only returns when there is an error.
func run(args []string, _ io.Writer) error {
	if len(args) == 0 {
		return cli.Usagef("usage: gocuda build|test|run|vet|... [arguments of the go command]")
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("CUDA is supported on linux, this is %s", runtime.GOOS)
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return errors.New("there is no go command in PATH")
	}
	dir, err := output(goCommand, "list", "-f", "{{.Dir}}", driver)
	if err != nil {
		return fmt.Errorf("package %s is not found from here: %w", driver, err)
	}
	header, err := os.ReadFile(filepath.Join(dir, "cuda.h"))
	if err != nil {
		return err
	}
	inherited, err := output(goCommand, "env", "GOFLAGS", "CGO_CPPFLAGS")
	if err != nil {
		return err
	}
	goflags, flags, _ := strings.Cut(inherited, "\n")
	os.Setenv("CGO_ENABLED", "1")
	os.Setenv("CGO_CPPFLAGS", cppflags(dir, header, flags))
	os.Setenv("GOFLAGS", withTagInFlags(goflags))
	return syscall.Exec(goCommand, append([]string{"go"}, withTag(args)...), os.Environ())
}

// output is what a go command prints, or an error with the first line of what it complains about.
func output(goCommand string, args ...string) (string, error) {
	var complaint bytes.Buffer
	c := exec.Command(goCommand, args...)
	c.Stderr = &complaint
	out, err := c.Output()
	if first, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n"); err != nil && first != "" {
		return "", errors.New(first)
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

// cppflags puts our directory first, before a toolkit's. The go command splits the variable at spaces, but not in
// quotes.
func cppflags(dir string, header []byte, inherited string) string {
	include := "-I" + dir
	if strings.ContainsAny(dir, " \t'\"") {
		quote := "'"
		if strings.Contains(dir, quote) {
			quote = `"`
		}
		include = quote + include + quote
	}
	revision := sha256.Sum256(header)
	flags := fmt.Sprintf("%s -DFUSESTEP_CUDA_H_REV=0x%x", include, revision[:6])
	return strings.TrimSpace(flags + " " + inherited)
}
