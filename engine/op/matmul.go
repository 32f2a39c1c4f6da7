package op

import (
	"fmt"
	"math/bits"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type matmulDims struct {
	M, N, K uint32
	Alpha   float32
}

// form names how the two sides of a product are stored: N as it is used, T transposed.
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

// matmulNT launches c = alpha·a·bᵀ, or c += where accumulate is set; a gradient is added to by itself.
//
// Shapes: a (…,K), b (N,K), c (…,N). b may be BF16.
func matmulNT(t *graph.Tape, a, b, c graph.Var, alpha float32, accumulate bool) {
	launchMatmul(t, formNT, a, b, nil, c, alpha, accumulate)
}

// matmulNN launches c = alpha·a·b. Shapes: a (…,K), b (K,N), c (…,N). b may be BF16.
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
	if device.Storage(b.DType) {
		params["B_BF16"] = true
	}
	if bias == nil {
		bias = a // the shader does not look at it
	} else {
		t.Want("matmul bias", bias, tensor.Of(N))
		params["BIAS"] = true
	}
	if accumulate {
		params["ACCUMULATE"] = true
	}
	t.LaunchWith(matmul, params, matmulDims{uint32(M), uint32(N), uint32(K), alpha}, a, b, bias, c)
}

// matmulVariants are tiles in registers, quads of lanes that swap values, and tiles in workgroup memory. Software
// adapters pay for barriers and gain from multiply-adds per load; on hardware it is the other way round.
var matmulVariants = []device.Variant{
	quadVariant(16, 0),
	{Name: "registers32"},
	{Name: "registers16", Params: device.Params{"TILE_M": 16, "TILE_N": 16}},
	quadVariant(32, 2e6), quadVariant(64, 2e9),
	tiledVariant(32, 8), tiledVariant(64, 16),
}

// quadVariant is worth its time to compile, which grows with the tile, from a number of operations on. A tile of 64
// would not fit the registers of hardware.
func quadVariant(tile int, worth float64) device.Variant {
	return device.Variant{
		Name: fmt.Sprintf("quad%d", tile), Shader: "matmul_quad", Params: device.Params{"TILE_M": tile, "TILE_N": tile},
		Fits: func(i device.Info, _ device.Limits, dims any) bool {
			d := dims.(matmulDims)
			return d.fours() && i.Subgroups && i.SubgroupMin >= 4 && (tile <= 16 || i.Software && min(d.M, d.N) >= uint32(tile)) && matmulFlops(d) >= worth
		},
	}
}

func tiledVariant(tile, side int) device.Variant {
	return device.Variant{
		Name: fmt.Sprintf("workgroup%d", tile), Shader: "matmul_workgroup", Params: device.Params{"TILE_M": tile, "TILE_N": tile, "WX": side, "WY": side},
		Fits: func(i device.Info, l device.Limits, _ any) bool { return !i.Software && side*side <= l.MaxInvocations },
	}
}

// fours reports whether every row in memory is a multiple of 4 elements, whatever the form.
func (d matmulDims) fours() bool { return (d.M|d.N|d.K)%4 == 0 }

func matmulFlops(d matmulDims) float64 { return 2 * float64(d.M) * float64(d.N) * float64(d.K) }

// matmul computes C = alpha·op(A)·op(B) + bias with sums over k in order. Its three forms differ by parameters.
var matmul = &device.Kernel{
	Name: "matmul", Shader: "matmul", Entry: "matmul",
	Bindings: in("a", "b", "bias").out("c"),
	Grid: func(dims any, p device.Params) [3]int {
		d := dims.(matmulDims)
		return device.Groups(device.CeilDiv(int(d.M), p.Int("TILE_M", 32)) * device.CeilDiv(int(d.N), p.Int("TILE_N", 32)))
	},
	Flops: func(dims any) float64 { return matmulFlops(dims.(matmulDims)) },
	Class: func(dims any, p device.Params) string {
		d, kind := dims.(matmulDims), "f32"
		if p.Bool("B_BF16") {
			kind = "bf16"
		}
		up := func(n uint32) int { return 1 << bits.Len32(n-1) }
		if d.fours() {
			kind += "x4"
		}
		return fmt.Sprintf("%v/%s/m%d/n%d/k%d", form{p.Bool("TRANS_A"), p.Bool("TRANS_B")}, kind, up(d.M), up(d.N), up(d.K))
	},
	Variants: matmulVariants,
	Sample: func(dims any) (any, []int) { // more than a tile of 64 each way, and not a whole number of tiles
		d := matmulDims{70, 65, 19, 0.5}
		if dims.(matmulDims).fours() {
			d = matmulDims{72, 68, 20, 0.5}
		}
		M, N, K := int(d.M), int(d.N), int(d.K)
		return d, []int{M * K, N * K, N, M * N}
	},
	Ref: func(c *device.Call) {
		d, a, b, bias, out := c.Dims.(matmulDims), c.F(0), c.F(1), c.F(2), c.F(3)
		M, N, K := int(d.M), int(d.N), int(d.K)
		aRow, aStep, bColumn, bStep := K, 1, 1, N
		if c.Params.Bool("TRANS_A") {
			aRow, aStep = 1, M
		}
		if c.Params.Bool("TRANS_B") {
			bColumn, bStep = K, 1
		}
		for m := range M {
			for n := range N {
				sum := 0.0
				for k := range K {
					sum += a[m*aRow+k*aStep] * b[n*bColumn+k*bStep]
				}
				sum *= float64(d.Alpha)
				if c.Params.Bool("BIAS") {
					sum += bias[n]
				}
				c.Put(out, m*N+n, sum)
			}
		}
	},
}
