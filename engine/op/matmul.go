package op

import (
	"fmt"
	"math/bits"
	"strings"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

type matmulDims struct {
	M, N, K uint32
	Alpha   float32
}

// form tells which factors of a product are stored transposed: N is no, T is yes, as in BLAS.
type form struct{ transA, transB bool }

var (
	formNT = form{false, true}  // Y = X·Wᵀ
	formNN = form{false, false} // dX = dY·W
	formTN = form{true, false}  // dW = dYᵀ·X
)

func (f form) String() string {
	letter := map[bool]string{false: "n", true: "t"}
	return letter[f.transA] + letter[f.transB]
}

// matmulNT launches c = alpha·a·bᵀ, or c += where accumulate is set. Tape.Launch sets it for a gradient that already has a value.
//
// Shapes: a (…,K), b (N,K), c (…,N). b may be of two bytes.
func matmulNT(t *graph.Tape, a, b, c graph.Var, alpha float32, accumulate bool) {
	launchMatmul(t, formNT, a, b, nil, c, alpha, accumulate)
}

// matmulNN launches c = alpha·a·b. Shapes: a (…,K), b (K,N), c (…,N). b may be of two bytes.
func matmulNN(t *graph.Tape, a, b, c graph.Var, alpha float32, accumulate bool) {
	launchMatmul(t, formNN, a, b, nil, c, alpha, accumulate)
}

// matmulTN launches c = alpha·aᵀ·b. Shapes: a (…,M), b (…,N), c (M,N), where … are K rows.
func matmulTN(t *graph.Tape, a, b, c graph.Var, alpha float32, accumulate bool) {
	launchMatmul(t, formTN, a, b, nil, c, alpha, accumulate)
}

// launchMatmul launches c = alpha·op(a)·op(b) + bias; bias (N) may be nil.
func launchMatmul(t *graph.Tape, f form, a, b, bias, c graph.Var, alpha float32, accumulate bool) {
	M, K := a.Dim2()
	if f.transA {
		M, K = K, M
	}
	rows, cols := b.Dim2()
	N, inner := cols, rows
	if f.transB {
		N, inner = rows, cols
	}
	cRows, cCols := c.Dim2()
	if inner != K || cRows != M || cCols != N {
		graph.Fail("matmul %v: %q %v by %q %v into %v", f, a.Name, a.Shape, b.Name, b.Shape, c.Shape)
	}
	params := device.Params{"TRANS_A": f.transA, "TRANS_B": f.transB}
	if bias == nil {
		bias = a // the shader does not look at it
	} else {
		t.Want("matmul bias", bias, tensor.Of(N))
		params["BIAS"] = true
	}
	if accumulate {
		params["ACCUMULATE"] = true
	}
	t.LaunchWith(matmuls[f], params, matmulDims{uint32(M), uint32(N), uint32(K), alpha}, a, b, bias, c)
}

// matmuls are the kernels of the three forms. Each adds the products in the order of k.
var matmuls = map[form]*device.Kernel{formNT: newMatmul(formNT), formNN: newMatmul(formNN), formTN: newMatmul(formTN)}

func newMatmul(f form) *device.Kernel {
	return &device.Kernel{
		Name: "matmul_" + f.String(), Shader: "matmul", Entry: "matmul",
		Bindings: in("a", "b", "bias").out("c").either("b"),
		Grid: func(dims any, p device.Params) [3]int {
			d := dims.(matmulDims)
			return device.Groups(device.CeilDiv(int(d.M), p.Int("TILE_M", 32)) * device.CeilDiv(int(d.N), p.Int("TILE_N", 32)))
		},
		Flops: func(dims any) float64 { return matmulFlops(dims.(matmulDims)) },
		ShapeGroup: func(dims any, p device.Params) string {
			d, kind := dims.(matmulDims), "f32"
			switch {
			case p.Bool("B_QUANTIZED"):
				kind = strings.ReplaceAll(quant.Format(p.Int("B_FORMAT", 0)).String(), " ", "-")
			case p.Bool("B_F16"):
				kind = "f16"
			case p.Bool("B_PACKED"):
				kind = "bf16"
			}
			if f.fours(d) { // quads can read it
				kind += "x4"
			}
			up := func(n uint32) int { return 1 << bits.Len32(n-1) }
			return fmt.Sprintf("%s/m%d/n%d/k%d", kind, up(d.M), up(d.N), up(d.K))
		},
		Variants: matmulVariants(f),
		Sample: func(dims any) (any, []int) { // more than a tile of 64 each way, and not a whole number of tiles
			d := matmulDims{M: 70, N: 67, K: 37, Alpha: 0.5}
			if f.fours(dims.(matmulDims)) {
				d = map[form]matmulDims{formNT: {70, 67, 36, 0.5}, formNN: {70, 68, 36, 0.5}, formTN: {68, 76, 37, 0.5}}[f]
			}
			return d, []int{int(d.M * d.K), int(d.N * d.K), int(d.N), int(d.M * d.N)}
		},
		SamplePacked: func(small any, lengths []int, p device.Params, random func() float32) (any, []int, map[int][]byte) {
			format := quantization(p, "B")
			if format == quant.Plain {
				return small, lengths, nil
			}
			d := small.(matmulDims)
			d.K = 64
			if !f.transB {
				d.N, d.K = 96, 38 // whole blocks of 64 and of 32
			}
			if f.fours(small.(matmulDims)) && !f.transB {
				d.K = 36
			}
			lengths = []int{int(d.M * d.K), 0, int(d.N), int(d.M * d.N)}
			data := packRandom(format, f, d, random)
			lengths[1] = len(data) / 4
			return d, lengths, map[int][]byte{1: data}
		},
		Ref: func(c *device.Call) { matmulRef(f, c) },
	}
}

// packRandom packs random values of the shape of b.
func packRandom(format quant.Format, f form, d matmulDims, random func() float32) []byte {
	rows, cols := int(d.K), int(d.N)
	if f.transB {
		rows, cols = cols, rows
	}
	return packedRandom(format, rows, cols, random)
}

func matmulFlops(d matmulDims) float64 { return 2 * float64(d.M) * float64(d.N) * float64(d.K) }

// fours reports whether the rows of both sides are multiples of 4 elements, as they lie in memory.
func (f form) fours(d matmulDims) bool {
	a, b := d.K, d.N
	if f.transA {
		a = d.M
	}
	if f.transB {
		b = d.K
	}
	return a%4 == 0 && b%4 == 0
}

// matmulVariants are quads of lanes that swap values, tiles in registers, and tiles in workgroup memory. On a software
// adapter barriers are slow and quads save loads. On a hardware adapter workgroup memory is fast.
func matmulVariants(f form) []device.Variant {
	return []device.Variant{
		quadVariant(f, 16, 16), quadVariant(f, 32, 16), quadVariant(f, 16, 32),
		{Name: "registers32x32"},
		tiledVariant(64, 16, 16, 16), tiledVariant(16, 64, 16, 16), // for the thin sides of low-rank updates
		tiledVariant(32, 32, 8, 8), tiledVariant(64, 64, 16, 16), tiledVariant(128, 64, 16, 16),
	}
}

// quadPays is the number of floating-point operations of a run from which quads save time. SwiftShader compiles them for one
// to three seconds, where tiles in registers take 0.2 s, and then saves 0.3 ns an operation. Some three groups of shapes
// share what is compiled.
const quadPays = 1e9

// quadVariant has one quad in a workgroup, which would leave most of a hardware adapter idle. On SwiftShader 32×16 does
// 10.8 GFLOP/s where 16×16 does 9; larger tiles take seconds to compile, and with more than some 600 multiply-adds
// in a turn of the loop they fall back to 6.5.
func quadVariant(f form, m, n int) device.Variant {
	return device.Variant{
		Name: fmt.Sprintf("quad%dx%d", m, n), Shader: "matmul_quad", Params: device.Params{"TILE_M": m, "TILE_N": n}, Pays: quadPays,
		Fits: func(i device.Info, _ device.Limits, dims any) bool {
			d := dims.(matmulDims)
			return i.Software && i.Subgroups && i.SubgroupMin >= 4 && f.fours(d) && fills(d, m, n)
		},
	}
}

func tiledVariant(m, n, wy, wx int) device.Variant {
	return device.Variant{
		Name:   fmt.Sprintf("workgroup%dx%d", m, n),
		Shader: "matmul_workgroup", Params: device.Params{"TILE_M": m, "TILE_N": n, "WY": wy, "WX": wx},
		Fits: func(i device.Info, l device.Limits, dims any) bool {
			return !i.Software && wx*wy <= l.MaxInvocations && fills(dims.(matmulDims), m, n)
		},
	}
}

// fills reports whether no tile smaller by 16 would do for these outputs.
func fills(d matmulDims, m, n int) bool { return int(d.M) > m-16 && int(d.N) > n-16 }

// matmulRef is C = alpha·op(A)·op(B) + bias. Each sum adds its products in the order of k. Where b is not transposed, a row of c
// is summed at once, so that b is read as it lies in memory.
func matmulRef(f form, c *device.Call) {
	d, a, bias, out := c.Dims.(matmulDims), c.F(0), c.F(2), c.F(3)
	M, N, K := int(d.M), int(d.N), int(d.K)
	rows, cols := K, N
	if f.transB {
		rows, cols = N, K
	}
	b := unpacked(c, 1, "B", rows, cols)
	aRow, aStep := K, 1
	if f.transA {
		aRow, aStep = 1, M
	}
	biased, alpha := c.Params.Bool("BIAS"), float64(d.Alpha)
	sums := make([]float64, N)
	for m := range M {
		clear(sums)
		if f.transB {
			dotRows(sums, a[m*K:][:K], b) // no form has both sides transposed
		} else {
			for k := range K {
				x := a[m*aRow+k*aStep]
				for n, y := range b[k*N:][:N] {
					sums[n] += x * y
				}
			}
		}
		for n, sum := range sums {
			sum *= alpha
			if biased {
				sum += bias[n]
			}
			c.Put(out, m*N+n, sum)
		}
	}
}

// dotRows sets sums[n] to the dot product of x with row n of b, which has rows of len(x). It computes four sums at a
// time: each addition of a sum waits for the one before it, and the processor does those of other sums meanwhile. The order
// of the additions in each sum stays the same, and so do its bits.
func dotRows(sums, x, b []float64) {
	K, n := len(x), 0
	for ; n+4 <= len(sums); n += 4 {
		b0, b1, b2, b3 := b[n*K:][:K], b[(n+1)*K:][:K], b[(n+2)*K:][:K], b[(n+3)*K:][:K]
		s0, s1, s2, s3 := 0.0, 0.0, 0.0, 0.0
		for k, y := range x {
			s0 += y * b0[k]
			s1 += y * b1[k]
			s2 += y * b2[k]
			s3 += y * b3[k]
		}
		sums[n], sums[n+1], sums[n+2], sums[n+3] = s0, s1, s2, s3
	}
	for ; n < len(sums); n++ {
		sums[n] = dot(x, b[n*K:][:K])
	}
}
