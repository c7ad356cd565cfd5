//go:build !purego

#include "textflag.h"

// func call(code *byte, planes **byte, uniforms, frame *byte, n int)
//
// The code returns to call's caller. The runtime does not know its addresses, and so takes no place in it for a safe point.
TEXT ·call(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ code+0(FP), AX
	MOVQ planes+8(FP), DI
	MOVQ uniforms+16(FP), SI
	MOVQ frame+24(FP), DX
	MOVQ n+32(FP), CX
	JMP  AX
