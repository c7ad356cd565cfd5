package checkpoint

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// The metadata's keys, and their values where these are always the same.
const (
	keyFormat    = "format"
	keyCRC       = "crc32c" // of the header
	keyChecksums = "checksums"
	keyDict      = "fusestep" // the state dict

	fileFormat  = "fusestep-1"
	noChecksums = "none"
	noCRC       = "00000000"
)

// headerStart is what a header with checksums begins with, up to the header's own. It stands behind the 8 bytes of the header's length.
const headerStart = `{"__metadata__":{"` + keyCRC + `":"`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Save writes an optimizer to a file, which is replaced if there is one. It waits for the stream, nil for the default one, and for that of the last step, and reads what is on the
// device chunk by chunk, for which it takes 8 MiB of memory, and some for the header. An error of the file is a SaveError. It removes what writers that were
// killed have left in the folder: files whose names end in .fusestep-tmp, and that no process holds a lock on.
//
// Progress functions are called as the bytes of tensors are written, in the caller's goroutine: done is total once, at the end, when the file is in its
// place.
func Save(path string, o *optim.Optimizer, s *device.Stream, progress ...func(done, total int64)) error {
	d, err := o.LiveStateDict(s)
	if err != nil {
		return err
	}
	return SaveDict(path, d, progress...)
}

// SaveDict is Save for a state dict. A snapshot, which Optimizer.StateDict makes, can be saved in another goroutine while the training goes on: Saver
// does that.
func SaveDict(path string, d *optim.StateDict, progress ...func(done, total int64)) error {
	return save(disk{}, path, d, progress)
}

func save(sys system, path string, d *optim.StateDict, progress progress) error {
	l, err := layOut(d)
	if err != nil {
		return fmt.Errorf("checkpoint: save %s: %w: nothing was written", path, err)
	}
	if err := replace(sys, path, func(f file) error { return l.write(f, progress) }); err != nil {
		return err
	}
	progress.report(l.total(), l.total())
	return nil
}

// progress is told how far a save or load is.
type progress []func(done, total int64)

func (p progress) report(done, total int64) {
	for _, f := range p {
		f(done, total)
	}
}

// layout is a file to be written.
type layout struct {
	header  safetensors.Header
	numbers []optim.Numbers // of header.Tensors, by index
	dict    string
	raw     []byte // the header, with zeros for checksums
}

// dtype is the format's name for a type.
func dtype(t device.DType) string { return strings.ToUpper(t.Short()) }

// layOut finds where everything of a dict goes.
func layOut(d *optim.StateDict) (*layout, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	l := &layout{dict: string(text)}
	names := tensorNames(d)
	for _, t := range d.Tensors() {
		if !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("tensor %q: the name is no UTF-8", t.Name)
		}
		for _, n := range t.Numbers {
			name := t.Name + "." + n.Slot
			if tensor, slot := split(name, names); tensor != t || slot != n.Slot {
				return nil, fmt.Errorf("slot %q of tensor %q would be read as slot %q of tensor %q", n.Slot, t.Name, slot, tensor.Name)
			}
			shape := t.Shape
			if elements, ok := safetensors.Elements(shape); !ok || elements != int64(n.Len) {
				if shape = []int{n.Len}; !ok || !part(shape, t.Shape) {
					return nil, fmt.Errorf("tensor %q: %s has %d elements, the shape is %v", t.Name, n.Slot, n.Len, t.Shape)
				}
			}
			l.header.Tensors = append(l.header.Tensors, safetensors.Tensor{Name: name, DType: dtype(n.DType), Shape: shape})
			l.numbers = append(l.numbers, n)
		}
	}
	l.sort()
	if err := safetensors.Place(l.header.Tensors); err != nil {
		return nil, err
	}
	l.raw, err = l.marshal()
	return l, err
}

// sort puts wide elements first. So each tensor, and each chunk of a pipe, begins at a whole element, and readers may map files into memory.
func (l *layout) sort() {
	order := make([]int, len(l.numbers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return l.numbers[j].DType.Size() - l.numbers[i].DType.Size() })
	tensors, numbers := l.header.Tensors, l.numbers
	l.header.Tensors, l.numbers = nil, nil
	for _, i := range order {
		l.header.Tensors, l.numbers = append(l.header.Tensors, tensors[i]), append(l.numbers, numbers[i])
	}
}

// total is how many bytes the tensors have.
func (l *layout) total() int64 { return l.header.Size() - l.header.Data }

// marshal is the header with zeros for checksums.
func (l *layout) marshal() ([]byte, error) {
	var b strings.Builder
	for _, t := range l.header.Tensors {
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		b.WriteString("," + string(name) + `:"` + noCRC + `"`)
	}
	checksums := "{" + strings.TrimPrefix(b.String(), ",") + "}"
	l.header.Metadata = []safetensors.Entry{{Key: keyCRC, Value: noCRC}, {Key: keyFormat, Value: fileFormat}, {Key: keyChecksums, Value: checksums}, {Key: keyDict, Value: l.dict}}
	return l.header.Marshal()
}

// seal puts the tensors' checksums and its own into a header that has zeros for them.
func seal(raw []byte, sums []uint32) {
	const zero = `:\"` + noCRC + `\"` // of a tensor; in a name both quotes would have more backslashes
	at := bytes.Index(raw, []byte(`"`+keyChecksums+`":"{`))
	for _, sum := range sums {
		at += bytes.Index(raw[at:], []byte(zero)) + len(zero)
		copy(raw[at-len(noCRC)-2:], fmt.Appendf(nil, "%08x", sum))
	}
	copy(ownSum(raw), fmt.Appendf(nil, "%08x", crc32.Checksum(raw, castagnoli)))
}

// ownSum is where a header has its own checksum, nil where it does not begin as it should.
func ownSum(raw []byte) []byte {
	at := 8 + len(headerStart)
	if len(raw) < at+len(noCRC) || string(raw[8:at]) != headerStart {
		return nil
	}
	return raw[at : at+len(noCRC)]
}

// headerSum is the header's checksum, computed.
func headerSum(raw []byte) uint32 {
	raw = slices.Clone(raw)
	copy(ownSum(raw), noCRC)
	return crc32.Checksum(raw, castagnoli)
}

// parseSum reads a checksum, 8 hexadecimal digits in lower case.
func parseSum(text string) (sum uint32, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 4 || text != strings.ToLower(text) {
		return 0, false
	}
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]), true
}

// write writes the tensors, and then, as their checksums are known, the header before them.
func (l *layout) write(f file, progress progress) error {
	sums := make([]uint32, len(l.numbers))
	at := cursor{tensors: l.header.Tensors}
	err := pipe(l.total(), func(b []byte, _ int64) error {
		return at.each(b, func(i int, from int64, part []byte) error {
			n := l.numbers[i]
			if err := n.Read(int(from/int64(n.DType.Size())), part); err != nil {
				return fmt.Errorf("tensor %q: %w", l.header.Tensors[i].Name, err)
			}
			sums[i] = crc32.Update(sums[i], castagnoli, part)
			return nil
		})
	}, func(b []byte, at int64) error {
		progress.report(at, l.total())
		_, err := f.WriteAt(b, l.header.Data+at)
		return err
	})
	if err != nil {
		return err
	}
	seal(l.raw, sums)
	_, err = f.WriteAt(l.raw, 0)
	return err
}

// cursor walks over the bytes of tensors that lie one behind the other.
type cursor struct {
	tensors []safetensors.Tensor
	at      int64
	i       int
}

// each goes over the next bytes: part belongs to tensor i, from its byte from on.
func (c *cursor) each(b []byte, f func(i int, from int64, part []byte) error) error {
	for len(b) > 0 {
		for c.tensors[c.i].To <= c.at {
			c.i++
		}
		t := &c.tensors[c.i]
		n := min(int64(len(b)), t.To-c.at)
		if err := f(c.i, c.at-t.From, b[:n]); err != nil {
			return err
		}
		b, c.at = b[n:], c.at+n
	}
	return nil
}

// tensorNames are a dict's tensors by their names.
func tensorNames(d *optim.StateDict) map[string]*optim.TensorState {
	out := map[string]*optim.TensorState{}
	for _, t := range d.Tensors() {
		out[t.Name] = t
	}
	return out
}

// split finds the tensor that a name in a file belongs to, that with the longest name, and the slot. It returns nil if there is none.
func split(name string, tensors map[string]*optim.TensorState) (*optim.TensorState, string) {
	for dot := strings.LastIndexByte(name, '.'); dot >= 0; dot = strings.LastIndexByte(name[:dot], '.') {
		if t := tensors[name[:dot]]; t != nil {
			return t, name[dot+1:]
		}
	}
	return nil, ""
}
