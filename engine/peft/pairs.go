package peft

import (
	"fmt"

	"llamatab/engine/nn"
)

// Pair is LoRA on one projection: y = W·x + Scale·B·A·x. A has the shape (r, in), B (out, r).
type Pair struct {
	Module *nn.Linear
	A, B   *nn.Param
	Scale  float64
	// Magnitude (out) is DoRA's, nil without it.
	Magnitude *nn.Param
}

// Pairs lists the pairs of an adapter that is LoRA or DoRA on projections and nothing else. The error names what else it has.
func (m *Method) Pairs(d *nn.Decoder) ([]Pair, error) {
	var all []Pair
	known := map[*nn.Param]bool{}
	for _, l := range d.Linears() {
		switch p := m.Patch.Linears[l].(type) {
		case nil:
		case *loraPair:
			all = append(all, Pair{Module: l, A: p.a, B: p.b, Scale: float64(p.scale)})
			known[p.a], known[p.b] = true, true
		case doraPair:
			all = append(all, Pair{Module: l, A: p.a, B: p.b, Scale: float64(p.scale), Magnitude: p.m})
			known[p.a], known[p.b], known[p.m] = true, true, true
		default:
			return nil, fmt.Errorf("the adapter is not LoRA")
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the adapter is not LoRA on projections")
	}
	for _, t := range m.tensors {
		if !known[t.Param] {
			return nil, fmt.Errorf("the adapter also holds %s", t.Key)
		}
	}
	if len(m.residuals) > 0 {
		return nil, fmt.Errorf("init_lora_weights took a part out of the base's weights (PiSSA or OLoRA)")
	}
	return all, nil
}
