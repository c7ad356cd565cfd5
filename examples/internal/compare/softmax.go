package compare

import (
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
)

// LogSumExp is log Σ exp(z), without overflow: the softmax of z is exp(z - LogSumExp(z)).
func LogSumExp[F rule.Float](z []F) float64 {
	most := float64(z[0])
	for _, x := range z {
		most = max(most, float64(x))
	}
	sum := 0.0
	for _, x := range z {
		sum += math.Exp(float64(x) - most)
	}
	return most + math.Log(sum)
}
