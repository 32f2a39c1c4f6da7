package op

import (
	"fmt"
	"slices"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

var quantFormats = []quant.Format{quant.Int8, quant.NF4, quant.NF4Double, quant.PackedQ4_0, quant.PackedQ8_0}

// A projection by a quantised weight and its gradient, on every device.
func TestLinearQuantized(t *testing.T) {
	for i, f := range quantFormats {
		for j, s := range [][3]int{{37, 70, 96}} { // rows, outputs, inputs
			r := enginetest.NewRand(uint64(10*i + j))
			c := enginetest.Case{
				Name: fmt.Sprintf("%v %v", f, s),
				In:   []enginetest.Input{r.F(s[0], s[2]), r.Quantized(f, s[1], s[2]), r.Frozen(s[1])},
				Tol:  enginetest.Reduce(s[2] * 4),
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
					return []graph.Var{Linear(t, []Term{{in[0], in[1], 0.5}}, in[2])}
				},
			}
			enginetest.Check(t, r, c)
		}
	}
}

func TestEmbeddingQuantized(t *testing.T) {
	for i, f := range quantFormats {
		r := enginetest.NewRand(uint64(i))
		enginetest.Check(t, r, enginetest.Case{
			Name: f.String(), NoGradient: true, Tol: enginetest.Exact,
			In: []enginetest.Input{enginetest.Ints([]int32{3, 9, 0, 3}, 4), r.Quantized(f, 10, 64)},
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{Embedding(t, in[1], Lookup{IDs: in[0]})}
			},
		})
	}
}

func TestDoRAGainQuantized(t *testing.T) {
	for i, f := range quantFormats {
		r := enginetest.NewRand(uint64(i))
		enginetest.Check(t, r, enginetest.Case{
			Name: f.String(), NoGradient: true, Tol: enginetest.Reduce(64 * 4),
			In: []enginetest.Input{r.Quantized(f, 10, 64), r.Frozen(3, 64), r.Frozen(10, 3), r.Frozen(10)},
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{DoRAGain(t, in[0], in[1], in[2], in[3], 0.5)}
			},
		})
	}
}

// A product by a quantised matrix is, to the bit, that by the matrix unpacked: in both forms, in every shader, on every device.
func TestQuantizedProductIsThatOfTheUnpackedMatrix(t *testing.T) {
	const M, N, K = 70, 96, 64
	for _, f := range quantFormats {
		for _, form := range []form{formNT, formNN} {
			r := enginetest.NewRand(uint64(f))
			rows, cols := K, N
			if form.transB {
				rows, cols = N, K
			}
			a, b := r.Floats(M*K, 1), r.Floats(rows*cols, 1)
			packed, err := f.Pack(b, rows, cols)
			if err != nil {
				t.Fatal(err)
			}
			plain := make([]float32, rows*cols)
			f.UnpackBytes(plain, packed, rows, cols)
			for _, dev := range enginetest.Devices(t) {
				d := matmulDims{M, N, K, 0.75}
				l := &device.Launch{Kernel: matmuls[form], Dims: d}
				for _, v := range enginetest.Fitting(dev, &device.Launch{Kernel: matmuls[form], Dims: d, Args: l.Args}) {
					if !slices.Contains([]string{"quad16x16", "registers32x32", "workgroup32x32"}, v.Name) { // one of each shader
						continue
					}
					run := func(quantized bool) []byte {
						one := *l
						one.Params = device.Params{"TRANS_A": false, "TRANS_B": form.transB}
						data, spec := tensor.EncodeF32(nil, plain, tensor.F32), device.Spec{DType: tensor.F32, Len: len(plain), Label: "b"}
						if quantized {
							one.Params = one.Params.With(matmuls[form].Bindings[1].QuantizedParams(int(f)))
							data, spec = packed, device.Spec{DType: tensor.U32, Len: len(packed) / 4, Label: "b"}
						}
						one.Use(v)
						var args []device.Buffer
						for i, s := range []device.Spec{{Len: M * K, Label: "a"}, spec, {Len: N, Label: "bias"}, {Len: M * N, Label: "c"}} {
							buf, err := dev.Alloc(s)
							if err != nil {
								t.Fatal(err)
							}
							defer dev.Free(buf)
							args = append(args, buf)
							one.Args = append(one.Args, device.All(buf))
							if given := [][]byte{tensor.EncodeF32(nil, a, tensor.F32), data}; i < 2 {
								if err := dev.Write(buf, 0, given[i]); err != nil {
									t.Fatal(err)
								}
							}
						}
						exe, err := dev.Compile("product", []device.Command{{Launch: &one}})
						if err != nil {
							t.Fatal(err)
						}
						defer exe.Release()
						if err := dev.Submit(device.Work{Run: exe}); err != nil {
							t.Fatal(err)
						}
						c, err := dev.Read(args[3], 0, M*N)
						if err != nil {
							t.Fatal(err)
						}
						return c
					}
					if string(run(true)) != string(run(false)) {
						t.Errorf("%v, %v on %s, %s: other bits", f, form, dev.Info().Backend, v.Name)
					}
				}
			}
		}
	}
}

// The tuner compares a variant with the reference on a sample whose quantised matrix is whole.
func TestSampleOfQuantizedProduct(t *testing.T) {
	for form, k := range matmuls {
		for _, f := range quantFormats {
			for _, d := range []matmulDims{{64, 64, 64, 1}, {63, 64, 64, 1}, {64, 64, 37, 1}} {
				if form.transA {
					continue
				}
				small, lengths := k.Sample(d)
				random := enginetest.NewRand(1)
				p := k.Bindings[1].QuantizedParams(int(f))
				got, lengths, given := k.SamplePacked(small, lengths, p, func() float32 { return float32(random.NormFloat64()) })
				g := got.(matmulDims)
				if 4*lengths[1] != len(given[1]) || lengths[0] != int(g.M*g.K) || lengths[3] != int(g.M*g.N) {
					t.Errorf("%v %v: lengths %v for %+v", form, f, lengths, g)
				}
				if form.fours(d) != form.fours(g) && form == formNN {
					t.Errorf("%v %v: %+v stands for %+v, which other variants fit", form, f, g, d)
				}
			}
		}
	}
}
