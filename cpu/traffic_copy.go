package cpu

import "unsafe"

// copyName is what traffic is where there is no assembly for it, or for a block's last bytes.
const copyName = "the Go runtime's copy, through a block in cache"

// copyOut reads n ≤ trafficBlock bytes.
func copyOut(p unsafe.Pointer, n int) {
	var block [trafficBlock]byte
	copy(block[:], unsafe.Slice((*byte)(p), n))
}

// copyThrough reads n ≤ trafficBlock bytes and writes them back.
func copyThrough(p unsafe.Pointer, n int) {
	var block [trafficBlock]byte
	b := unsafe.Slice((*byte)(p), n)
	copy(block[:], b)
	copy(b, block[:n])
}
