//go:build !purego

#include "textflag.h"

// func loadAVX2(p unsafe.Pointer, n int)
TEXT ·loadAVX2(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), DI
	MOVQ n+8(FP), CX
load:
	PREFETCHT0 2048(DI)
	PREFETCHT0 2112(DI)
	VMOVDQU    (DI), Y0
	VMOVDQU    32(DI), Y1
	VMOVDQU    64(DI), Y2
	VMOVDQU    96(DI), Y3
	ADDQ       $128, DI
	SUBQ       $128, CX
	JNE        load
	VZEROUPPER
	RET

// func storeAVX2(p unsafe.Pointer, n int)
TEXT ·storeAVX2(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), DI
	MOVQ n+8(FP), CX
store:
	PREFETCHT0 2048(DI)
	PREFETCHT0 2112(DI)
	VMOVDQU    (DI), Y0
	VMOVDQU    32(DI), Y1
	VMOVDQU    64(DI), Y2
	VMOVDQU    96(DI), Y3
	VMOVDQU    Y0, (DI)
	VMOVDQU    Y1, 32(DI)
	VMOVDQU    Y2, 64(DI)
	VMOVDQU    Y3, 96(DI)
	ADDQ       $128, DI
	SUBQ       $128, CX
	JNE        store
	VZEROUPPER
	RET
