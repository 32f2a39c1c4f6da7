package op

import (
	"encoding/binary"
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// awkward are ties, NaN and the ends of the ranges of both formats, subnormal numbers included.
var awkward = []float32{0, float32(math.Copysign(0, -1)), 1, 1.00390625, 1.01171875, -1.00390625, math.Pi, 65504, 65519.996, 65520, -1e30,
	1.00048828125, 1.00146484375, 6.0975552e-05, 6.1005354e-05, 5.9604645e-08, 2.9802322e-08, 2.9802326e-08, -8.940697e-08,
	1e-40, -1e-40, math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32, 3.3895e38, 3.3962e38,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0xff800001)}

// TestPack packs into memory of its own and unpacks from there, and rounds in place.
func TestPack(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		t.Run(d.String(), func(t *testing.T) {
			enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
				x := r.F(r.Dim(1, 400))
				copy(x.Floats, awkward[r.IntN(len(awkward)):])
				packed := enginetest.Input{Shape: x.Shape, DType: d, Floats: make([]float32, len(x.Floats)), Frozen: true}
				return enginetest.Case{
					In:         []enginetest.Input{x, packed},
					Tol:        enginetest.Exact,
					NoGradient: true,
					Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
						y := t.New(in[0].Shape)
						Pack(t, in[0], in[1])
						Unpack(t, in[1], y)
						t.Store(d)
						z := t.New(in[0].Shape)
						t.Copy(z, in[0])
						t.OnBackward(z, func(graph.Var) {}) // as an op's output, z is rounded before it is read
						return []graph.Var{y, z}
					},
				}
			})
		})
	}
}

// TestPackBits compares the packed bits with tensor.EncodeF32 for every kind of float32, NaNs with payloads included.
// Gradients that the GPU rounds for the network then have the bits that Go would give them.
func TestPackBits(t *testing.T) {
	var x []byte
	for high := range uint32(1 << 16) {
		for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			x = binary.LittleEndian.AppendUint32(x, high<<16|low)
		}
	}
	n := len(x) / 4
	floats := make([]float32, n)
	if err := tensor.DecodeF32(floats, x, tensor.F32); err != nil {
		t.Fatal(err)
	}
	for _, d := range enginetest.Devices(t) {
		for _, typ := range []tensor.DType{tensor.BF16, tensor.F16} {
			wide, err := d.Alloc(device.Spec{DType: tensor.F32, Len: n, Label: "x"})
			if err != nil {
				t.Fatal(err)
			}
			narrow, err := d.Alloc(device.Spec{DType: typ, Len: n, Label: "y"})
			if err != nil {
				t.Fatal(err)
			}
			e, err := d.Compile("pack", []device.Command{{Launch: &device.Launch{Kernel: pack, Params: device.Params{"F16": typ == tensor.F16},
				Dims: graph.Elements{N: uint32(n)}, Args: []device.Slice{device.All(wide), device.All(narrow)}}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Submit(device.Work{Buf: wide, Data: x}, device.Work{Run: e}); err != nil {
				t.Fatal(err)
			}
			got, err := d.Read(narrow, 0, n)
			if err != nil {
				t.Fatal(err)
			}
			want := tensor.EncodeF32(nil, floats, typ)
			for i, packed := 0, got; i < n; i++ {
				if g, w := packed[2*i:2*i+2], want[2*i:2*i+2]; string(g) != string(w) {
					t.Fatalf("%s: %v of %x is %x, want %x", d.Info().Backend, typ, x[4*i:4*i+4], g, w)
				}
			}
			e.Release()
			d.Free(wide)
			d.Free(narrow)
		}
	}
}
