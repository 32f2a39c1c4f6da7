package device

// Bytes are an immutable array of bytes that goes from a device to a socket or back. It may lie outside of Go's memory, where
// both the device and the socket can read it.
type Bytes interface {
	Len() int
	// Slice returns the n bytes from off on, without a copy.
	Slice(off, n int) Bytes
	// Go returns the bytes in Go's memory, a copy if they lie elsewhere. The caller must not change them.
	Go() []byte
}

// Heap are Bytes in Go's memory.
type Heap []byte

// Len implements Bytes.
func (h Heap) Len() int { return len(h) }

// Slice implements Bytes.
func (h Heap) Slice(off, n int) Bytes { return h[off : off+n : off+n] }

// Go implements Bytes.
func (h Heap) Go() []byte { return h }

// Part are bytes to be placed at offset At of a larger array.
type Part struct {
	At    int
	Bytes Bytes
}
