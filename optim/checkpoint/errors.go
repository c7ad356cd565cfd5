package checkpoint

import (
	"fmt"
	"strings"

	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// SaveError is a save that failed, and says what is at the path: New, the new checkpoint, whole, or else what was there before, unchanged,
// be it a checkpoint or nothing.
type SaveError struct {
	Path string
	Op   string // what failed: "create", "write", "sync", "rename", "sync the folder"
	New  bool
	Err  error
}

func (e *SaveError) Error() string {
	there := "what was there before is there as it was"
	if e.New {
		there = "the new checkpoint is there, whole"
	}
	if e.New && e.Op == "sync the folder" {
		there += ", but if the power fails the one before may be there again"
	}
	return fmt.Sprintf("checkpoint: save %s: %s: %v: %s", e.Path, e.Op, strings.ReplaceAll(e.Err.Error(), "\n", "; "), there)
}

func (e *SaveError) Unwrap() error { return e.Err }

// FileError is a file that is not what it should be: it is damaged, truncated, or another program's. Faults are all that was found.
type FileError struct {
	Path   string
	Faults []Fault
}

// Fault is one thing that is wrong with a file. Tensor is its name in the file, such as "weight.exp_avg", and empty where the fault is not in a tensor.
type Fault struct{ Tensor, What string }

func (f Fault) String() string { return safetensors.Fault(f).String() }

// shown is how many faults an error's text has.
const shown = 10

func (e *FileError) Error() string {
	return "checkpoint: " + e.Path + " is not whole, or another program's" + texts(e.Faults)
}

// texts are the first faults, behind a colon.
func texts(faults []Fault) string {
	var b strings.Builder
	for i, f := range faults[:min(shown, len(faults))] {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + f.String())
	}
	if n := len(faults) - shown; n > 0 {
		fmt.Fprintf(&b, "; and %d faults more", n)
	}
	return b.String()
}

// faulty is faults of a file as an error, nil if there is none.
func faulty(path string, faults []safetensors.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	e := &FileError{Path: path}
	for _, f := range faults {
		e.Faults = append(e.Faults, Fault(f))
	}
	return e
}
