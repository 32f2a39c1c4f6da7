// Package device says what a backend must do: hold buffers, compile a list of kernel launches once and replay it
// many times. Calls block; a backend hides its promises. What the world does (memory that is not there, a device
// that is lost) comes back as an error and never as a panic.
package device

import (
	"errors"
	"math/bits"

	"llamatab/engine/tensor"
)

// ErrLost is wrapped by every error that a lost device causes. The device is of no more use; its memory is gone.
var ErrLost = errors.New("the GPU device was lost")

// ErrOutOfMemory is wrapped by the error of an allocation that the adapter refused.
var ErrOutOfMemory = errors.New("out of GPU memory")

// Device is one opened adapter. It is used from one goroutine at a time.
type Device interface {
	Info() Info
	Limits() Limits

	// Alloc makes a zeroed buffer, or fails with ErrOutOfMemory.
	Alloc(s Spec) (Buffer, error)
	// Free gives a buffer back. Executables that use it must not run again.
	Free(b Buffer)
	// Usage is the number of bytes allocated now, by kind of memory.
	Usage() Usage

	// Write replaces the elements from off on by data, little-endian in the buffer's own type.
	// Writes and submitted work take effect in the order of the calls.
	Write(b Buffer, off int, data []byte) error
	// Read waits for all submitted work and returns n elements from off on, little-endian in the buffer's own type.
	Read(b Buffer, off, n int) ([]byte, error)
	// Fetch starts a read of elements as they stand after the work submitted so far; the device goes on meanwhile.
	Fetch(b Buffer, off, n int) (Pending, error)
	// Import is a Write of bytes that need not pass through Go memory.
	Import(b Buffer, off int, data Bytes) error
	// Assemble makes n bytes of parts, zero between them, for Import.
	Assemble(n int, parts ...Part) (Bytes, error)

	// Compile prepares commands for replay: pipelines, bind groups and parameters are made here and only here.
	Compile(label string, cmds []Command) (Executable, error)
	// Submit replays work in order. However much it is, it costs one call across the language border.
	Submit(work ...Work) error
	// Sync waits until all submitted work is done and reports what went wrong in it.
	Sync() error
	// Close frees everything.
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

// Limits are those of the opened device that plans depend on, in bytes and counts.
type Limits struct {
	MaxBuffer          int64 `json:"max_buffer_size"`
	MaxBinding         int64 `json:"max_storage_buffer_binding_size"`
	MaxStorageBuffers  int   `json:"max_storage_buffers_per_shader_stage"`
	MaxWorkgroupMemory int   `json:"max_compute_workgroup_storage_size"`
	MaxInvocations     int   `json:"max_compute_invocations_per_workgroup"`
	MaxWorkgroups      int   `json:"max_compute_workgroups_per_dimension"`
	OffsetAlignment    int   `json:"min_storage_buffer_offset_alignment"`
}

// DefaultLimits are those that every WebGPU adapter offers (gpuweb/gpuweb, spec/index.bs, "limits"), and thus what
// a plan without a device counts on.
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

// MemoryKind groups buffers by what they are for, as the memory plan and summary.json list them.
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

// Map spells the usage for JSON.
func (u Usage) Map() map[string]int64 {
	m := map[string]int64{"total": u.Total()}
	for k, b := range u {
		m[MemoryKind(k).String()] = b
	}
	return m
}

// Spec asks for a buffer of Len elements.
type Spec struct {
	DType tensor.DType
	Len   int
	Kind  MemoryKind
	Label string
}

// Bytes is the size of the buffer on a device: a whole number of 4-byte words.
func (s Spec) Bytes() int64 { return (int64(s.Len)*int64(s.DType.Size()) + 3) &^ 3 }

// DimsAlign is the multiple of bytes at which the dimensions of each launch start: WebGPU's default, and most, of
// minUniformBufferOffsetAlignment.
const DimsAlign = 256

// ReadBackBytes is the size of the buffer through which n bytes are read back: a power of two, so that reads of
// about the same size share one.
func ReadBackBytes(n int) int64 { return max(256, int64(1)<<bits.Len64(uint64(max(n, 1)-1))) }

// Trimmer is a device that keeps idle buffers for reading back until it is told to let them go.
type Trimmer interface{ Trim() }

// Buffer is device memory made by Alloc.
type Buffer interface{ Spec() Spec }

// Slice is a range of a buffer's elements. Its start must lie on a multiple of Limits.OffsetAlignment bytes.
type Slice struct {
	Buf      Buffer
	Off, Len int
}

// Trim frees what a device keeps for reads that have ended, where it keeps anything.
func Trim(dev Device) {
	if t, ok := dev.(Trimmer); ok {
		t.Trim()
	}
}

// All is the whole of b.
func All(b Buffer) Slice { return Slice{b, 0, b.Spec().Len} }

// Pending is a read under way. Either of its calls blocks until the bytes are there.
type Pending interface {
	Wait() ([]byte, error)
	// Export leaves them outside of Go memory, where the backend can.
	Export() (Bytes, error)
}

// Executable is a compiled list of commands.
type Executable interface {
	Dispatches() int
	Release()
}

// Work is one entry of a submission: a write (Buf set) or a run (Run set).
type Work struct {
	Run  Executable
	Buf  Buffer
	Off  int
	Data []byte
}

// Command is one entry of an executable: a launch, a copy or a clear, told by which field is set.
type Command struct {
	Launch *Launch
	Copy   *Copy
	Clear  *Slice
}

// Copy copies Src over Dst; both have the same element type and length and lie in different buffers.
type Copy struct{ Dst, Src Slice }
