package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

// The Python of docs/checkpoints.md reads a checkpoint as Go does.
func TestPython(t *testing.T) {
	if err := exec.Command("python3", "-c", "import numpy").Run(); err != nil {
		t.Skip("there is no python3 with numpy")
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "checkpoints.md"))
	require.NoError(t, err)
	reader := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(doc)
	require.NotNil(t, reader)
	lines := strings.Split(strings.TrimSpace(string(reader[1])), "\n")
	require.LessOrEqual(t, len(lines), 15)
	x := newTraining(t, 1).step(t, 3)
	path := filepath.Join(t.TempDir(), "x.safetensors")
	require.NoError(t, Save(path, x.Optimizer, nil))
	c := exec.Command("python3", "-c", string(reader[1])+`
import hashlib, sys
state, tensors = read(sys.argv[1])
print(state["steps"], *[t["name"] for g in state["groups"] for t in g["tensors"]])
for name in sorted(tensors):
    print(name, list(tensors[name].shape), hashlib.sha256(tensors[name].tobytes()).hexdigest())
`, path)
	c.Stderr = os.Stderr
	out, err := c.Output()
	require.NoError(t, err)

	d, f, err := Read(path)
	require.NoError(t, err)
	defer f.Close()
	var want []string
	first := "3"
	for _, x := range d.Tensors() {
		first += " " + x.Name
		for _, n := range x.Numbers {
			b := make([]byte, n.Len*n.DType.Size())
			require.NoError(t, n.Read(0, b))
			if n.DType == device.BFloat16 {
				wide := make([]byte, 2*len(b))
				for i := range n.Len {
					binary.LittleEndian.PutUint16(wide[4*i+2:], binary.LittleEndian.Uint16(b[2*i:]))
				}
				b = wide
			}
			want = append(want, fmt.Sprintf("%s.%s %v %x", x.Name, n.Slot, x.Shape, sha256.Sum256(b)))
		}
	}
	slices.Sort(want)
	require.Equal(t, append([]string{first}, want...), strings.Split(strings.TrimSpace(string(out)), "\n"))
}
