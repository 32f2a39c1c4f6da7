package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// fresh is x as a temporary, which an op may change in place.
func fresh(t *graph.Tape, x graph.Var) graph.Var {
	y := t.New(x.Shape)
	t.Copy(y, x)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Copy(dx, dy) })
	})
	return y
}

func TestRoPE(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, heads, half, P := r.Dim(1, 70), r.Dim(1, 9), r.Dim(1, 33), r.Dim(1, 80)
		freq := make([]float64, half)
		for j := range freq {
			freq[j] = math.Pow(10000, -float64(j)/float64(half))
		}
		table := r.Frozen(P, half, 2)
		table.Floats = RopeTable(freq, 1.25, 3, P)
		positions := make([]int32, N)
		for n := range positions {
			positions[n] = int32(r.IntN(P))
		}
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, heads*2*half), table, enginetest.Ints(positions, N)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				x := fresh(t, in[0])
				RoPE(t, x, in[1], in[2], heads, 2*half)
				return []graph.Var{x}
			},
		}
	})
}

func TestRopeTable(t *testing.T) {
	got := RopeTable([]float64{1, 0.5}, 2, 3, 2)
	want := []float64{math.Cos(3), math.Sin(3), math.Cos(1.5), math.Sin(1.5), math.Cos(4), math.Sin(4), math.Cos(2), math.Sin(2)}
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i := range want {
		if math.Abs(float64(got[i])-2*want[i]) > 3e-7 {
			t.Errorf("value %d is %v, want %v", i, got[i], 2*want[i])
		}
	}
	// The float32 product at a far position: 100003·float32(0.1) is 10000.3001…, rounded to 10000.2998046875.
	if far := RopeTable([]float64{0.1}, 1, 100003, 1); far[0] != float32(math.Cos(float64(float32(100003)*float32(0.1)))) {
		t.Errorf("far angle gives %v", far[0])
	}
}

func TestRoPERefuses(t *testing.T) {
	tape := graph.NewTape()
	w := tape.Extern(graph.Extern{Key: "w", GradKey: "dw", Shape: []int{4, 8}, Name: "w"})
	table, positions := tape.New([]int{4, 2, 2}), tape.New([]int{4})
	for name, f := range map[string]func(){
		"a parameter":    func() { RoPE(tape, w, table, positions, 2, 4) },
		"odd heads":      func() { RoPE(tape, tape.New([]int{4, 9}), table, positions, 3, 3) },
		"too few places": func() { RoPE(tape, tape.New([]int{5, 8}), table, positions, 2, 4) },
	} {
		if graph.Record(f) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
