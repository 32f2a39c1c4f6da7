// Package webgpu is the backend that trains: it runs kernels as WGSL on a browser's WebGPU, in a page or a worker.
// It is built for GOOS=js only, and it alone knows the browser's API and the packages that bind it.
//
// # One call a submission
//
// Compile turns commands into a list of integers that names pipelines, bind groups and buffers by their ids in a
// registry on the JavaScript side (wasm/engine/replay.js). Submit packs writes and the ids of such lists into one array and
// hands it over in one call; nothing is made on the way. The page must have loaded replay.js before the program
// starts; Open says so where it did not.
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
