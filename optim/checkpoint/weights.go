package checkpoint

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// Weights are parameters in safetensors files, as Hugging Face's libraries save them: one file, or several with an index. They are read when they
// are asked for.
type Weights struct {
	path    string
	weights []Weight
	index   map[string]int
	files   []file
}

// Weight is a tensor of Weights.
type Weight struct {
	Name  string
	DType string // as safetensors has it: "BF16"
	Shape []int

	path     string
	file     file
	from     int64
	elements int64
}

// The names that Hugging Face's libraries give.
const (
	weightsFile  = "model.safetensors"
	weightsIndex = "model.safetensors.index.json"
)

// OpenWeights opens a safetensors file, an index of several, whose name ends in .json, or a folder that has model.safetensors.index.json or
// model.safetensors. What is wrong with a file or with the index is a FileError: a tensor that the index says is elsewhere or nowhere, or that is in two files.
func OpenWeights(path string) (*Weights, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		folder := path
		path = filepath.Join(folder, weightsIndex)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = filepath.Join(folder, weightsFile)
		}
	}
	w := &Weights{path: path, index: map[string]int{}}
	if err := w.open(); err != nil {
		if e, ok := errors.AsType[*safetensors.Error](err); ok {
			err = faulty(path, e.Faults)
		} else if _, ok := errors.AsType[*FileError](err); !ok {
			err = fmt.Errorf("checkpoint: weights: %w", err)
		}
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *Weights) open() error {
	if !strings.HasSuffix(w.path, ".json") {
		return w.add(w.path, nil)
	}
	text, err := readAll(w.path)
	if err != nil {
		return err
	}
	entries, err := safetensors.Index(text)
	if err != nil {
		return err
	}
	where := map[string]string{}
	var files []string
	for _, e := range entries {
		where[e.Key] = e.Value
		files = append(files, e.Value)
	}
	slices.Sort(files)
	var faults []safetensors.Fault
	for _, name := range slices.Compact(files) {
		err := w.add(filepath.Join(filepath.Dir(w.path), name), func(tensor string) {
			if at, ok := where[tensor]; !ok {
				faults = append(faults, safetensors.Fault{Tensor: tensor, What: fmt.Sprintf("is in %s, and the index does not have it", name)})
			} else if at != name {
				faults = append(faults, safetensors.Fault{Tensor: tensor, What: fmt.Sprintf("is in %s, and the index says %s", name, at)})
			}
		})
		if err != nil {
			return err
		}
	}
	for _, e := range entries {
		if _, ok := w.index[e.Key]; !ok {
			faults = append(faults, safetensors.Fault{Tensor: e.Key, What: fmt.Sprintf("is not in %s, where the index says it is", e.Value)})
		}
	}
	return faulty(w.path, faults)
}

// readAll reads an index.
func readAll(path string) ([]byte, error) {
	f, err := disk{}.open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > safetensors.MaxHeader {
		err = &safetensors.Error{Faults: []safetensors.Fault{{What: fmt.Sprintf("the index has %d bytes, more than %d", info.Size(), safetensors.MaxHeader)}}}
	}
	var text []byte
	if err == nil {
		text = make([]byte, info.Size())
		err = safetensors.ReadAt(f, text, 0)
	}
	return text, errors.Join(err, f.Close())
}

// add adds a file's tensors, and tells their names.
func (w *Weights) add(path string, tensor func(name string)) error {
	f, err := disk{}.open(path)
	if err != nil {
		return err
	}
	w.files = append(w.files, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h, _, err := safetensors.Read(f, info.Size())
	if e, ok := errors.AsType[*safetensors.Error](err); ok {
		return faulty(path, e.Faults)
	} else if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, t := range h.Tensors {
		if tensor != nil {
			tensor(t.Name)
		}
		n, _ := safetensors.Elements(t.Shape)
		w.index[t.Name] = len(w.weights)
		w.weights = append(w.weights, Weight{t.Name, t.DType, t.Shape, path, f, h.Data + t.From, n})
	}
	return nil
}

// Close closes the files.
func (w *Weights) Close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// All are the tensors: file by file, as they lie there.
func (w *Weights) All() iter.Seq[Weight] { return slices.Values(w.weights) }

// Lookup finds a tensor by its name.
func (w *Weights) Lookup(name string) (Weight, bool) {
	if i, ok := w.index[name]; ok {
		return w.weights[i], true
	}
	return Weight{}, false
}
