package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

func TestRoPE(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		heads, half, N, P := r.Dim(1, 5), r.Dim(1, 17), r.Dim(1, 40), 50
		freq := make([]float64, half)
		for j := range freq {
			freq[j] = math.Pow(10000, -float64(j)/float64(half))
		}
		positions := make([]int32, N)
		for i := range positions {
			positions[i] = int32(r.IntN(P))
		}
		table := enginetest.Input{Shape: tensor.Of(P, half, 2), Floats: RopeTable(freq, 1, 0, P), Frozen: true}
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, heads*2*half), table, enginetest.Ints(positions, N)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				x := Scale(t, in[0], 1) // an input must not be changed in place
				RoPE(t, x, in[1], in[2], heads, 2*half)
				return []graph.Var{x}
			},
		}
	})
}

// Hugging Face pairs element j with element j + headDim/2.
func TestRopeTable(t *testing.T) {
	table := RopeTable([]float64{1, 0.01}, 1, 3, 2)
	want := []float64{math.Cos(3), math.Sin(3), math.Cos(0.03), math.Sin(0.03), math.Cos(4), math.Sin(4), math.Cos(0.04), math.Sin(0.04)}
	for i := range want {
		if math.Abs(float64(table[i])-want[i]) > 1e-7 {
			t.Errorf("entry %d is %v, want %v", i, table[i], want[i])
		}
	}
}

func TestRoPERefuses(t *testing.T) {
	tape := graph.NewTape()
	w := tape.Extern(graph.Extern{Key: "w", GradKey: "dw", Shape: tensor.Of(4, 8), Name: "w"})
	table, positions := tape.New(tensor.Of(4, 2, 2)), tape.New(tensor.Of(4))
	for name, f := range map[string]func(){
		"a parameter":      func() { RoPE(tape, w, table, positions, 2, 4) },
		"odd heads":        func() { RoPE(tape, tape.New(tensor.Of(4, 9)), table, positions, 3, 3) },
		"missing position": func() { RoPE(tape, tape.New(tensor.Of(5, 8)), table, positions, 2, 4) },
	} {
		if graph.Record(f) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
