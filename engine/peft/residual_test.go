package peft

import (
	"math"
	"math/rand/v2"
	"testing"

	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

func TestEigen(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 7, 40} {
		a, keep := make([][]float64, n), make([][]float64, n)
		for i := range a {
			a[i], keep[i] = make([]float64, n), make([]float64, n)
			for j := range i + 1 {
				a[i][j] = r.NormFloat64()
				if n == 7 && j != i { // already diagonal
					a[i][j] = 0
				}
				a[j][i] = a[i][j]
			}
		}
		for i := range a {
			copy(keep[i], a[i])
		}
		values, v := eigen(a)
		for j := range n {
			if j > 0 && values[j] < values[j-1] {
				t.Errorf("%d: eigenvalues %v are not ascending", n, values)
			}
			for i := range n {
				if got, want := inner(keep[i], column(v, j, n)), values[j]*v[i][j]; math.Abs(got-want) > 1e-12*float64(n) {
					t.Errorf("%d: element %d of vector %d becomes %v, want %v", n, i, j, got, want)
				}
				want := 0.0
				if i == j {
					want = 1
				}
				if got := inner(column(v, i, n), column(v, j, n)); math.Abs(got-want) > 1e-12*float64(n) {
					t.Errorf("%d: vectors %d and %d have the product %v", n, i, j, got)
				}
			}
		}
	}
}

// What is taken out is the best of its rank (PiSSA) or the part in the first columns' directions (OLoRA), and with the
// pair the weight is what it was.
func TestResidual(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, shape := range [][2]int{{9, 14}, {14, 9}, {6, 6}} {
		out, in, rank := shape[0], shape[1], 3
		w := make([]float32, out*in)
		for i := range w {
			w[i] = float32(r.NormFloat64())
		}
		for _, init := range []InitLoRA{InitPiSSA, InitOLoRA} {
			l := &nn.Linear{Path: "m", In: in, Out: out, Weight: &nn.Param{Name: "m.weight", Shape: tensor.Of(out, in)}}
			p := &loraPair{a: &nn.Param{Name: "a", Shape: tensor.Of(rank, in)}, b: &nn.Param{Name: "b", Shape: tensor.Of(out, rank)}, scale: 2}
			m := &Method{}
			if err := newResidual(m, init, p, l); err != nil {
				t.Fatal(err)
			}
			left := append([]float32(nil), w...)
			m.Residual(l.Weight)(left)
			read := func(*nn.Param) ([]float32, error) { return w, nil }
			a, _ := m.Start(p.a)(read)
			b, _ := m.Start(p.b)(read)
			rest := make([][]float64, out)
			for o := range out {
				rest[o] = make([]float64, in)
				for i := range in {
					rest[o][i] = float64(left[o*in+i])
					sum := rest[o][i]
					for j := range rank {
						sum += 2 * float64(b[o*rank+j]) * float64(a[j*in+i])
					}
					if math.Abs(sum-float64(w[o*in+i])) > 1e-5 {
						t.Fatalf("%s: W[%d,%d] is %v with the pair, was %v", init, o, i, sum, w[o*in+i])
					}
				}
			}
			// Of the directions of the pair the rest has 1−s times what W had: OLoRA takes B·A out s times, PiSSA shares s out.
			kept := 0.0
			if init == InitOLoRA {
				kept = 1 - 2
			}
			for j := range rank {
				for i := range in {
					sum := 0.0
					for o := range out {
						sum += float64(b[o*rank+j]) * (rest[o][i] - kept*float64(w[o*in+i]))
					}
					if math.Abs(sum) > 1e-5 {
						t.Errorf("%s: direction %d is left in column %d: %v", init, j, i, sum)
					}
				}
			}
			if init == InitOLoRA {
				continue
			}
			// Of the squared length, the largest eigenvalues are gone.
			gram := make([][]float64, out)
			for i := range gram {
				gram[i] = make([]float64, out)
				for j := range gram[i] {
					for k := range in {
						gram[i][j] += float64(w[i*in+k]) * float64(w[j*in+k])
					}
				}
			}
			values, _ := eigen(gram)
			want, got := 0.0, 0.0
			for _, v := range values[:out-rank] {
				want += v
			}
			for _, row := range rest {
				got += inner(row, row)
			}
			if math.Abs(got-want) > 1e-4*want {
				t.Errorf("%s: the rest has the squared length %v, want %v", init, got, want)
			}
		}
	}
	l := &nn.Linear{Path: "m", In: 2, Out: 9, Weight: &nn.Param{Name: "m.weight", Shape: tensor.Of(9, 2)}}
	p := &loraPair{a: &nn.Param{Shape: tensor.Of(3, 2)}, b: &nn.Param{Shape: tensor.Of(9, 3)}, scale: 1}
	if err := newResidual(&Method{}, InitPiSSA, p, l); err == nil {
		t.Error("a rank above the weight's is taken")
	}
}
