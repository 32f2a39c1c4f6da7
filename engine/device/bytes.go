package device

// Bytes are the content of memory on its way between a device and a socket. A backend leaves them where both reach
// them, which need not be Go memory. They do not change.
type Bytes interface {
	Len() int
	// Slice is the part of n bytes from off on. Nothing is copied.
	Slice(off, n int) Bytes
	// Go is the content in Go memory, to be read only: a copy where it lies elsewhere.
	Go() []byte
}

// Heap are bytes in Go memory.
type Heap []byte

// Len implements Bytes.
func (h Heap) Len() int { return len(h) }

// Slice implements Bytes.
func (h Heap) Slice(off, n int) Bytes { return h[off : off+n : off+n] }

// Go implements Bytes.
func (h Heap) Go() []byte { return h }

// Part are bytes that begin at At of something larger.
type Part struct {
	At    int
	Bytes Bytes
}
