package optim_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

// The table of docs/numerics.md is what the backends say of themselves. Without CUDA there is no GPU to ask: its rows stay as they are.
func TestStorageTable(t *testing.T) {
	const file, ofGPU = "../docs/numerics.md", "| NVIDIA GPU |"
	var b strings.Builder
	b.WriteString("| Device | Computes in | Holds in memory |\n|---|---|---|\n")
	dev := cpu.NewThreads(1)
	defer dev.Close()
	storageRows(&b, "| CPU |", dev)
	if gpu.Built {
		dev, err := gpu.Open("emu")
		require.NoError(t, err)
		defer dev.Device().Close()
		storageRows(&b, ofGPU, dev)
	} else {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, ofGPU) {
				b.WriteString(line)
			}
		}
	}
	generated(t, file, "the table of Backend.Storage", b.String())
}

func storageRows(b *strings.Builder, row string, backend kernels.Backend) {
	for _, compute := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
		var names []string
		for _, s := range backend.Storage(compute) {
			names = append(names, s.String())
		}
		if names != nil {
			fmt.Fprintf(b, "%s %s | %s |\n", row, compute, strings.Join(names, ", "))
		}
	}
}
