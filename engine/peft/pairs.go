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

// Pairs lists the pairs of LoRA or DoRA on projections. An adapter without them, or with another kind of change to a projection, is an
// error. What else its files hold is the caller's to check.
func (m *Method) Pairs(d *nn.Decoder) ([]Pair, error) {
	var all []Pair
	for _, l := range d.Linears() {
		switch p := m.Patch.Linears[l].(type) {
		case nil:
		case *loraPair:
			all = append(all, Pair{Module: l, A: p.a, B: p.b, Scale: float64(p.scale)})
		case doraPair:
			all = append(all, Pair{Module: l, A: p.a, B: p.b, Scale: float64(p.scale), Magnitude: p.m})
		default:
			return nil, fmt.Errorf("the adapter is not LoRA")
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the adapter is not LoRA on projections")
	}
	if len(m.residuals) > 0 {
		return nil, fmt.Errorf("init_lora_weights took a part out of the base's weights (PiSSA or OLoRA)")
	}
	return all, nil
}
