// Package safetensors reads and writes headers of safetensors files, and the index of a model in several of them. It trusts nothing that it
// reads. A file is the header's length as 8 bytes, the lowest first, the header, which is JSON, and the tensors' bytes.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxHeader is the longest header in bytes, as in the format's reference implementation.
const MaxHeader = 100_000_000

const metadata = "__metadata__"

// Header says what a file holds.
type Header struct {
	Metadata []Entry
	Tensors  []Tensor // in the order of their bytes
	Data     int64    // where in the file the tensors' bytes begin
}

// Entry is a text of the metadata.
type Entry struct{ Key, Value string }

// Tensor is the description of one tensor.
type Tensor struct {
	Name     string
	DType    string // "F32", "BF16"; one that is not in Bits is kept, and its size is not checked
	Shape    []int
	From, To int64 // its bytes, counted from Header.Data
}

// Fault is something that is wrong with a file. Tensor is empty where it is the file as a whole.
type Fault struct{ Tensor, What string }

// Error is all that is wrong with a header, or the first thing if that is in its JSON.
type Error struct{ Faults []Fault }

func (f Fault) String() string {
	if f.Tensor == "" {
		return f.What
	}
	return fmt.Sprintf("tensor %q %s", f.Tensor, f.What)
}

func (e *Error) Error() string {
	var texts []string
	for _, f := range e.Faults {
		texts = append(texts, f.String())
	}
	return strings.Join(texts, "; ")
}

func fault(format string, a ...any) error {
	return &Error{[]Fault{{What: fmt.Sprintf(format, a...)}}}
}

// Get is the metadata's text for a key.
func (h *Header) Get(key string) (string, bool) {
	for _, e := range h.Metadata {
		if e.Key == key {
			return e.Value, true
		}
	}
	return "", false
}

// Size is that of the whole file.
func (h *Header) Size() int64 {
	size := h.Data
	for _, t := range h.Tensors {
		size = max(size, h.Data+t.To)
	}
	return size
}

// Read reads the header of a file of some size, and gives its bytes too, those of its length included. What is wrong with the file is an
// Error; an error of r's is not.
func Read(r io.ReaderAt, size int64) (*Header, []byte, error) {
	var length [8]byte
	if size < int64(len(length)) {
		return nil, nil, fault("the file has %d bytes, fewer than a header's length takes", size)
	}
	if err := ReadAt(r, length[:], 0); err != nil {
		return nil, nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	switch {
	case n > MaxHeader:
		return nil, nil, fault("the header's length is %d bytes, more than %d", n, MaxHeader)
	case int64(n) > size-8:
		return nil, nil, fault("the header's length is %d bytes, and the file has %d behind it", n, size-8)
	}
	raw := make([]byte, 8+n)
	if err := ReadAt(r, raw, 0); err != nil {
		return nil, nil, err
	}
	h, err := Parse(raw, size)
	return h, raw, err
}

// ReadAt fills b, or fails.
func ReadAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Parse reads a header, which stands behind the 8 bytes of its length, of a file of some size. What is wrong is an Error.
func Parse(raw []byte, size int64) (*Header, error) {
	h := &Header{Data: int64(len(raw))}
	text := raw[8:]
	if len(text) == 0 || text[0] != '{' {
		return nil, fault("the header does not begin with a brace")
	}
	err := Scan(text, func(s *Scanner) error {
		return s.Object(func(key string) error {
			if key == metadata {
				return s.Object(func(key string) error {
					value, err := s.String()
					h.Metadata = append(h.Metadata, Entry{key, value})
					return err
				})
			}
			t, err := tensor(s, key)
			h.Tensors = append(h.Tensors, t)
			return err
		})
	})
	if err != nil {
		return nil, fault("the header is not as it should be: %v", err)
	}
	slices.SortStableFunc(h.Tensors, func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	if faults := h.check(size - h.Data); faults != nil {
		return nil, &Error{faults}
	}
	return h, nil
}

// tensor reads a tensor's description.
func tensor(s *Scanner, name string) (t Tensor, err error) {
	t.Name, t.Shape = name, []int{}
	found := 0
	err = s.Object(func(key string) (err error) {
		found++
		switch key {
		case "dtype":
			t.DType, err = s.String()
		case "shape":
			err = s.Array(func() error {
				n, err := s.Integer()
				if err == nil && n > math.MaxInt {
					err = s.errorf("%d elements are too many for this system", n)
				}
				t.Shape = append(t.Shape, int(n))
				return err
			})
		case "data_offsets":
			var offsets []int64
			err = s.Array(func() error {
				n, err := s.Integer()
				offsets = append(offsets, n)
				return err
			})
			if err == nil && len(offsets) != 2 {
				err = s.errorf("tensor %q has %d data_offsets, not 2", name, len(offsets))
			}
			if err == nil {
				t.From, t.To = offsets[0], offsets[1]
			}
		default:
			err = s.errorf("tensor %q has the key %q, which is none of dtype, shape and data_offsets", name, key)
		}
		return err
	})
	if err == nil && found != 3 {
		err = s.errorf("tensor %q has not all of dtype, shape and data_offsets", name)
	}
	return t, err
}

// Marshal is the header as bytes, those of its length included. It is padded with spaces, so that Data is a multiple of 8, and sets Data.
// It fails with an Error where Parse would.
func (h *Header) Marshal() ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	comma := ""
	if len(h.Metadata) > 0 {
		comma = ","
		b.WriteString(`"` + metadata + `":{`)
		for i, e := range h.Metadata {
			if i > 0 {
				b.WriteByte(',')
			}
			quote(&b, e.Key)
			b.WriteByte(':')
			quote(&b, e.Value)
		}
		b.WriteByte('}')
	}
	for _, t := range h.Tensors {
		b.WriteString(comma)
		comma = ","
		quote(&b, t.Name)
		b.WriteString(`:{"dtype":`)
		quote(&b, t.DType)
		fmt.Fprintf(&b, `,"shape":[%s],"data_offsets":[%d,%d]}`, strings.ReplaceAll(strings.Trim(fmt.Sprint(t.Shape), "[]"), " ", ","), t.From, t.To)
	}
	b.WriteByte('}')
	b.WriteString("        "[:(-b.Len())&7])
	if b.Len()-8 > MaxHeader {
		return nil, fault("the header would have %d bytes, more than %d", b.Len()-8, MaxHeader)
	}
	raw := b.Bytes()
	binary.LittleEndian.PutUint64(raw, uint64(len(raw)-8))
	h.Data = int64(len(raw))
	_, err := Parse(raw, h.Size())
	return raw, err
}

// quote writes a string as JSON. What is no UTF-8 stays so, and Parse refuses it.
func quote(b *bytes.Buffer, s string) {
	if !utf8.ValidString(s) {
		b.WriteString(`"` + s + `"`)
		return
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string has no error
	}
	b.Truncate(b.Len() - 1) // the end of the line
}
