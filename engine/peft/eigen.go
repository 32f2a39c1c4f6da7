package peft

import "math"

// eigen finds the eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix, which it changes: Householder
// reflections make it tridiagonal, the QL iteration with implicit shifts then diagonal. Golub & Van Loan, Matrix
// Computations, 8.3; Bowdler, Martin, Reinsch & Wilkinson 1968.
func eigen(a [][]float64) (values []float64, vectors [][]float64) {
	n := len(a)
	d, e := tridiagonal(a)
	for i := 1; i < n; i++ {
		e[i-1] = e[i]
	}
	if n > 0 {
		e[n-1] = 0
	}
	for l := range n {
		for {
			m := l
			for ; m < n-1; m++ { // a negligible element splits the matrix
				if math.Abs(e[m]) <= 1e-16*(math.Abs(d[m])+math.Abs(d[m+1])) {
					break
				}
			}
			if m == l {
				break
			}
			g := (d[l+1] - d[l]) / (2 * e[l])
			r := math.Hypot(g, 1)
			g = d[m] - d[l] + e[l]/(g+math.Copysign(r, g))
			s, c, p := 1.0, 1.0, 0.0
			i := m - 1
			for ; i >= l; i-- {
				f, b := s*e[i], c*e[i]
				r = math.Hypot(f, g)
				e[i+1] = r
				if r == 0 {
					d[i+1] -= p
					e[m] = 0
					break
				}
				s, c = f/r, g/r
				g = d[i+1] - p
				r = (d[i]-g)*s + 2*c*b
				p = s * r
				d[i+1] = g + p
				g = c*r - b
				for k := range a {
					f := a[k][i+1]
					a[k][i+1] = s*a[k][i] + c*f
					a[k][i] = c*a[k][i] - s*f
				}
			}
			if r == 0 && i >= l {
				continue
			}
			d[l] -= p
			e[l], e[m] = g, 0
		}
	}
	for i := range n { // ascending
		k := i
		for j := i + 1; j < n; j++ {
			if d[j] < d[k] {
				k = j
			}
		}
		d[i], d[k] = d[k], d[i]
		for _, row := range a {
			row[i], row[k] = row[k], row[i]
		}
	}
	return d, a
}

// tridiagonal reduces a symmetric matrix to its diagonal d and what lies beside it, e[1:], and leaves in a the rotation that
// does so.
func tridiagonal(a [][]float64) (d, e []float64) {
	n := len(a)
	d, e = make([]float64, n), make([]float64, n)
	for i := n - 1; i > 0; i-- {
		h, size := 0.0, 0.0
		for _, x := range a[i][:i] {
			size += math.Abs(x)
		}
		if i == 1 || size == 0 {
			e[i] = a[i][i-1]
			d[i] = 0
			continue
		}
		for k := range i {
			a[i][k] /= size
			h += a[i][k] * a[i][k]
		}
		f := a[i][i-1]
		g := -math.Copysign(math.Sqrt(h), f)
		e[i] = size * g
		h -= f * g
		a[i][i-1] = f - g
		f = 0
		for j := range i {
			a[j][i] = a[i][j] / h
			g := 0.0
			for k := range j + 1 {
				g += a[j][k] * a[i][k]
			}
			for k := j + 1; k < i; k++ {
				g += a[k][j] * a[i][k]
			}
			e[j] = g / h
			f += e[j] * a[i][j]
		}
		half := f / (h + h)
		for j := range i {
			f := a[i][j]
			g := e[j] - half*f
			e[j] = g
			for k := range j + 1 {
				a[j][k] -= f*e[k] + g*a[i][k]
			}
		}
		d[i] = h
	}
	if n > 0 {
		d[0], e[0] = 0, 0
	}
	for i := range n {
		if d[i] != 0 {
			for j := range i {
				g := inner(a[i][:i], column(a, j, i))
				for k := range i {
					a[k][j] -= g * a[k][i]
				}
			}
		}
		d[i] = a[i][i]
		a[i][i] = 1
		for j := range i {
			a[j][i], a[i][j] = 0, 0
		}
	}
	return d, e
}

// column is the first n elements of column j.
func column(a [][]float64, j, n int) []float64 {
	x := make([]float64, n)
	for k := range x {
		x[k] = a[k][j]
	}
	return x
}
