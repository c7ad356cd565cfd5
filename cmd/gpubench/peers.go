package main

// peer is another library's optimizer: bytes for each parameter, by its formats. Resident includes the gradient; moved is read and written
// by a step. A scale of a block counts for each of its elements.
type peer struct {
	Optimizer        string  `json:"optimizer"`
	Who              string  `json:"who"`
	Source           string  `json:"source"`
	ResidentPerParam float64 `json:"resident_bytes_per_param"`
	MovedPerParam    float64 `json:"moved_bytes_per_param"`
}

// peers are what -plan stands beside, as their sources were in autumn 2026.
var peers = []peer{
	{"adamw", "PyTorch, fused, all float32", "pytorch torch/optim/adamw.py", 16, 28},
	{"adamw", "bf16 beside float32 master, m, v", "Rajbhandari et al. 2020, ZeRO, section 3.1", 16, 28},
	{"adamw", "Transformer Engine, 16-bit remainder, float32 m, v", "TransformerEngine common/multi_tensor/adam.cu", 14, 26},
	{"adamw", "Transformer Engine, 16-bit remainder, bf16 m, v", "TransformerEngine common/multi_tensor/adam.cu", 10, 18},
	{"adamw", "torchao, all bf16, stochastic rounding", "torchao optim/adam.py, bf16_stochastic_round", 8, 14},
	{"adamw", "FlashOptim, 24-bit master, 8-bit m, v", "flashoptim/optimizers.py, 16-bit scales of 32", 7 + 2*2./32, 12 + 4*2./32},
	{"adamw", "bitsandbytes and torchao, bf16, 8-bit m, v", "bitsandbytes csrc/kernels.cu, torchao optim/subclass_8bit.py, 32-bit scales of 256", 6 + 2*4./256, 10 + 4*4./256},
}
