// Package tensor holds what every layer agrees on: shapes, element types and host-side tensors.
// It is a leaf: it imports nothing of llamatab.
package tensor

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// DType is the type of a tensor's elements.
type DType uint8

const (
	F32  DType = iota // IEEE 754 binary32
	BF16              // the high half of a binary32; packed two to a u32 word on a device
	F16               // IEEE 754 binary16; packed likewise
	I32
	U32
)

var dtypeNames = [...]string{F32: "F32", BF16: "BF16", F16: "F16", I32: "I32", U32: "U32"}

// String spells d as safetensors does.
func (d DType) String() string {
	if int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return "DType(" + strconv.Itoa(int(d)) + ")"
}

// ParseDType reads a safetensors dtype string.
func ParseDType(s string) (DType, bool) {
	for d, name := range dtypeNames {
		if s == name {
			return DType(d), true
		}
	}
	return 0, false
}

// Size is the number of bytes of one element.
func (d DType) Size() int {
	if d == BF16 || d == F16 {
		return 2
	}
	return 4
}

// IsFloat tells whether d holds real numbers.
func (d DType) IsFloat() bool { return d == F32 || d == BF16 || d == F16 }

// Shape is the list of a tensor's dimensions, outermost first. The empty shape is a scalar.
type Shape []int

// Of makes a Shape: Of(B, T, C).
func Of(dims ...int) Shape { return Shape(dims) }

// Size is the number of elements.
func (s Shape) Size() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// CheckedSize is Size for shapes that come from files: it refuses negative dimensions and overflow.
func (s Shape) CheckedSize() (int, error) {
	n := uint64(1)
	for _, d := range s {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", s)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v overflows", s)
		}
		n = lo
	}
	return int(n), nil
}

// Equal reports whether both shapes have the same dimensions.
func (s Shape) Equal(o Shape) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		if s[i] != o[i] {
			return false
		}
	}
	return true
}

// String spells the shape as "(4, 64)".
func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = strconv.Itoa(d)
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// Host is a tensor in host memory, its elements as float32. Files of other types are widened on reading.
type Host struct {
	Shape Shape
	Data  []float32
}

// Transpose returns the transpose of a matrix (rows, cols), row-major as it is.
func Transpose(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

// NewHost makes a zeroed host tensor.
func NewHost(dims ...int) Host {
	return Host{Shape: Of(dims...), Data: make([]float32, Of(dims...).Size())}
}
