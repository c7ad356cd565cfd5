package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// What a billion parameters take with AdamW, and what a step moves, if all are bfloat16 but the second moment.
func ExampleNewPlan() {
	alg := optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, State: map[string]device.DType{"exp_avg_sq": device.Float32}}
	p, err := optim.NewPlan(alg, device.BFloat16, device.BFloat16, []int{900_000_000, 100_000_000})
	must(err)
	for _, b := range p.Buffers {
		fmt.Printf("%s: %d bytes each, %.1f GB\n", b.Name, b.PerParam, float64(b.Total)/1e9)
	}
	fmt.Printf("resident %d, read %d, written %d, to clip %d\n", p.Resident.PerParam, p.Read.PerParam, p.Written.PerParam, p.Norm.PerParam)
	// Output:
	// param: 2 bytes each, 2.0 GB
	// grad: 2 bytes each, 2.0 GB
	// exp_avg: 2 bytes each, 2.0 GB
	// exp_avg_sq: 4 bytes each, 4.0 GB
	// counters: 0 bytes each, 0.0 GB
	// resident 10, read 10, written 8, to clip 2
}
