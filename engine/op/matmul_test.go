package op

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// matmulUse is how a product is used: how b is stored, whether a bias is added, and whether c has a value to add to. Each use is
// another pipeline of every variant.
type matmulUse struct {
	kind               tensor.DType
	biased, accumulate bool
}

// The first matmulUses of these are tested: every storage, with and without bias and accumulation. The long tests take all,
// because a software adapter compiles some pipelines for seconds.
var (
	allMatmulUses = []matmulUse{
		{tensor.F32, true, false}, {tensor.BF16, false, true}, {tensor.F16, true, true},
		{tensor.F32, false, false}, {tensor.BF16, true, false}, {tensor.F16, false, false},
		{tensor.F32, true, true}, {tensor.BF16, false, false}, {tensor.F16, true, false},
		{tensor.F32, false, true}, {tensor.BF16, true, true}, {tensor.F16, false, true},
	}
	matmulUses = 3
)

// matmulCase is a product of form f with a random alpha. Only the form nt has a bias. The first use runs in every variant, the
// others in one variant of each shader, which holds all that the use changes.
func matmulCase(r *enginetest.Rand, f form, d matmulDims, u matmulUse) enginetest.Case {
	M, N, K := int(d.M), int(d.N), int(d.K)
	a, b := tensor.Of(M, K), tensor.Of(K, N)
	if f.transA {
		a = tensor.Of(K, M)
	}
	if f.transB {
		b = tensor.Of(N, K)
	}
	weights := r.Frozen(b...)
	weights.DType = u.kind
	alpha := float32(r.NormFloat64())
	products := enginetest.ProductsOfEachShader
	if u == allMatmulUses[0] {
		products = enginetest.AllProducts
	}
	return enginetest.Case{
		In:         []enginetest.Input{r.Frozen(a...), weights, r.Frozen(N), r.Frozen(M, N)},
		Tol:        enginetest.Reduce(K),
		NoGradient: true,
		Products:   products,
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			c := t.New(tensor.Of(M, N))
			t.Copy(c, in[3])
			bias := in[2]
			if !u.biased || f != formNT {
				bias = nil
			}
			launchMatmul(t, f, in[0], in[1], bias, c, alpha, u.accumulate)
			return []graph.Var{c}
		},
	}
}

func testForms(t *testing.T, dims func(r *enginetest.Rand, f form) matmulDims) {
	for f := range matmuls {
		t.Run(f.String(), func(t *testing.T) {
			n := 0
			enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
				use := allMatmulUses[n%matmulUses]
				n++
				return matmulCase(r, f, dims(r, f), use)
			})
		})
	}
}

func TestMatmul(t *testing.T) {
	testForms(t, func(r *enginetest.Rand, _ form) matmulDims {
		return matmulDims{M: uint32(r.Dim(1, 140)), N: uint32(r.Dim(1, 140)), K: uint32(r.Dim(1, 140))}
	})
}

// TestMatmulFours has the shapes that every variant can compute: rows in memory are multiples of 4, all else is odd.
func TestMatmulFours(t *testing.T) {
	testForms(t, func(r *enginetest.Rand, f form) matmulDims {
		d := matmulDims{M: uint32(113 + r.IntN(30)), N: uint32(49 + r.IntN(30)), K: uint32(1 + r.IntN(60))}
		if f.transA {
			d.M = d.M &^ 3
		} else {
			d.K = (d.K + 3) &^ 3
		}
		if !f.transB {
			d.N = (d.N + 3) &^ 3
		}
		if d.M < 113 { // the largest tile needs more
			d.M += 4
		}
		hardware := device.Info{Subgroups: true, SubgroupMin: 4}
		software := hardware
		software.Software = true
		for _, v := range matmuls[f].Variants {
			if v.Fits != nil && !v.Fits(hardware, device.DefaultLimits, d) && !v.Fits(software, device.DefaultLimits, d) {
				t.Errorf("%s does not fit %+v", v.Name, d)
			}
		}
		return d
	})
}

// A table made for shapes that quads can read must not be looked up for others.
func TestMatmulClass(t *testing.T) {
	for f, k := range matmuls {
		even, odd := k.ShapeGroup(matmulDims{M: 64, N: 64, K: 64}, nil), k.ShapeGroup(matmulDims{M: 63, N: 63, K: 63}, nil)
		if even == odd {
			t.Errorf("%v: (64, 64, 64) and (63, 63, 63) are both in the group %s", f, even)
		}
	}
}

func TestMatmulRefusesShapes(t *testing.T) {
	for name, record := range map[string]func(t *graph.Tape){
		"inner": func(t *graph.Tape) {
			matmulNT(t, t.New(tensor.Of(2, 3)), t.New(tensor.Of(4, 5)), t.New(tensor.Of(2, 4)), 1, false)
		},
		"output": func(t *graph.Tape) {
			matmulTN(t, t.New(tensor.Of(3, 2)), t.New(tensor.Of(3, 4)), t.New(tensor.Of(2, 5)), 1, false)
		},
		"bias": func(t *graph.Tape) {
			Linear(t, []Term{{t.New(tensor.Of(2, 3)), t.New(tensor.Of(4, 3)), 1}}, t.New(tensor.Of(3)))
		},
		"no terms": func(t *graph.Tape) { Linear(t, nil, nil) },
	} {
		if err := graph.Record(func() { record(graph.NewTape()) }); err == nil {
			t.Errorf("%s: recorded", name)
		}
	}
}

// BenchmarkMatmul measures each variant that fits. SwiftShader peaks at some 35 GFLOP/s on two cores when nothing is
// loaded; a figure from it says nothing of a GPU.
func BenchmarkMatmul(b *testing.B) {
	devs := enginetest.Devices(b)
	dev := devs[len(devs)-1]
	measure, ok := dev.(interface {
		Measure(work ...device.Work) (time.Duration, error)
	})
	if !ok {
		b.Skip("the reference device is no place to measure speed")
	}
	for _, f := range []form{formNT, formNN, formTN} {
		for _, d := range []matmulDims{{256, 576, 1536, 1}, {64, 64, 512, 1}, {256, 8, 576, 1}} {
			for _, kind := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
				if f == formTN && kind == tensor.BF16 {
					continue
				}
				l, free := benchmarkLaunch(b, dev, f, d, kind)
				for _, v := range l.Kernel.Variants {
					if v.Fits != nil && !v.Fits(dev.Info(), dev.Limits(), d) {
						continue
					}
					b.Run(fmt.Sprintf("%v/%dx%dx%d/%s/%s", f, d.M, d.N, d.K, strings.ToLower(kind.String()), v.Name), func(b *testing.B) {
						one := *l
						one.Use(v)
						exe, err := dev.Compile(b.Name(), []device.Command{{Launch: &one}})
						if err != nil {
							b.Fatal(err)
						}
						defer exe.Release()
						took, err := measure.Measure(device.Work{Run: exe})
						if err != nil {
							b.Fatal(err)
						}
						b.ReportMetric(matmulFlops(d)/took.Seconds()/1e9, "GFLOP/s")
						b.ReportMetric(0, "ns/op")
					})
				}
				free()
			}
		}
	}
}

func benchmarkLaunch(b *testing.B, dev device.Device, f form, d matmulDims, kind tensor.DType) (l *device.Launch, free func()) {
	l = &device.Launch{Kernel: matmuls[f], Dims: d, Params: device.Params{"TRANS_A": f.transA, "TRANS_B": f.transB}.With(matmuls[f].Bindings[1].PackedParams(kind))}
	for i, n := range []uint32{d.M * d.K, d.N * d.K, d.N, d.M * d.N} {
		s := device.Spec{Len: int(n), Label: l.Kernel.Bindings[i].Name}
		if i == 1 {
			s.DType = kind
		}
		buf, err := dev.Alloc(s)
		if err != nil {
			b.Fatal(err)
		}
		l.Args = append(l.Args, device.All(buf))
	}
	return l, func() {
		for _, a := range l.Args {
			dev.Free(a.Buf)
		}
	}
}
