package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// file is a safetensors file of a header's text and so many bytes of data.
func file(text string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(b, text...), make([]byte, data)...)
}

func read(b []byte) (*Header, error) {
	h, _, err := Read(bytes.NewReader(b), int64(len(b)))
	return h, err
}

const two = `{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"y":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}`

var good = map[string]struct {
	text string
	data int
}{
	"two tensors":          {two, 10},
	"nothing":              {"{}", 0},
	"padding":              {"{} \t\r\n", 0},
	"no order":             {`{"y":{"data_offsets":[8,10],"shape":[1],"dtype":"I16"},"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}`, 10},
	"no elements":          {`{"x":{"dtype":"F32","shape":[0,2147483647],"data_offsets":[0,0]},"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1},
	"an unknown type":      {`{"x":{"dtype":"Q3","shape":[5],"data_offsets":[0,2]}}`, 2},
	"half bytes":           {`{"x":{"dtype":"F4","shape":[6],"data_offsets":[0,3]}}`, 3},
	"escapes in names":     {`{"\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1},
	"metadata of no texts": {`{"__metadata__":{}}`, 0},
}

func TestRead(t *testing.T) {
	h, err := read(file(two, 10))
	require.NoError(t, err)
	require.Equal(t, &Header{[]Entry{{"a", "b"}}, []Tensor{{"x", "F32", []int{2, 1}, 0, 8}, {"y", "BF16", []int{}, 8, 10}}, int64(8 + len(two))}, h)
	v, ok := h.Get("a")
	require.True(t, ok)
	require.Equal(t, "b", v)
	_, ok = h.Get("b")
	require.False(t, ok)
	for name, c := range good {
		t.Run(name, func(t *testing.T) {
			h, err := read(file(c.text, c.data))
			require.NoError(t, err)
			same(t, h, int64(8+len(c.text)+c.data))
		})
	}
	h, err = read(file(good["escapes in names"].text, 1))
	require.NoError(t, err)
	require.Equal(t, "é😀\"\\/\b\f\n\r\t", h.Tensors[0].Name)
}

// same holds that a header that was read can be written, and is read again as it was.
func same(t *testing.T, h *Header, size int64) {
	require.Equal(t, size, h.Size())
	again := &Header{h.Metadata, h.Tensors, 0}
	raw, err := again.Marshal()
	require.NoError(t, err)
	require.Zero(t, len(raw)%8)
	require.True(t, json.Valid(raw[8:]), "%s", raw[8:])
	read, err := Parse(raw, again.Size())
	require.NoError(t, err)
	require.Equal(t, again, read)
}

// one is a header with one tensor.
func one(dtype, shape, offsets string) string {
	return fmt.Sprintf(`{"x":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
}

var bad = map[string]struct {
	file []byte
	want string
}{
	"no bytes":             {nil, "the file has 0 bytes, fewer than a header's length takes"},
	"half a length":        {make([]byte, 7), "the file has 7 bytes, fewer than a header's length takes"},
	"no header":            {make([]byte, 8), "the header does not begin with a brace"},
	"a header of 2 GB":     {binary.LittleEndian.AppendUint64(nil, 2<<30), "the header's length is 2147483648 bytes, more than 100000000"},
	"a length of 2^64-1":   {bytes.Repeat([]byte{255}, 8), "the header's length is 18446744073709551615 bytes, more than 100000000"},
	"truncated header":     {file(two, 0)[:40], "the header's length is 135 bytes, and the file has 32 behind it"},
	"truncated":            {file(two, 9), `tensor "y" ends at byte 10 of the data, and the file has 9`},
	"nothing of it":        {file(two, 0), `tensor "x" ends at byte 8 of the data, and the file has 0; tensor "y" ends at byte 10 of the data, and the file has 0`},
	"trailing bytes":       {file(two, 12), "the file has 2 bytes behind the last tensor"},
	"space before":         {file(" {}", 0), "the header does not begin with a brace"},
	"an array":             {file("[]", 0), "the header does not begin with a brace"},
	"two values":           {file("{}{}", 0), "byte 2: something stands behind the end of the JSON"},
	"no end":               {file(`{"x":`, 0), "byte 5: the text ends, where an object should stand"},
	"half a name":          {file(`{"x`, 0), "byte 3: the text ends within a string"},
	"no colon":             {file(`{"x" 1}`, 0), `byte 5: '1' stands where a colon should`},
	"a comma too many":     {file(`{"__metadata__":{},}`, 0), `byte 19: '}' stands where a string should`},
	"no comma":             {file(`{"__metadata__":{}"x"}`, 0), `stands where a comma or the object's end should`},
	"twice":                {file(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{}}`, 0), `the key "x" stands twice`},
	"twice by an escape":   {file(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0078":{}}`, 0), `the key "x" stands twice`},
	"metadata twice":       {file(`{"__metadata__":{},"__metadata__":{}}`, 0), `the key "__metadata__" stands twice`},
	"a text twice":         {file(`{"__metadata__":{"a":"1","a":"2"}}`, 0), `the key "a" stands twice`},
	"a number for a text":  {file(`{"__metadata__":{"a":1}}`, 0), `'1' stands where a string should`},
	"a type twice":         {file(`{"x":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}`, 0), `the key "dtype" stands twice`},
	"an unknown key":       {file(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"strides":[1]}}`, 0), `tensor "x" has the key "strides", which is none of`},
	"no shape":             {file(`{"x":{"dtype":"U8","data_offsets":[0,0]}}`, 0), `tensor "x" has not all of dtype, shape and data_offsets`},
	"no tensor":            {file(`{"x":null}`, 0), `'n' stands where an object should`},
	"no type":              {file(one(`7`, `[0]`, `[0,0]`), 0), `'7' stands where a string should`},
	"NaN":                  {file(one(`"U8"`, `[NaN]`, `[0,0]`), 0), `is no number`},
	"Infinity":             {file(one(`"U8"`, `[0]`, `[0,Infinity]`), 0), `is no number`},
	"a negative dimension": {file(one(`"U8"`, `[-1]`, `[0,0]`), 0), `-1 is no whole number from 0`},
	"minus zero":           {file(one(`"U8"`, `[-0]`, `[0,0]`), 0), `-0 is no whole number from 0`},
	"a fraction":           {file(one(`"U8"`, `[1.0]`, `[0,1]`), 1), `1.0 is no whole number from 0`},
	"a power":              {file(one(`"U8"`, `[1e0]`, `[0,1]`), 1), `1e0 is no whole number from 0`},
	"a leading zero":       {file(one(`"U8"`, `[01]`, `[0,1]`), 1), `is no number`},
	"2^63":                 {file(one(`"U8"`, `[9223372036854775808]`, `[0,0]`), 0), `9223372036854775808 is no whole number from 0 to 9223372036854775807`},
	"a product of 2^64":    {file(one(`"U8"`, `[65536,65536,65536,65536]`, `[0,0]`), 0), `has the shape [65536 65536 65536 65536], which is no whole number of bytes below 2^63`},
	"bits beyond 2^64":     {file(one(`"F64"`, `[1152921504,1073741824,2]`, `[0,0]`), 0), `which is no whole number of bytes below 2^63`},
	"unknown and too many": {file(one(`"Q3"`, `[2147483647,2147483647,4]`, `[0,0]`), 0), `is 2^63 elements or more`},
	"half a byte":          {file(one(`"F4"`, `[3]`, `[0,1]`), 1), `no whole number of bytes`},
	"too few bytes":        {file(one(`"F32"`, `[2]`, `[0,4]`), 4), `tensor "x" of F32 and shape [2] takes 8 bytes, and has 4`},
	"backwards":            {file(one(`"F32"`, `[1]`, `[4,0]`), 0), `tensor "x" ends at byte 0, before it begins at byte 4`},
	"one offset":           {file(one(`"U8"`, `[0]`, `[0]`), 0), `tensor "x" has 1 data_offsets, not 2`},
	"three offsets":        {file(one(`"U8"`, `[0]`, `[0,0,0]`), 0), `tensor "x" has 3 data_offsets, not 2`},
	"a hole":               {file(one(`"U8"`, `[1]`, `[1,2]`), 2), `tensor "x" begins at byte 1, and what is before it from byte 0 on belongs to no tensor`},
	"an overlap":           {file(`{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, 4), `tensor "y" begins at byte 2, where "x" lies up to byte 4`},
	"the same bytes":       {file(`{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4), `tensor "y" begins at byte 0, where "x" lies up to byte 4`},
	"no UTF-8":             {file("{\"\xff\":{}}", 0), `a string is no UTF-8`},
	"half a surrogate":     {file(`{"\ud800":{}}`, 0), `a string has a backslash before what is no escape`},
	"two high surrogates":  {file(`{"\ud800\ud800":{}}`, 0), `a string has a backslash before what is no escape`},
	"an unknown escape":    {file(`{"\x":{}}`, 0), `a string has a backslash before what is no escape`},
	"a control character":  {file("{\"a\nb\":{}}", 0), `a string has the control character 0x0a`},
	"everything at once":   {file(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[2,4]},"y":{"dtype":"I8","shape":[1],"data_offsets":[6,4]}}`, 5), `tensor "x" begins at byte 2, and what is before it from byte 0 on belongs to no tensor; tensor "x" of U8 and shape [1] takes 1 bytes, and has 2; tensor "y" ends at byte 4, before it begins at byte 6; the file has 1 bytes behind the last tensor`},
}

func TestReadRefuses(t *testing.T) {
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := read(c.file)
			_, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%T", err)
			require.Contains(t, err.Error(), c.want)
		})
	}
}

// What is wrong with a reader is its error, and nothing of the file's.
func TestReadPassesErrorsOn(t *testing.T) {
	_, err := read(file(two, 10))
	require.NoError(t, err)
	for _, size := range []int64{8, 20, 1 << 40} {
		_, _, err = Read(strings.NewReader("1234567"), size)
		_, ok := errors.AsType[*Error](err)
		require.Error(t, err)
		require.False(t, ok, "%v", err)
	}
}

func TestMarshalRefuses(t *testing.T) {
	byte1 := []Tensor{{"x", "U8", []int{1}, 0, 1}}
	for name, c := range map[string]struct {
		h    Header
		want string
	}{
		"no UTF-8":        {Header{Tensors: []Tensor{{"\xff", "U8", []int{1}, 0, 1}}}, "no UTF-8"},
		"no UTF-8, quote": {Header{Metadata: []Entry{{"a\":\"b\",\"c\xff", ""}}}, "no UTF-8"},
		"twice":           {Header{Tensors: append(byte1, Tensor{"x", "U8", []int{1}, 1, 2})}, `the key "x" stands twice`},
		"a negative":      {Header{Tensors: []Tensor{{"x", "U8", []int{-1}, 0, 1}}}, "-1 is no whole number"},
		"a hole":          {Header{Tensors: []Tensor{{"x", "U8", []int{1}, 1, 2}}}, "belongs to no tensor"},
		"too long":        {Header{Metadata: []Entry{{"a", strings.Repeat("a", MaxHeader)}}}, "more than 100000000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.h.Marshal()
			require.ErrorContains(t, err, c.want)
		})
	}
	require.ErrorContains(t, Place([]Tensor{{Name: "x", DType: "F4", Shape: []int{3}}}), "no number of bytes")
	require.ErrorContains(t, Place([]Tensor{{Name: "x", DType: "F64", Shape: []int{1 << 30, 1 << 30, 1}}, {Name: "y", DType: "U8", Shape: []int{1 << 30, 1 << 30, 1 << 3}}}), "no number of bytes")
}

func TestPlace(t *testing.T) {
	tensors := []Tensor{{Name: "x", DType: "F32", Shape: []int{2, 3}}, {Name: "y", DType: "I8", Shape: []int{}}, {Name: "z", DType: "BF16", Shape: []int{0}}}
	require.NoError(t, Place(tensors))
	require.Equal(t, []Tensor{{"x", "F32", []int{2, 3}, 0, 24}, {"y", "I8", []int{}, 24, 25}, {"z", "BF16", []int{0}, 25, 25}}, tensors)
}

func TestScan(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":[1,-2.5e+3,true,false,null,"x",{}],"b":{"a":1}}`: "",
		`[]`:                        "",
		`{"a":[{"b":1,"b":2}]}`:     `byte 16: the key "b" stands twice`,
		`[NaN]`:                     "is no number",
		`[-Infinity]`:               "is no number",
		`[1.]`:                      "is no number",
		`[1e]`:                      "is no number",
		`[+1]`:                      "is no number",
		`[truer]`:                   "stands where a comma or the array's end should",
		`[1,]`:                      "is no number",
		``:                          "the text ends, where a value should stand",
		`1 2`:                       "something stands behind the end",
		strings.Repeat("[", 100000): "more than 100 objects and arrays stand in each other",
	} {
		err := Scan([]byte(text), (*Scanner).Skip)
		if want == "" {
			require.NoError(t, err, text)
			require.True(t, json.Valid([]byte(text)))
		} else {
			require.ErrorContains(t, err, want, text[:min(20, len(text))])
		}
	}
}

// FuzzHeader reads any bytes as a file. What is read can be written and is read again; what encoding/json refuses is refused.
func FuzzHeader(f *testing.F) {
	for _, c := range good {
		f.Add(file(c.text, c.data))
	}
	for _, c := range bad {
		f.Add(c.file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, raw, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			_, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%v", err)
			require.NotEmpty(t, err.Error())
			return
		}
		require.True(t, json.Valid(raw[8:]))
		at := h.Data
		names := map[string]bool{}
		for _, x := range h.Tensors {
			require.Equal(t, at, h.Data+x.From)
			require.False(t, names[x.Name])
			names[x.Name] = true
			if n := Bits[x.DType]; n > 0 {
				elements, ok := Elements(x.Shape)
				require.True(t, ok)
				require.Equal(t, (x.To-x.From)*8, elements*int64(n))
			}
			at = h.Data + x.To
		}
		require.Equal(t, int64(len(b)), at)
		same(t, h, int64(len(b)))
	})
}
