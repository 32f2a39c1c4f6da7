package enginetest

import (
	"fmt"
	"math"
)

// Tolerance bounds |got−want| by Rel·max|want| + Abs. Errors are compared with the largest value of a tensor and not
// element by element, since a sum's rounding error scales with its terms and not with what remains of them.
type Tolerance struct{ Rel, Abs float64 }

// Exact is for what must not round at all.
var Exact = Tolerance{}

// Elementwise is for a handful of float32 operations on each element. WGSL allows exp and inverseSqrt a few units in
// the last place; 2⁻²³ is 1.2e-7.
var Elementwise = Tolerance{Rel: 2e-6, Abs: 1e-7}

// Reduce is for sums of k float32 terms in any order: the expected error grows with √k.
func Reduce(k int) Tolerance {
	return Tolerance{Rel: 2e-6 * (1 + math.Sqrt(float64(k))/4), Abs: 1e-6}
}

// Compare describes the first violation, or returns "".
func (tol Tolerance) Compare(got, want []float64) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d elements, want %d", len(got), len(want))
	}
	peak := 0.0
	for _, w := range want {
		if a := math.Abs(w); a <= math.MaxFloat64 {
			peak = max(peak, a)
		}
	}
	bound, worst, at := tol.Rel*peak+tol.Abs, 0.0, -1
	for i := range want {
		if got[i] == want[i] || math.IsNaN(got[i]) && math.IsNaN(want[i]) { // infinities differ by NaN
			continue
		}
		d := math.Abs(got[i] - want[i])
		if !(d <= bound) && (at < 0 || d > worst || math.IsNaN(d)) {
			worst, at = d, i
		}
	}
	if at < 0 {
		return ""
	}
	return fmt.Sprintf("element %d of %d is %.9g, want %.9g (off by %.3g, allowed %.3g)", at, len(want), got[at], want[at], worst, bound)
}
