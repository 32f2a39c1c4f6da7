package peft

import (
	"fmt"
	"math"

	"llamatab/engine/nn"
)

// residual is a low-rank pair that starts as a part of its module's weight, which loses that part:
//
//	W ← W − s·B·A
//
// So at first the module computes what it did, and training moves what matters most in it. PiSSA takes the r largest
// singular values, s·B·A = U_r·S_r·V_rᵀ with A and B sharing S evenly (Meng et al. 2024, arXiv:2404.02948); OLoRA has for B
// and A the first r columns of Q and rows of R of W = Q·R (Büyükakyüz 2024, arXiv:2406.01775). A saved adapter holds A and B alone: whoever
// loads it takes the part out of the base's weight again, as PEFT does.
type residual struct {
	init       InitLoRA
	pair       *loraPair
	out, in, r int
	a, b       []float32 // the first values, once they have been made
}

// newResidual has a pair start as init says.
func newResidual(m *Method, init InitLoRA, p *loraPair, l *nn.Linear) error {
	x := &residual{init: init, pair: p, out: l.Out, in: l.In, r: p.a.Shape[0]}
	if most := min(l.In, l.Out); x.r > most {
		return fmt.Errorf("init_lora_weights: %s wants a rank of at most %d for %s, which is %d by %d", init, most, l.Path, l.Out, l.In)
	}
	from := func(values *[]float32) Start {
		return func(read func(*nn.Param) ([]float32, error)) ([]float32, error) {
			if x.a == nil {
				w, err := read(l.Weight)
				if err != nil {
					return nil, err
				}
				x.split(w)
			}
			return *values, nil
		}
	}
	m.startAs(p.a, from(&x.a))
	m.startAs(p.b, from(&x.b))
	if m.residuals == nil {
		m.residuals = map[*nn.Param]*residual{}
	}
	m.residuals[l.Weight] = x
	return nil
}

// Residual takes out of the values of a base weight what the method starts as, nil where it leaves the weight alone.
func (m *Method) Residual(w *nn.Param) func(values []float32) {
	x, ok := m.residuals[w]
	if !ok {
		return nil
	}
	return func(values []float32) {
		if x.a == nil {
			x.split(values)
		}
		for o := range x.out {
			row := values[o*x.in : (o+1)*x.in]
			for j := range x.r {
				f := float64(x.pair.scale) * float64(x.b[o*x.r+j])
				for i, a := range x.a[j*x.in : (j+1)*x.in] {
					row[i] = float32(float64(row[i]) - f*float64(a))
				}
			}
		}
	}
}

// MovesBase is the setting by which the method starts as a part of base weights, which these then lack; "" where it does
// not.
func (m *Method) MovesBase() string {
	for _, x := range m.residuals {
		return fmt.Sprintf("init_lora_weights %q", x.init)
	}
	return ""
}

// split makes the first values of A (r,in) and B (out,r) from W (out,in).
func (x *residual) split(w []float32) {
	x.a, x.b = make([]float32, x.r*x.in), make([]float32, x.out*x.r)
	if x.init == InitOLoRA {
		x.qr(w)
	} else {
		x.svd(w)
	}
}

// qr orthogonalises the first r columns of W, twice, so that rounding leaves nothing (Giraud et al. 2005), and projects W
// onto them.
func (x *residual) qr(w []float32) {
	q := make([][]float64, x.r)
	for j := range q {
		v := make([]float64, x.out)
		for o := range v {
			v[o] = float64(w[o*x.in+j])
		}
		for range 2 {
			for _, u := range q[:j] {
				addTo(v, -inner(u, v), u)
			}
		}
		scaleTo(v, 1/math.Sqrt(inner(v, v)))
		q[j] = v
		r := make([]float64, x.in)
		for o, f := range v {
			x.b[o*x.r+j] = float32(f)
			for i := range r {
				r[i] += f * float64(w[o*x.in+i])
			}
		}
		for i, f := range r {
			x.a[j*x.in+i] = float32(f)
		}
	}
}

// svd finds the r largest singular values by the eigenvectors of W·Wᵀ or Wᵀ·W, whichever is smaller. Squaring costs half
// the digits, of which doubles have twice those of the weights.
func (x *residual) svd(w []float32) {
	tall := x.out > x.in
	n, m := x.out, x.in
	at := func(i, k int) float64 { return float64(w[i*x.in+k]) } // row i of the smaller side
	if tall {
		n, m = x.in, x.out
		at = func(i, k int) float64 { return float64(w[k*x.in+i]) }
	}
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = make([]float64, m)
		for k := range rows[i] {
			rows[i][k] = at(i, k)
		}
	}
	gram := make([][]float64, n)
	for i := range gram {
		gram[i] = make([]float64, n)
		for j := range i + 1 {
			gram[i][j] = inner(rows[i], rows[j])
			gram[j][i] = gram[i][j]
		}
	}
	values, vectors := eigen(gram) // ascending
	for j := range x.r {
		at := n - 1 - j
		s := math.Sqrt(max(values[at], 0))
		near := make([]float64, n) // the singular vector of the smaller side
		for i := range near {
			near[i] = vectors[i][at]
		}
		far := make([]float64, m)
		for i, f := range near {
			addTo(far, f, rows[i])
		}
		if s > 0 {
			scaleTo(far, 1/s)
		}
		left, right := near, far
		if tall {
			left, right = far, near
		}
		share := math.Sqrt(s / float64(x.pair.scale))
		for o, f := range left {
			x.b[o*x.r+j] = float32(f * share)
		}
		for i, f := range right {
			x.a[j*x.in+i] = float32(f * share)
		}
	}
}

func inner(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

func addTo(y []float64, f float64, x []float64) {
	for i := range y {
		y[i] += f * x[i]
	}
}

func scaleTo(x []float64, f float64) {
	for i := range x {
		x[i] *= f
	}
}
