package device

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"llamatab/engine/tensor"
)

// Kernel is an entry point of a shader together with the same computation in Go. Devices are compared kernel by kernel: WebGPU runs
// the shader, the reference device calls Ref in float64.
type Kernel struct {
	Name   string // unique, "rmsnorm_backward_w"
	Shader string // the file below shaders/, without .wgsl
	Entry  string // the entry point in it

	// Bindings are the storage buffers @binding(0), (1), … in order. The uniform Dims follow as the last binding.
	Bindings []Binding
	// Grid is the number of workgroups of a launch with these dimensions and parameters, usually from Groups.
	Grid func(dims any, p Params) [3]int
	// Ref computes the kernel in Go.
	Ref func(c *Call)
	// Flops is the number of floating-point operations of a launch, two for a multiply-add, for benchmarks and to limit the length
	// of command buffers. nil means 0.
	Flops func(dims any) float64
	// Variants are other ways to compute the kernel, the preferred one first, for the tuner to choose from. At least one of them
	// fits every adapter. Empty means that the kernel has one way.
	Variants []Variant
	// Sample returns the dimensions of a small problem with odd sizes, and the length of each argument. A variant must compute it
	// right before it is used. nil takes the launch's own dimensions.
	Sample func(dims any) (small any, lengths []int)
	// SamplePacked changes a sample for a launch with quantised arguments: to dimensions with whole blocks, and packed matrices of
	// random numbers at those arguments. It is nil for kernels that read none, and returns nil bytes for launches without one.
	SamplePacked func(small any, lengths []int, p Params, random func() float32) (any, []int, map[int][]byte)
	// ShapeGroup names the group of dimensions that use the same variant, such as "m256/n64/k64".
	ShapeGroup func(dims any, p Params) string
}

// Binding is one storage buffer of a kernel.
type Binding struct {
	Name   string
	Access Access
	Packed Packed
}

// Packed says how a kernel reads a binding of bfloat16 or float16, which are packed two in a word.
type Packed uint8

const (
	Never  Packed = iota // the binding is float32
	Either               // the binding is float32, packed or quantised, which PackedParams or QuantizedParams tell the shader
	Words                // the binding is packed, and the kernel reads whole words
)

// PackedParams are the shader parameters for a binding that holds elements of type d.
func (b Binding) PackedParams(d tensor.DType) Params {
	name := strings.ToUpper(b.Name)
	switch d {
	case tensor.BF16:
		return Params{name + "_PACKED": true}
	case tensor.F16:
		return Params{name + "_PACKED": true, name + "_F16": true}
	}
	return nil
}

// QuantizedParams are the shader parameters for a binding that holds a quantised matrix. format is its number in package quant.
func (b Binding) QuantizedParams(format int) Params {
	name := strings.ToUpper(b.Name)
	return Params{name + "_QUANTIZED": true, name + "_FORMAT": format}
}

// Access says what a kernel does with a binding.
type Access uint8

const (
	Read   Access = iota // var<storage, read>
	Write                // var<storage, read_write>; replaced, or added to where the parameter ACCUMULATE is true
	Update               // var<storage, read_write>; read and changed in place
)

// Variant is one way to compute a kernel: other parameters, or another shader with the same bindings and entry.
type Variant struct {
	Name   string
	Shader string // "" for the kernel's own
	Params Params
	// Fits reports whether the variant works on an adapter for these dimensions and may be faster than the others.
	Fits func(i Info, l Limits, dims any) bool
	// Pays is the number of floating-point operations that a run must make in one group of shapes before the variant saves
	// more time than its compilation takes. 0 is for variants that compile fast.
	Pays float64
}

// Params are values for a shader's //@param lines: booleans, integers, floats or type names.
type Params map[string]any

// Key is a text for p that does not depend on the order of its entries, for caches.
func (p Params) Key() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%v;", name, p[name])
	}
	return b.String()
}

// Bool is the value of a boolean parameter, false where it is not set.
func (p Params) Bool(name string) bool { v, _ := p[name].(bool); return v }

// Int is the value of an integer parameter, otherwise if it is not set.
func (p Params) Int(name string, otherwise int) int {
	if v, ok := p[name].(int); ok {
		return v
	}
	return otherwise
}

// With returns the entries of p and q. An entry of q replaces one of p.
func (p Params) With(q Params) Params {
	if len(q) == 0 {
		return p
	}
	r := maps.Clone(p)
	if r == nil {
		r = Params{}
	}
	maps.Copy(r, q)
	return r
}

// Launch is one call of a kernel.
type Launch struct {
	Kernel *Kernel
	Params Params // of the op and of the chosen variant
	Dims   any    // a struct of uint32, int32 and float32 fields, laid out as the shader's uniform struct
	Args   []Slice
}

// Use makes l a launch of variant v of its kernel.
func (l *Launch) Use(v Variant) {
	if v.Shader != "" {
		k := *l.Kernel
		k.Shader = v.Shader
		l.Kernel = &k
	}
	l.Params = l.Params.With(v.Params)
}

// Words encodes the dimensions as the shader's uniform struct, padded to 16 bytes.
func (l *Launch) Words() []byte {
	b, err := binary.Append(nil, binary.LittleEndian, l.Dims)
	if err != nil {
		panic(fmt.Sprintf("%s: dimensions %T: %v", l.Kernel.Name, l.Dims, err))
	}
	for len(b)%16 != 0 {
		b = append(b, 0)
	}
	return b
}

// Groups spreads n workgroups over a grid whose sides stay below 65,536. A shader gets its flat index back with
// flat_group of lib/grid.wgsl and must leave when that is not below n.
func Groups(n int) [3]int {
	const side = 65535
	if n <= side {
		return [3]int{max(n, 1), 1, 1}
	}
	return [3]int{side, (n + side - 1) / side, 1}
}

// CeilDiv is ⌈a/b⌉ for positive b.
func CeilDiv(a, b int) int { return (a + b - 1) / b }

// Call is the arguments of a reference computation as Go slices.
type Call struct {
	Params Params
	Dims   any
	args   []any

	accumulate bool // Put adds
}

// NewCall makes a Call for a backend. Each argument is a []float64 or a []uint32.
func NewCall(l *Launch, args []any) *Call {
	return &Call{l.Params, l.Dims, args, l.Params.Bool("ACCUMULATE")}
}

// F is argument i, of any floating-point type.
func (c *Call) F(i int) []float64 { return c.args[i].([]float64) }

// U is argument i, of an integer type.
func (c *Call) U(i int) []uint32 { return c.args[i].([]uint32) }

// Put stores v in x[i], or adds it if the launch accumulates.
func (c *Call) Put(x []float64, i int, v float64) {
	if c.accumulate {
		x[i] += v
	} else {
		x[i] = v
	}
}
