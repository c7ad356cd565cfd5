//go:build !purego

package exec

// call jumps to the code.
//
//go:noescape
func call(code *byte, planes **byte, uniforms, frame *byte, n int)
