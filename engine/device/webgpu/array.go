//go:build js

package webgpu

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall/js"

	"llamatab/engine/device"
)

// Array implements device.Bytes in JavaScript's memory: a part of a Uint8Array.
type Array struct {
	array  js.Value
	off, n int
}

// pressure is how many bytes of arrays are made between two collections of Go's garbage. An array lives as long as Go
// holds it, which Go's collector does not know to be more than a few bytes.
const pressure = 64 << 20

var made atomic.Int64 // bytes since the last collection

// NewArray takes over a Uint8Array, of whose memory nothing else is going to be used.
func NewArray(array js.Value) Array {
	a := Array{array, 0, array.Get("byteLength").Int()}
	if made.Add(int64(a.n)) >= pressure {
		made.Store(0)
		go runtime.GC() // what calls this may be a function that JavaScript waits for
	}
	return a
}

// Len implements device.Bytes.
func (a Array) Len() int { return a.n }

// Slice implements device.Bytes.
func (a Array) Slice(off, n int) device.Bytes {
	if off < 0 || n < 0 || off > a.n-n {
		panic("webgpu: slice beyond the array")
	}
	return Array{a.array, a.off + off, n}
}

// Go implements device.Bytes by a copy.
func (a Array) Go() []byte {
	b := make([]byte, a.n)
	js.CopyBytesToGo(b, a.array.Call("subarray", a.off, a.off+a.n))
	return b
}

// Put copies b to where the Uint8Array to has its byte at.
func Put(to js.Value, at int, b device.Bytes) {
	if a, ok := b.(Array); ok {
		to.Call("set", a.array.Call("subarray", a.off, a.off+a.n), at)
	} else {
		js.CopyBytesToJS(to.Call("subarray", at), b.Go())
	}
}

// Assemble implements device.Device.
func (d *Device) Assemble(n int, parts ...device.Part) (out device.Bytes, err error) {
	err = try(func() {
		array := uint8Array(n)
		for _, p := range parts {
			Put(array, p.At, p.Bytes)
		}
		out = NewArray(array)
	})
	if err != nil {
		return nil, fmt.Errorf("webgpu: no memory to assemble %d bytes: %w", n, err)
	}
	return out, nil
}

func uint8Array(of any) js.Value { return js.Global().Get("Uint8Array").New(of) }
