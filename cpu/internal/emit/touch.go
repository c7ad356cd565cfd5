package emit

import "github.com/fusestep/fusestep/internal/x86"

// Touch prefetches what is behind each of so many addresses: the first near bytes into the first-level cache, what follows up to far into the
// second-level cache.
func Touch(addresses, near, far int) (*Code, error) {
	code := &Code{}
	a := &code.asm
	for i := range addresses {
		a.Emit(x86.LOAD, end, x86.Mem(planes, 8*i))
		for b := 0; b < far; b += roundBytes {
			if b < near {
				a.Emit(x86.PREFETCHT0, x86.Mem(end, b))
			} else {
				a.Emit(x86.PREFETCHT1, x86.Mem(end, b))
			}
		}
	}
	a.Emit(x86.VZEROUPPER)
	a.Emit(x86.RET)
	var err error
	code.Text, err = a.Bytes()
	return code, err
}
