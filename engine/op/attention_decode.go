package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
)

type decodeDims struct {
	B, Len, W, H, Hkv, D uint32 // Len: rows of the cache for each batch row; W: the window, at most Len
	Scale                float32
}

// AttentionDecode is Attention for one new token a batch row, against caches of the keys and values so far. Cache
// rows 0 to position[b] are seen, or with a sliding window the last Window of them, so Scatter must have written the
// token's own key and value there. A prefix of keys takes the first rows of the cache, and position counts them too. It
// has no gradient.
//
// Shapes: q (B,Heads·HeadDim), kCache and vCache (B·cacheLen,KVHeads·HeadDim), position (B) of type I32 → o like q.
// The fields T and P of s are ignored.
func AttentionDecode(t *graph.Tape, q, kCache, vCache, position graph.Var, s AttentionShape, cacheLen int) graph.Var {
	s.T, s.P = cacheLen, 0 // dims bounds the window by the cache
	d := s.dims("AttentionDecode")
	wantRows("AttentionDecode", q, s.B, s.Heads*s.HeadDim)
	wantRows("AttentionDecode", kCache, s.B*cacheLen, s.KVHeads*s.HeadDim)
	wantRows("AttentionDecode", vCache, s.B*cacheLen, s.KVHeads*s.HeadDim)
	if position.Shape.Size() != s.B {
		graph.Fail("AttentionDecode: position %v for %d rows", position.Shape, s.B)
	}
	o := t.New(q.Shape)
	t.LaunchWith(attentionDecode, d.params().With(device.Params{"OWN": device.CeilDiv(s.HeadDim, wg)}),
		decodeDims{d.B, d.T, d.W, d.H, d.Hkv, d.D, d.Scale}, q, kCache, vCache, position, o)
	return o
}

var attentionDecode = &device.Kernel{
	Name: "attention_decode", Shader: "attention_decode", Entry: "decode",
	Bindings: in("q", "k", "v", "position").out("o"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(decodeDims)
		return device.Groups(int(d.B * d.H))
	},
	Ref: func(c *device.Call) {
		d, q, k, v, position, o := c.Dims.(decodeDims), c.F(0), c.F(1), c.F(2), c.U(3), c.F(4)
		D, H, Hkv := int(d.D), int(d.H), int(d.Hkv)
		clear(o)
		for n := range int(d.B) * H {
			b, head := n/H, n%H/(H/Hkv)
			keys := min(max(int(int32(position[b])), 0), int(d.Len)-1) + 1
			at := func(x []float64, j int) []float64 { return x[((b*int(d.Len)+j)*Hkv+head)*D:][:D] }
			first := max(keys-int(d.W), 0)
			p, peak, sum := make([]float64, keys-first), math.Inf(-1), 0.0
			for j := range p {
				p[j] = float64(d.Scale) * dot(q[n*D:][:D], at(k, first+j))
				peak = max(peak, p[j])
			}
			for j := range p {
				p[j] = math.Exp(p[j] - peak)
				sum += p[j]
			}
			for j := range p {
				addScaled(o[n*D:][:D], p[j]/sum, at(v, first+j))
			}
		}
	},
}
