package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type slotDims struct {
	N, K, H, Hkv, D uint32
	Scale           float32
}

// SlotAttention attends to K slots that all queries share, with a softmax of its own and a gate, as LLaMA-Adapter does:
//
//	o_i = gate · Σ_j p_ij v_j,   p_ij = softmax_j(scale · q_i·k_j)
//
// There is no mask: every query sees every slot. With do the gradient of o and m_i = Σ_j p_ij do_i·v_j,
//
//	dgate = Σ_i m_i,   ds_ij = scale · gate · p_ij (do_i·v_j − m_i),   dq_i = Σ_j ds_ij k_j,   dk_j = Σ_i ds_ij q_i,   dv_j = gate Σ_i p_ij do_i
//
// Shapes: q (N,Heads·HeadDim), k and v (K,KVHeads·HeadDim), gate (1) → o like q. Saves p (N,Heads,K). The fields
// B, T, P and Window of s are ignored. Zhang et al. 2023, arXiv:2303.16199.
func SlotAttention(t *graph.Tape, q, k, v, gate graph.Var, s AttentionShape) graph.Var {
	N, _ := q.Dim2()
	K, _ := k.Dim2()
	s.B, s.T, s.P = N, 1, 0
	a := s.dims("SlotAttention")
	wantRows("SlotAttention", q, N, s.Heads*s.HeadDim)
	wantRows("SlotAttention", k, K, s.KVHeads*s.HeadDim)
	wantRows("SlotAttention", v, K, s.KVHeads*s.HeadDim)
	t.Want("SlotAttention gate", gate, tensor.Of(1))
	d := slotDims{uint32(N), uint32(K), a.H, a.Hkv, a.D, s.Scale}
	o, p := t.New(q.Shape), t.New(tensor.Of(N, s.Heads, K))
	t.Launch(slotForward, d, q, k, v, gate, o, p)
	t.OnBackward(o, func(do graph.Var) {
		ds, dgates := t.New(p.Shape), t.New(tensor.Of(N, s.Heads))
		backwardQ := func(dq graph.Var) { t.Launch(slotBackwardQ, d, k, v, gate, p, do, ds, dgates, dq) }
		if q.WantsGrad() {
			t.Accumulate(q, backwardQ)
		} else {
			backwardQ(t.New(q.Shape)) // for ds and dgates
		}
		t.Accumulate(gate, func(dgate graph.Var) { Sum(t, dgates, dgate) })
		backwardKV := func(dk, dv graph.Var) { t.Launch(slotBackwardKV, d, q, gate, p, ds, do, dk, dv) }
		switch {
		case k.WantsGrad() && v.WantsGrad():
			t.Accumulate(k, func(dk graph.Var) {
				t.Accumulate(v, func(dv graph.Var) { backwardKV(dk, dv) })
			})
		default: // one launch computes both; an unwanted one is written to a temporary
			t.Accumulate(k, func(dk graph.Var) { backwardKV(dk, t.New(v.Shape)) })
			t.Accumulate(v, func(dv graph.Var) { backwardKV(t.New(k.Shape), dv) })
		}
	})
	return o
}

// query is a head of a query row, slot the matching head of a slot.
func (d slotDims) query(x []float64, row int) []float64 { return x[row*int(d.D):][:d.D] }

func (d slotDims) slot(x []float64, row, j int) []float64 {
	head := row % int(d.H) / int(d.H/d.Hkv)
	return x[(j*int(d.Hkv)+head)*int(d.D):][:d.D]
}

func slotQueryGrid(dims any, _ device.Params) [3]int {
	d := dims.(slotDims)
	return perThread(int(d.N * d.H))
}

var slotForward = &device.Kernel{
	Name: "slot_attention_forward", Shader: "slot_attention", Entry: "forward",
	Bindings: in("q", "k", "v", "gate").out("o", "p"),
	Grid:     slotQueryGrid,
	Ref: func(c *device.Call) {
		d, q, k, v, gate, o, p := c.Dims.(slotDims), c.F(0), c.F(1), c.F(2), c.F(3), c.F(4), c.F(5)
		clear(o)
		for row := range int(d.N * d.H) {
			w, peak, sum := p[row*int(d.K):][:d.K], math.Inf(-1), 0.0
			for j := range w {
				w[j] = float64(d.Scale) * dot(d.query(q, row), d.slot(k, row, j))
				peak = max(peak, w[j])
			}
			for j := range w {
				w[j] = math.Exp(w[j] - peak)
				sum += w[j]
			}
			for j := range w {
				w[j] /= sum
				addScaled(d.query(o, row), gate[0]*w[j], d.slot(v, row, j))
			}
		}
	},
}

var slotBackwardQ = &device.Kernel{
	Name: "slot_attention_backward_q", Shader: "slot_attention_backward_q", Entry: "backward",
	Bindings: in("k", "v", "gate", "p", "do").out("ds", "dgates", "dq"),
	Grid:     slotQueryGrid,
	Ref: func(c *device.Call) {
		d, k, v, gate, p, do := c.Dims.(slotDims), c.F(0), c.F(1), c.F(2), c.F(3), c.F(4)
		ds, dgates, dq := c.F(5), c.F(6), c.F(7)
		for row := range int(d.N * d.H) {
			w, s := p[row*int(d.K):][:d.K], ds[row*int(d.K):][:d.K]
			mean := 0.0
			for j := range w {
				s[j] = dot(d.query(do, row), d.slot(v, row, j))
				mean += w[j] * s[j]
			}
			dgates[row] = mean
			x := make([]float64, d.D)
			for j := range w {
				s[j] = float64(d.Scale) * gate[0] * w[j] * (s[j] - mean)
				addScaled(x, s[j], d.slot(k, row, j))
			}
			for i := range x {
				c.Put(dq, row*int(d.D)+i, x[i])
			}
		}
	},
}

var slotBackwardKV = &device.Kernel{
	Name: "slot_attention_backward_kv", Shader: "slot_attention_backward_kv", Entry: "backward",
	Bindings: in("q", "gate", "p", "ds", "do").out("dk", "dv"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(slotDims)
		return perThread(int(d.K * d.Hkv * d.D))
	},
	Ref: func(c *device.Call) {
		d, q, gate, p, ds, do := c.Dims.(slotDims), c.F(0), c.F(1), c.F(2), c.F(3), c.F(4)
		dk, dv := make([]float64, len(c.F(5))), make([]float64, len(c.F(6)))
		for row := range int(d.N * d.H) {
			for j := range int(d.K) {
				addScaled(d.slot(dk, row, j), ds[row*int(d.K)+j], d.query(q, row))
				addScaled(d.slot(dv, row, j), gate[0]*p[row*int(d.K)+j], d.query(do, row))
			}
		}
		for i := range dk {
			c.Put(c.F(5), i, dk[i])
			c.Put(c.F(6), i, dv[i])
		}
	},
}
