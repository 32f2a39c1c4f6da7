// Package webgpu is the backend that trains: it runs kernels as WGSL on a browser's WebGPU, in a page or a worker.
// It is built for GOOS=js only, and it alone knows the browser's API and the packages that bind it.
//
// # One call for each submission
//
// wasm/engine/replay.js keeps buffers, pipelines and programs by number. Compile turns commands into a program, a list of
// int32:
//
//	DISPATCH pipeline group x y z     COPY source from target to size     CLEAR buffer from size     SPLIT
//
// Submit packs another such list, WRITE buffer offset size data… and RUN program, and passes it in one call. Only writes
// above 64 KiB travel separately. Offsets count 4-byte words, so they reach beyond 2 GiB. Consecutive dispatches share a
// compute pass. SPLIT ends a command buffer, so that a hardware adapter is not blocked for longer than about a frame; on a
// software adapter there is none. A new program is encoded once without being submitted, so WebGPU validates all of it at
// compile time. The page must load replay.js before the program starts. Open reports where it did not.
//
// # Errors
//
// What JavaScript throws is recovered where it is called. What the device reports arrives by four ways: the error
// scopes around Alloc and Compile; rejected promises; the uncapturederror event, which Submit and Write rely on; and
// the device's lost promise. The last two stay: every later call returns them.
//
// # Goroutines
//
// A Device is used from one goroutine at a time, which must not be one that JavaScript called (the function of a
// js.FuncOf): its promises would never settle.
package webgpu
