package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// Load makes an optimizer what it was when it was saved: one of the same groups, algorithms and tensors, as far as how does not say otherwise. Before
// anything changes, all that does not fit is an optim.MismatchError, and all that is wrong with the file a FileError: checksums of all tensors are
// compared first. It needs 64 MiB of memory at most beside the header. Progress functions are called as checksums are computed.
func Load(path string, o *optim.Optimizer, s *device.Stream, how optim.LoadOptions, progress ...func(done, total int64)) error {
	return load(disk{}, path, o, s, how, progress)
}

func load(sys system, path string, o *optim.Optimizer, s *device.Stream, how optim.LoadOptions, progress progress) error {
	d, f, err := read(sys, path, progress)
	if err != nil {
		return err
	}
	return errors.Join(o.LoadStateDict(s, d, how), f.Close())
}

// Read opens a file as a state dict, to look at or for Optimizer.LoadStateDict, which compares all checksums before it changes anything. Numbers are read
// from the file when they are asked for, until it is closed. What is wrong with the header is a FileError.
func Read(path string) (*optim.StateDict, io.Closer, error) {
	d, f, err := read(disk{}, path, nil)
	if err != nil {
		return nil, nil, err
	}
	return d, f, nil
}

// Verify reads a whole file and compares its checksums. All that is wrong with it is a FileError.
func Verify(path string, progress ...func(done, total int64)) error {
	return verify(disk{}, path, progress)
}

func verify(sys system, path string, progress progress) error {
	r, err := open(sys, path)
	if err != nil {
		return err
	}
	return errors.Join(r.verify(progress), r.file.Close())
}

// reader is a file that is read.
type reader struct {
	path   string
	file   file
	header *safetensors.Header
	sums   []uint32 // of header.Tensors; nil where the file has none
	dict   optim.StateDict
}

func read(sys system, path string, progress progress) (*optim.StateDict, file, error) {
	r, err := open(sys, path)
	if err != nil {
		return nil, nil, err
	}
	r.dict.VerifyWith(func() error { return r.verify(progress) })
	return &r.dict, r.file, nil
}

// open reads all of a file but its tensors.
func open(sys system, path string) (*reader, error) {
	f, err := sys.open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: read: %w", err)
	}
	r := &reader{path: path, file: f}
	info, err := f.Stat()
	var raw []byte
	if err == nil && info.IsDir() {
		err = &safetensors.Error{Faults: []safetensors.Fault{{What: "it is a folder"}}}
	}
	if err == nil {
		r.header, raw, err = safetensors.Read(f, info.Size())
	}
	if e, ok := errors.AsType[*safetensors.Error](err); ok {
		err = faulty(r.path, e.Faults)
	} else if err != nil {
		err = fmt.Errorf("checkpoint: read %s: %w", path, err)
	} else {
		err = faulty(r.path, r.interpret(raw))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// interpret checks the header, and makes the dict of it.
func (r *reader) interpret(raw []byte) []safetensors.Fault {
	whole := func(format string, a ...any) []safetensors.Fault {
		return []safetensors.Fault{{What: fmt.Sprintf(format, a...)}}
	}
	if kind, ok := r.header.Get(keyFormat); !ok || kind != fileFormat {
		return whole("the metadata's %q is %q, not %q: it is another program's", keyFormat, kind, fileFormat)
	}
	sums, ok := r.header.Get(keyChecksums)
	if !ok {
		return whole("the metadata has no %q, not even %q", keyChecksums, noChecksums)
	}
	if own, has := r.header.Get(keyCRC); sums != noChecksums || has {
		switch at := ownSum(raw); {
		case at == nil:
			return whole("the header does not begin with its checksum, %s…", headerStart)
		case own != fmt.Sprintf("%08x", headerSum(raw)):
			return whole("the header's checksum is %s, and of what is there %08x", own, headerSum(raw))
		}
	}
	var faults []safetensors.Fault
	if sums != noChecksums {
		if faults = r.readSums(sums); faults != nil {
			return faults
		}
	}
	dict, ok := r.header.Get(keyDict)
	if !ok {
		return whole("the metadata has no %q", keyDict)
	}
	err := safetensors.Scan([]byte(dict), (*safetensors.Scanner).Skip)
	if err == nil {
		err = json.Unmarshal([]byte(dict), &r.dict)
	}
	if err != nil {
		return whole("the metadata's %q is not as it should be: %v", keyDict, err)
	}
	return r.fill()
}

// readSums reads the tensors' checksums, of which there must be one each.
func (r *reader) readSums(text string) (faults []safetensors.Fault) {
	index := map[string]int{}
	for i, t := range r.header.Tensors {
		index[t.Name] = i
	}
	r.sums = make([]uint32, len(r.header.Tensors))
	err := safetensors.Scan([]byte(text), func(s *safetensors.Scanner) error {
		return s.Object(func(name string) error {
			text, err := s.String()
			if err != nil {
				return err
			}
			i, known := index[name]
			sum, ok := parseSum(text)
			if known && ok {
				r.sums[i] = sum
				delete(index, name)
				return nil
			}
			faults = append(faults, safetensors.Fault{Tensor: name, What: fmt.Sprintf("has the checksum %q, which is of no tensor, or no checksum", text)})
			return nil
		})
	})
	if err != nil {
		faults = append(faults, safetensors.Fault{What: fmt.Sprintf("the metadata's %q are not as they should be: %v", keyChecksums, err)})
	}
	for _, t := range r.header.Tensors {
		if _, left := index[t.Name]; left && err == nil {
			faults = append(faults, safetensors.Fault{Tensor: t.Name, What: "has no checksum"})
		}
	}
	return faults
}

// fill gives the dict's tensors their numbers.
func (r *reader) fill() (faults []safetensors.Fault) {
	names := tensorNames(&r.dict)
	for _, t := range r.dict.Tensors() {
		if names[t.Name] != t {
			return []safetensors.Fault{{Tensor: t.Name, What: "stands twice in the state"}}
		}
	}
	for _, x := range r.header.Tensors {
		fault := func(format string, a ...any) {
			faults = append(faults, safetensors.Fault{Tensor: x.Name, What: fmt.Sprintf(format, a...)})
		}
		t, slot := split(x.Name, names)
		if t == nil {
			fault("belongs to no tensor of the state")
			continue
		}
		kind, err := device.ParseDType(strings.ToLower(x.DType))
		if err != nil || dtype(kind) != x.DType {
			fault("is of %s, not of F64, F32, BF16, F16, I16 or I8", x.DType)
			continue
		}
		if !slices.Equal(x.Shape, t.Shape) && !part(x.Shape, t.Shape) {
			fault("has the shape %v, and the state's tensor %q %v", x.Shape, t.Name, t.Shape)
			continue
		}
		elements, _ := safetensors.Elements(x.Shape)
		if elements != int64(int(elements)) {
			fault("has %d elements, too many for this system", elements)
			continue
		}
		from, size := r.header.Data+x.From, int64(kind.Size())
		t.Numbers = append(t.Numbers, optim.NewNumbers(slot, kind, int(elements), func(lo int, to []byte) error {
			if err := safetensors.ReadAt(r.file, to, from+int64(lo)*size); err != nil {
				return fmt.Errorf("checkpoint: read %s: tensor %q: %w", r.path, x.Name, err)
			}
			return nil
		}))
	}
	return faults
}

// part says whether a shape can be that of what a tensor has once, or each of its rows or columns: one axis, which divides the elements.
func part(shape, tensor []int) bool {
	elements, ok := safetensors.Elements(tensor)
	return len(shape) == 1 && (shape[0] == 1 || ok && shape[0] > 0 && elements%int64(shape[0]) == 0)
}

// verify reads all tensors and compares their checksums.
func (r *reader) verify(progress progress) error {
	total := r.header.Size() - r.header.Data
	if r.sums == nil {
		return nil
	}
	sums := make([]uint32, len(r.sums))
	unread := make([]error, len(r.sums))
	at := cursor{tensors: r.header.Tensors}
	errs := make(chan error, chunks+1)
	err := pipe(total, func(b []byte, at int64) error {
		errs <- safetensors.ReadAt(r.file, b, r.header.Data+at)
		return nil
	}, func(b []byte, done int64) error {
		progress.report(done, total)
		failed := <-errs
		return at.each(b, func(i int, _ int64, part []byte) error {
			if failed != nil && unread[i] == nil {
				unread[i] = failed
			}
			sums[i] = crc32.Update(sums[i], castagnoli, part)
			return nil
		})
	})
	if err != nil {
		return err
	}
	var faults []safetensors.Fault
	for i, t := range r.header.Tensors {
		switch {
		case unread[i] != nil:
			faults = append(faults, safetensors.Fault{Tensor: t.Name, What: fmt.Sprintf("cannot be read: %v", unread[i])})
		case sums[i] != r.sums[i]:
			faults = append(faults, safetensors.Fault{Tensor: t.Name, What: fmt.Sprintf("has the checksum %08x, and should have %08x", sums[i], r.sums[i])})
		}
	}
	if err := faulty(r.path, faults); err != nil {
		return err
	}
	progress.report(total, total)
	return nil
}
