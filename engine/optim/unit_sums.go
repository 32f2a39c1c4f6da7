package optim

import (
	"fmt"
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// UnitSums launches the sums of squares of gradients, updates and weights for each unit, from the partial sums of
// SumSquares. starts are the indices at which the units' partial sums begin, and the end of the last.
//
// Shapes: grads, updates, weights (P), starts (U+1) I32, sums (U, 3), which Units reads.
func UnitSums(t *graph.Tape, grads, updates, weights, starts, sums graph.Var) {
	for _, x := range []graph.Var{updates, weights} {
		t.Want("UnitSums", x, grads.Shape)
	}
	U := starts.Shape.Size() - 1
	t.Want("UnitSums sums", sums, tensor.Of(U, 3))
	t.Launch(unitSums, unitSumsDims{uint32(U)}, grads, updates, weights, starts, sums)
}

// Unit is the norms of one unit of the model, such as a block.
type Unit struct {
	Grad   float64 // of the gradient of the mean loss, before clipping
	Weight float64 // after the update
	Update float64 // of the change of the weights, 0 in a step that was not applied
}

// Units decodes the output of UnitSums for a step with state s. The gradients are times those of the mean loss: the number
// of counted tokens, times the loss scale.
func Units(b []byte, s State, times int) ([]Unit, error) {
	x := make([]float32, len(b)/4)
	if err := tensor.DecodeF32(x, b, tensor.F32); err != nil || len(x)%3 != 0 {
		return nil, fmt.Errorf("optim: %d bytes of unit sums", len(b))
	}
	units := make([]Unit, len(x)/3)
	for i := range units {
		sums := x[3*i:]
		units[i] = Unit{Grad: math.Sqrt(float64(sums[0])) / float64(max(times, 1)), Weight: math.Sqrt(float64(sums[2]))}
		if s.Applied {
			units[i].Update = math.Sqrt(float64(sums[1]))
		}
	}
	return units, nil
}

type unitSumsDims struct{ U uint32 }

var unitSums = &device.Kernel{
	Name: "unit_sums", Shader: "unit_sums", Entry: "unit_sums",
	Bindings: []device.Binding{{Name: "grads"}, {Name: "updates"}, {Name: "weights"}, {Name: "starts"}, {Name: "sums", Access: device.Write}},
	Grid:     func(dims any, _ device.Params) [3]int { return device.Groups(int(dims.(unitSumsDims).U)) },
	Ref: func(c *device.Call) {
		starts, sums := c.U(3), c.F(4)
		for u := range int(c.Dims.(unitSumsDims).U) {
			for k := range 3 {
				sum := 0.0
				for _, v := range c.F(k)[starts[u]:starts[u+1]] {
					sum += v
				}
				sums[3*u+k] = sum
			}
		}
	},
}
