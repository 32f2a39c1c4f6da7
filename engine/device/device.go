// Package device is the interface of a backend: it holds buffers, compiles lists of kernel launches, and replays them many times.
// Calls block until they have their result. Missing memory and a lost device are errors, never panics.
package device

import (
	"errors"
	"math/bits"

	"llamatab/engine/tensor"
)

// ErrLost is wrapped by every error that a lost device causes. The memory of the device is gone, and it cannot be used again.
var ErrLost = errors.New("the GPU device was lost")

// ErrOutOfMemory is wrapped by the error of an allocation that the adapter refused.
var ErrOutOfMemory = errors.New("out of GPU memory")

// Device is an opened adapter. One goroutine at a time uses it, but any goroutine may call Info, Limits and Usage.
type Device interface {
	Info() Info
	Limits() Limits

	// Alloc allocates a buffer of zeros. Its error wraps ErrOutOfMemory if there is no room.
	Alloc(s Spec) (Buffer, error)
	// Free frees a buffer. Executables that use it must not run again.
	Free(b Buffer)
	// Usage is the number of bytes that are allocated, by kind of memory.
	Usage() Usage

	// Write replaces the elements from off on by data, little-endian in the buffer's own type.
	// Writes and submitted work take effect in the order of the calls.
	Write(b Buffer, off int, data []byte) error
	// Read waits for all submitted work and returns n elements from off on, little-endian in the buffer's own type.
	Read(b Buffer, off, n int) ([]byte, error)
	// Fetch begins to read n elements as they are after the work submitted so far. It does not wait.
	Fetch(b Buffer, off, n int) (Pending, error)
	// Import is Write for bytes that may lie outside of Go's memory.
	Import(b Buffer, off int, data Bytes) error
	// Assemble copies parts into an array of n bytes, with zeros between them, for Import.
	Assemble(n int, parts ...Part) (Bytes, error)

	// Compile prepares commands for replay. Pipelines, bind groups and uniforms are made here, none later.
	Compile(label string, cmds []Command) (Executable, error)
	// Submit replays work in order, with one call from Go to JavaScript on WebGPU.
	Submit(work ...Work) error
	// Sync waits until all submitted work is done and returns its error.
	Sync() error
	// Close frees all memory and closes the device.
	Close()
}

// Info describes an adapter.
type Info struct {
	Backend      string `json:"backend"` // "webgpu" or "cpu"
	Vendor       string `json:"vendor"`
	Architecture string `json:"architecture"`
	Description  string `json:"description,omitempty"`
	Software     bool   `json:"software"` // runs on the CPU
	Subgroups    bool   `json:"subgroups"`
	SubgroupMin  int    `json:"subgroup_min_size,omitempty"`
	SubgroupMax  int    `json:"subgroup_max_size,omitempty"`
	F16          bool   `json:"shader_f16"`
}

// Limits are the limits of the opened device that memory plans depend on, in bytes and counts.
type Limits struct {
	MaxBuffer          int64 `json:"max_buffer_size"`
	MaxBinding         int64 `json:"max_storage_buffer_binding_size"`
	MaxStorageBuffers  int   `json:"max_storage_buffers_per_shader_stage"`
	MaxWorkgroupMemory int   `json:"max_compute_workgroup_storage_size"`
	MaxInvocations     int   `json:"max_compute_invocations_per_workgroup"`
	MaxWorkgroups      int   `json:"max_compute_workgroups_per_dimension"`
	OffsetAlignment    int   `json:"min_storage_buffer_offset_alignment"`
}

// DefaultLimits are the limits that every WebGPU adapter has (gpuweb/gpuweb, spec/index.bs, "limits"). A plan without a device
// uses them.
var DefaultLimits = Limits{
	MaxBuffer: 256 << 20, MaxBinding: 128 << 20, MaxStorageBuffers: 8, MaxWorkgroupMemory: 16 << 10,
	MaxInvocations: 256, MaxWorkgroups: 65535, OffsetAlignment: 256,
}

// UnboundedLimits are DefaultLimits without a bound on the size of buffers, for a plan that only adds up what a run needs.
func UnboundedLimits() Limits {
	l := DefaultLimits
	l.MaxBuffer, l.MaxBinding = 1<<50, 1<<50
	return l
}

// MemoryKind is the purpose of a buffer. The memory plan and summary.json list bytes by kind.
type MemoryKind uint8

const (
	Weights MemoryKind = iota
	Gradients
	Optimizer
	Activations
	Staging // batches, step scalars, dimensions, read-back
	NumMemoryKinds
)

var memoryKindNames = [NumMemoryKinds]string{"weights", "gradients", "optimizer", "activations", "staging"}

func (k MemoryKind) String() string { return memoryKindNames[k] }

// Usage is a number of bytes by kind of memory.
type Usage [NumMemoryKinds]int64

// Total is the sum over all kinds.
func (u Usage) Total() int64 {
	var n int64
	for _, b := range u {
		n += b
	}
	return n
}

// Map is the usage by the names of the kinds, and its total, for JSON.
func (u Usage) Map() map[string]int64 {
	m := map[string]int64{"total": u.Total()}
	for k, b := range u {
		m[MemoryKind(k).String()] = b
	}
	return m
}

// Spec describes a buffer of Len elements.
type Spec struct {
	DType tensor.DType
	Len   int
	Kind  MemoryKind
	Label string
}

// Bytes is the size of the buffer on a device: a whole number of 4-byte words.
func (s Spec) Bytes() int64 { return (int64(s.Len)*int64(s.DType.Size()) + 3) &^ 3 }

// DimsAlign is the alignment of each launch's dimensions in the uniform buffer, in bytes: WebGPU's default, which is the largest
// allowed, of minUniformBufferOffsetAlignment.
const DimsAlign = 256

// ReadBackBytes is the size of the buffer through which n bytes are read back: a power of two, so that reads of similar sizes
// share a buffer.
func ReadBackBytes(n int) int64 { return max(256, int64(1)<<bits.Len64(uint64(max(n, 1)-1))) }

// Trimmer is a device that keeps idle read-back buffers until Trim.
type Trimmer interface{ Trim() }

// Buffer is device memory made by Alloc.
type Buffer interface{ Spec() Spec }

// Slice is a range of a buffer's elements. Its start must lie on a multiple of Limits.OffsetAlignment bytes.
type Slice struct {
	Buf      Buffer
	Off, Len int
}

// Trim frees the idle read-back buffers of a device that keeps some.
func Trim(dev Device) {
	if t, ok := dev.(Trimmer); ok {
		t.Trim()
	}
}

// All is the whole of b.
func All(b Buffer) Slice { return Slice{b, 0, b.Spec().Len} }

// Pending is a read that has begun. Its calls wait until the bytes are there.
type Pending interface {
	Wait() ([]byte, error)
	// Export is Wait for bytes that may stay outside of Go's memory.
	Export() (Bytes, error)
}

// Executable is a compiled list of commands.
type Executable interface {
	Dispatches() int
	Release()
}

// Work is an entry of a submission: a write of Data into Buf from element Off on, or a run of an executable if Run is set.
type Work struct {
	Run  Executable
	Buf  Buffer
	Off  int
	Data []byte
}

// Command is an entry of an executable: a launch, a copy or a clear. One field is set.
type Command struct {
	Launch *Launch
	Copy   *Copy
	Clear  *Slice
}

// Copy copies Src to Dst. Both have the same element type and length, and lie in different buffers.
type Copy struct{ Dst, Src Slice }
