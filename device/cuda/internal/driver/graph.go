//go:build cuda && cgo && linux

package driver

// #include "shim.h"
//
// static inline CUresult fs_begin_capture(uintptr_t s, CUstreamCaptureMode m) { return cuStreamBeginCapture((CUstream)s, m); }
// static inline CUresult fs_end_capture(uintptr_t s, uintptr_t *g) { return cuStreamEndCapture((CUstream)s, (CUgraph *)g); }
// static inline CUresult fs_is_capturing(uintptr_t s, CUstreamCaptureStatus *is) { return cuStreamIsCapturing((CUstream)s, is); }
// static inline CUresult fs_exchange_mode(CUstreamCaptureMode *m) { return cuThreadExchangeStreamCaptureMode(m); }
// static inline CUresult fs_instantiate(uintptr_t *e, uintptr_t g, unsigned long long flags)
// {
//   return cuGraphInstantiateWithFlags((CUgraphExec *)e, (CUgraph)g, flags);
// }
// static inline CUresult fs_graph_launch(uintptr_t e, uintptr_t s) { return cuGraphLaunch((CUgraphExec)e, (CUstream)s); }
// static inline CUresult fs_graph_destroy(uintptr_t g) { return cuGraphDestroy((CUgraph)g); }
// static inline CUresult fs_graph_exec_destroy(uintptr_t e) { return cuGraphExecDestroy((CUgraphExec)e); }
import "C"

// Graph is a CUgraph: work, not yet in a form that can be launched.
type Graph uintptr

// GraphExec is a CUgraphExec, a graph that can be launched again and again.
type GraphExec uintptr

// CaptureMode says which calls that cannot be captured are refused while a capture is on.
type CaptureMode uint32

const (
	CaptureGlobal      CaptureMode = C.CU_STREAM_CAPTURE_MODE_GLOBAL       // those of every thread
	CaptureThreadLocal CaptureMode = C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL // those of the thread that captures
	CaptureRelaxed     CaptureMode = C.CU_STREAM_CAPTURE_MODE_RELAXED      // none
)

// StreamBeginCapture makes the stream record what is enqueued, instead of doing it.
func StreamBeginCapture(s Stream, mode CaptureMode) error {
	return check(CuStreamBeginCapture, C.fs_begin_capture(C.uintptr_t(s), C.CUstreamCaptureMode(mode)))
}

// StreamEndCapture ends the capture, on the thread that began it unless that was relaxed, and returns what was
// recorded. The graph is the caller's to destroy.
func StreamEndCapture(s Stream) (Graph, error) {
	var g C.uintptr_t
	err := check(CuStreamEndCapture, C.fs_end_capture(C.uintptr_t(s), &g))
	return Graph(g), err
}

// StreamIsCapturing says whether the stream records, also where nothing comes of that any more. It leaves the capture as it is.
func StreamIsCapturing(s Stream) (bool, error) {
	var status C.CUstreamCaptureStatus
	err := check(CuStreamIsCapturing, C.fs_is_capturing(C.uintptr_t(s), &status))
	return status != C.CU_STREAM_CAPTURE_STATUS_NONE, err
}

// ThreadExchangeCaptureMode says which captures refuse calls of this thread's, and returns what did before: with CaptureRelaxed none do, with CaptureThreadLocal
// the thread's own, and with CaptureGlobal, where a thread begins, also those of others that are global.
func ThreadExchangeCaptureMode(mode CaptureMode) (CaptureMode, error) {
	m := C.CUstreamCaptureMode(mode)
	err := check(CuThreadExchangeStreamCaptureMode, C.fs_exchange_mode(&m))
	return CaptureMode(m), err
}

// GraphInstantiateFlags change how a graph is instantiated.
type GraphInstantiateFlags uint64

// GraphAutoFree frees what a launch allocated and did not free before the next launch.
const GraphAutoFree GraphInstantiateFlags = C.CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH

// Instantiate makes a launchable copy; the graph may be destroyed afterwards.
func (g Graph) Instantiate(flags GraphInstantiateFlags) (GraphExec, error) {
	var e C.uintptr_t
	err := check(CuGraphInstantiateWithFlags, C.fs_instantiate(&e, C.uintptr_t(g), C.ulonglong(flags)))
	return GraphExec(e), err
}

// Destroy frees the graph.
func (g Graph) Destroy() error { return check(CuGraphDestroy, C.fs_graph_destroy(C.uintptr_t(g))) }

// Launch enqueues one run of the graph.
func (e GraphExec) Launch(s Stream) error {
	return check(CuGraphLaunch, C.fs_graph_launch(C.uintptr_t(e), C.uintptr_t(s)))
}

// Destroy frees the executable graph; runs that are enqueued complete.
func (e GraphExec) Destroy() error {
	return check(CuGraphExecDestroy, C.fs_graph_exec_destroy(C.uintptr_t(e)))
}
