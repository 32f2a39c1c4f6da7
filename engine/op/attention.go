package op

import (
	"fmt"
	"math"
	"math/bits"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// AttentionShape describes a call of Attention.
type AttentionShape struct {
	B, T           int     // batch rows and positions
	P              int     // extra keys before the first position: prefix-tuning
	Window         int     // a query sees the last Window keys, its own among them; 0 for all (sliding-window attention)
	Heads, KVHeads int     // query head h reads key/value head h / (Heads/KVHeads)
	HeadDim        int     // even, at most 256
	Scale          float32 // of the scores, 1/√HeadDim as a rule
}

func (s AttentionShape) dims(op string) attentionDims {
	if s.B < 1 || s.T < 1 || s.P < 0 || s.Window < 0 || s.KVHeads < 1 || s.Heads < 1 || s.Heads%s.KVHeads != 0 ||
		s.HeadDim < 2 || s.HeadDim > 256 || s.HeadDim%2 != 0 {
		graph.Fail("%s: shape %+v", op, s)
	}
	window := s.P + s.T // all keys
	if s.Window > 0 {
		window = min(window, s.Window)
	}
	return attentionDims{uint32(s.B), uint32(s.T), uint32(s.P), uint32(window), uint32(s.Heads), uint32(s.KVHeads), uint32(s.HeadDim), s.Scale}
}

func wantRows(op string, v graph.Var, rows, cols int) {
	if r, c := v.Dim2(); r != rows || c != cols {
		graph.Fail("%s: %q has shape %v, want %d rows of %d", op, v.Name, v.Shape, rows, cols)
	}
}

type attentionDims struct {
	B, T, P, W, H, Hkv, D uint32 // W: the window, at most P+T
	Scale                 float32
}

// vectors is how many loads a head takes: of four elements, or of two where four do not divide it.
func (d attentionDims) vectors() int {
	if d.D%4 == 0 {
		return int(d.D / 4)
	}
	return int(d.D / 2)
}

// windowed says whether the window hides a key from some query.
func (d attentionDims) windowed() bool { return d.W < d.P+d.T }

// params are the parameters of the shaders that read heads as vectors.
func (d attentionDims) params() device.Params {
	n := d.vectors()
	return device.Params{"V": fmt.Sprintf("vec%d<f32>", int(d.D)/n), "VECS": n}
}

// Attention is causal attention with grouped queries, never holding the scores:
//
//	o_i = Σ_j p_ij v_j,   p_ij = exp(s_ij − lse_i),   s_ij = scale · q_i·k_j,   lse_i = log Σ_j exp s_ij
//
// Query i of a batch row sees its P prefix keys and key P+j where start_i ≤ j ≤ i. start_i = i − positions[i], so
// that documents packed into one row, whose positions restart, do not see each other; start_i never falls. With a sliding window it sees only
// those of them among the last Window keys: key n, of a prefix or not, where P+i−n < Window, as in transformers
// (masking_utils.py). The kernels do not visit the other positions.
//
// Shapes: q (B·T,Heads·HeadDim), k and v (B·(P+T),KVHeads·HeadDim), positions (B·T) of type I32 → o like q.
// Saves lse (B·T,Heads) and o. The backward pass recomputes p. One thread sums each element of a gradient, so the order is fixed:
//
//	dv_j = Σ_i p_ij do_i,   ds_ij = p_ij (do_i·v_j − do_i·o_i),   dq_i = scale Σ_j ds_ij k_j,   dk_j = scale Σ_i ds_ij q_i
//
// Dao 2023, FlashAttention-2, arXiv:2307.08691; Ainslie et al. 2023, arXiv:2305.13245.
func Attention(t *graph.Tape, q, k, v, positions graph.Var, s AttentionShape) graph.Var {
	d := s.dims("Attention")
	params := d.params()
	masked := params.With(device.Params{"WINDOW": d.windowed()})
	wantRows("Attention", q, s.B*s.T, s.Heads*s.HeadDim)
	wantRows("Attention", k, s.B*(s.P+s.T), s.KVHeads*s.HeadDim)
	wantRows("Attention", v, s.B*(s.P+s.T), s.KVHeads*s.HeadDim)
	if positions.Shape.Size() != s.B*s.T {
		graph.Fail("Attention: positions %v for %d rows of %d", positions.Shape, s.B, s.T)
	}
	o, lse := t.New(q.Shape), t.New(tensor.Of(s.B*s.T, s.Heads))
	t.LaunchWith(attentionForward, masked, d, q, k, v, positions, o, lse)
	t.OnBackward(o, func(do graph.Var) {
		stats := t.New(tensor.Of(s.B*s.T, s.Heads, 2))
		t.LaunchWith(attentionDelta, params, d, o, do, lse, stats)
		t.Accumulate(q, func(dq graph.Var) {
			t.LaunchWith(attentionBackwardQ, masked, d, q, k, v, positions, do, stats, dq)
		})
		if !k.WantsGrad() && !v.WantsGrad() {
			return
		}
		// One kernel computes both. Where only one is wanted, the other is written to a temporary.
		dk, dv := t.New(k.Shape), t.New(v.Shape)
		t.Accumulate(k, func(g graph.Var) { dk = g })
		t.Accumulate(v, func(g graph.Var) { dv = g })
		t.LaunchWith(attentionBackwardKV, masked, d, q, k, v, positions, do, stats, dk, dv)
	})
	return o
}

// attentionVariants are the variants of lib/attention.wgsl: plain with 1, 2 or 4 rows for each thread, then tiled.
// held is the number of values that a thread keeps for each element of its rows, sums the number of sums that it shares for
// each row and tile element. Tiled variants are for hardware adapters: on a software adapter barriers and compilation cost
// more than the tiles save.
func attentionVariants(held, sums int) []device.Variant {
	plain := func(rows int) device.Variant {
		return device.Variant{
			Name: fmt.Sprintf("plain/r%d", rows), Params: device.Params{"ROWS": rows},
			// Unrolled code grows with rows·D, and with it the time to compile it.
			Fits: func(_ device.Info, _ device.Limits, dims any) bool { return rows*int(dims.(attentionDims).D) <= 256 },
		}
	}
	list := []device.Variant{{Name: "plain/r1"}, plain(2), plain(4)}
	for _, split := range []int{1, 2, 4, 8, 16} {
		for _, rows := range []int{1, 2} {
			for _, tile := range []int{8, 4} {
				list = append(list, device.Variant{
					Name:   fmt.Sprintf("tiled/r%d/s%d/t%d", rows, split, tile),
					Params: device.Params{"TILED": true, "ROWS": rows, "SPLIT": split, "TILE": tile},
					Fits: func(i device.Info, l device.Limits, dims any) bool {
						d := dims.(attentionDims)
						// About 64 registers of data keep a GPU busy without spilling. Short heads gain nothing from more threads.
						registers := held * rows * int(d.D) / split
						if i.Software || d.vectors()%split != 0 || registers > 64 || registers <= 32 && split*rows > 1 {
							return false
						}
						// The longer tile where workgroup memory holds it; 16 bytes are for the bounds of the loop.
						memory := func(tile int) int { return 4*tile*(2*int(d.D)+sums*wg*rows) + 16 }
						return memory(tile) <= l.MaxWorkgroupMemory && (tile == 8 || memory(8) > l.MaxWorkgroupMemory)
					},
				})
			}
		}
	}
	return list
}

// attentionGrid is the grid for n rows, or keys, of one batch row and key/value head.
func attentionGrid(d attentionDims, p device.Params, n uint32) [3]int {
	pairs, rows := int(d.B*d.Hkv), p.Int("ROWS", 1)
	if p.Bool("TILED") {
		return device.Groups(pairs * device.CeilDiv(int(n), wg/p.Int("SPLIT", 1)*rows))
	}
	return perThread(pairs * device.CeilDiv(int(n), rows))
}

func attentionQueryGrid(dims any, p device.Params) [3]int {
	d := dims.(attentionDims)
	return attentionGrid(d, p, d.T*(d.H/d.Hkv))
}

// attentionFlops counts perElement operations for each element of the keys that each query sees when nothing is packed.
func attentionFlops(perElement float64) func(dims any) float64 {
	return func(dims any) float64 {
		d := dims.(attentionDims)
		return perElement * float64(d.D) * float64(d.B*d.H) * d.pairs()
	}
}

// pairs is the number of pairs of a query and a key that it sees in a row where nothing is packed.
func (d attentionDims) pairs() float64 {
	T, P, W := float64(d.T), float64(d.P), float64(d.W)
	pairs := T*(T+1)/2 + T*P
	if hidden := P + T - W; hidden > 0 { // the last query does not see so many keys, the one before it one less
		first := max(hidden-T, 0) // what the query before the first one does not see
		pairs -= hidden*(hidden+1)/2 - first*(first+1)/2
	}
	return pairs
}

// PackedFlops corrects the operations of attention for packed rows, for graph.Tape.FlopsBy: a query sees the keys of its
// document only. pairs is the number of pairs of positions of a row that see each other, of a window of so many positions
// or without one (0). The P keys of a prefix are seen by every query.
func PackedFlops(pairs func(window int) float64) func(dims any, flops float64) float64 {
	return func(dims any, flops float64) float64 {
		d, ok := dims.(attentionDims)
		if !ok {
			return flops
		}
		window := 0
		if d.windowed() {
			window = int(d.W)
		}
		return flops * (pairs(window) + float64(d.T*d.P)) / d.pairs()
	}
}

// attentionShapeGroup groups launches whose T, and whose window where it hides keys, round up to the same powers of two.
func attentionShapeGroup(dims any, _ device.Params) string {
	d := dims.(attentionDims)
	group := fmt.Sprintf("t%d/d%d", 1<<bits.Len32(d.T-1), d.D)
	if d.windowed() {
		group += fmt.Sprintf("/w%d", 1<<bits.Len32(d.W-1))
	}
	return group
}

// eachRow calls f for every query row and the keys that it sees, in their order. n numbers the heads of q (B·T·H in all),
// keys those of k and v (B·(P+T)·Hkv). f must not keep keys.
func (d attentionDims) eachRow(positions []uint32, f func(n int, keys []int)) {
	T, P, H, Hkv := int(d.T), int(d.P), int(d.H), int(d.Hkv)
	keys := make([]int, 0, P+T)
	for b := range int(d.B) {
		for i := range T {
			start := i - min(max(int(int32(positions[b*T+i])), 0), i)
			for h := range H {
				keys = keys[:0]
				for key := max(P+i+1-int(d.W), 0); key <= P+i; key++ {
					if key < P || key-P >= start {
						keys = append(keys, (b*(P+T)+key)*Hkv+h/(H/Hkv))
					}
				}
				f((b*T+i)*H+h, keys)
			}
		}
	}
}

// eachPair calls f for every query row and each key that it sees, numbered as in eachRow.
func (d attentionDims) eachPair(positions []uint32, f func(n, j int)) {
	d.eachRow(positions, func(n int, keys []int) {
		for _, j := range keys {
			f(n, j)
		}
	})
}

// head is row n of x seen as heads of D.
func (d attentionDims) head(x []float64, n int) []float64 { return x[n*int(d.D):][:d.D] }

func (d attentionDims) score(q, k []float64, n, j int) float64 {
	return float64(d.Scale) * dot(d.head(q, n), d.head(k, j))
}

func dot(x, y []float64) float64 {
	sum := 0.0
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// addScaled adds a·x to y.
func addScaled(y []float64, a float64, x []float64) {
	for i := range y {
		y[i] += a * x[i]
	}
}

// attentionSample makes a Kernel.Sample: one batch row of a few positions with the same width and ratio of heads. units
// gives each binding's length: q and k for arrays like queries and keys, n for positions, 1 and 2 for numbers per query row.
func attentionSample(units ...rune) func(any) (any, []int) {
	return func(dims any) (any, []int) {
		d := dims.(attentionDims)
		windowed := d.windowed()
		d.H, d.Hkv, d.B, d.T, d.P = d.H/d.Hkv*min(d.Hkv, 2), min(d.Hkv, 2), 1, 37, min(d.P, 3)
		if d.W = d.P + d.T; windowed {
			d.W = 11
		}
		size := map[rune]uint32{'q': d.T * d.H * d.D, 'k': (d.P + d.T) * d.Hkv * d.D, 'n': d.T, '1': d.T * d.H, '2': 2 * d.T * d.H}
		var lengths []int
		for _, u := range units {
			lengths = append(lengths, int(size[u]))
		}
		return d, lengths
	}
}

var attentionForward = &device.Kernel{
	Name: "attention_forward", Shader: "attention", Entry: "forward",
	Bindings: in("q", "k", "v", "positions").out("o", "lse"),
	Grid:     attentionQueryGrid, Flops: attentionFlops(4), ShapeGroup: attentionShapeGroup, Variants: attentionVariants(2, 1),
	Sample: attentionSample('q', 'k', 'k', 'n', 'q', '1'),
	Ref: func(c *device.Call) {
		d, q, k, v, positions, o, lse := c.Dims.(attentionDims), c.F(0), c.F(1), c.F(2), c.U(3), c.F(4), c.F(5)
		var scores []float64 // of one query
		clear(o)
		d.eachRow(positions, func(n int, keys []int) {
			scores = scores[:0]
			peak := math.Inf(-1)
			for _, j := range keys {
				s := d.score(q, k, n, j)
				scores, peak = append(scores, s), max(peak, s)
			}
			sum := 0.0
			for _, s := range scores {
				sum += math.Exp(s - peak)
			}
			lse[n] = peak + math.Log(sum)
			for i, j := range keys {
				addScaled(d.head(o, n), math.Exp(scores[i]-lse[n]), d.head(v, j))
			}
		})
	},
}

var attentionDelta = &device.Kernel{
	Name: "attention_delta", Shader: "attention_delta", Entry: "delta",
	Bindings: in("o", "do", "lse").out("stats"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(attentionDims)
		return perThread(int(d.B * d.T * d.H))
	},
	Ref: func(c *device.Call) {
		d, o, do, lse, stats := c.Dims.(attentionDims), c.F(0), c.F(1), c.F(2), c.F(3)
		for n := range lse {
			stats[2*n], stats[2*n+1] = lse[n], dot(d.head(o, n), d.head(do, n))
		}
	},
}

var attentionBackwardQ = &device.Kernel{
	Name: "attention_backward_q", Shader: "attention_backward_q", Entry: "backward",
	Bindings: in("q", "k", "v", "positions", "do", "stats").out("dq"),
	Grid:     attentionQueryGrid, Flops: attentionFlops(6), ShapeGroup: attentionShapeGroup, Variants: attentionVariants(3, 2),
	Sample: attentionSample('q', 'k', 'k', 'n', 'q', '2', 'q'),
	Ref: func(c *device.Call) {
		d, k, dq := c.Dims.(attentionDims), c.F(1), make([]float64, len(c.F(6)))
		attentionWeights(c, func(n, j int, _, ds float64) { addScaled(d.head(dq, n), ds, d.head(k, j)) })
		for i := range dq {
			c.Put(c.F(6), i, dq[i])
		}
	},
}

var attentionBackwardKV = &device.Kernel{
	Name: "attention_backward_kv", Shader: "attention_backward_kv", Entry: "backward",
	Bindings: in("q", "k", "v", "positions", "do", "stats").out("dk", "dv"),
	Grid: func(dims any, p device.Params) [3]int {
		d := dims.(attentionDims)
		return attentionGrid(d, p, d.P+d.T)
	},
	Flops: attentionFlops(8), ShapeGroup: attentionShapeGroup, Variants: attentionVariants(4, 2),
	Sample: attentionSample('q', 'k', 'k', 'n', 'q', '2', 'k', 'k'),
	Ref: func(c *device.Call) {
		d, q, do := c.Dims.(attentionDims), c.F(0), c.F(4)
		dk, dv := make([]float64, len(c.F(6))), make([]float64, len(c.F(7)))
		attentionWeights(c, func(n, j int, p, ds float64) {
			addScaled(d.head(dk, j), ds, d.head(q, n))
			addScaled(d.head(dv, j), p, d.head(do, n))
		})
		for i := range dk {
			c.Put(c.F(6), i, dk[i])
			c.Put(c.F(7), i, dv[i])
		}
	},
}

// attentionWeights calls f with p and scale·ds of every query row and key it sees, in a backward pass.
func attentionWeights(c *device.Call, f func(n, j int, p, ds float64)) {
	d, q, k, v, do, stats := c.Dims.(attentionDims), c.F(0), c.F(1), c.F(2), c.F(4), c.F(5)
	d.eachPair(c.U(3), func(n, j int) {
		p := math.Exp(d.score(q, k, n, j) - stats[2*n])
		f(n, j, p, p*(dot(d.head(do, n), d.head(v, j))-stats[2*n+1])*float64(d.Scale))
	})
}
