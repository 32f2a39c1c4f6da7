package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type prependDims struct{ B, P, T, C uint32 }

func (d prependDims) sizes() (rows, rest, whole int) {
	return int(d.P * d.C), int(d.B * d.T * d.C), int(d.B * (d.P + d.T) * d.C)
}

// wide is the index in (B·(P+T),C) of element i of (B·T,C).
func (d prependDims) wide(i int) int { return i + (i/int(d.T*d.C)+1)*int(d.P*d.C) }

// Prepend puts the same rows before each of B sequences.
//
//	y[b] = rows, x[b];   drows = Σ_b dy[b,:P],   dx[b] = dy[b,P:]
//
// Shapes: rows (P,C), x (B·T,C) → y (B·(P+T),C).
func Prepend(t *graph.Tape, rows, x graph.Var, B int) graph.Var {
	P, C := rows.Dim2()
	N, cols := x.Dim2()
	if cols != C || B < 1 || N%B != 0 {
		graph.Fail("Prepend: %q %v before %d sequences of %q %v", rows.Name, rows.Shape, B, x.Name, x.Shape)
	}
	d := prependDims{uint32(B), uint32(P), uint32(N / B), uint32(C)}
	y := t.New(tensor.Of(N+B*P, C))
	t.Launch(prepend, d, rows, x, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(rows, func(drows graph.Var) { t.Launch(prependRows, d, dy, drows) })
		t.Accumulate(x, func(dx graph.Var) { t.Launch(prependRest, d, dy, dx) })
	})
	return y
}

// WithoutFirst takes the first P rows of each of B sequences away.
//
//	y[b] = x[b,P:];   dx[b] = 0, dy[b]
//
// Shapes: x (B·(P+T),C) → y (B·T,C).
func WithoutFirst(t *graph.Tape, x graph.Var, B, P int) graph.Var {
	N, C := x.Dim2()
	if B < 1 || N%B != 0 || N/B <= P {
		graph.Fail("WithoutFirst: %d rows of each of %d sequences of %q %v", P, B, x.Name, x.Shape)
	}
	d := prependDims{uint32(B), uint32(P), uint32(N/B - P), uint32(C)}
	y := t.New(tensor.Of(N-B*P, C))
	t.Launch(prependRest, d, x, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Launch(prependWiden, d, dy, dx) })
	})
	return y
}

var prepend = &device.Kernel{
	Name: "prepend", Shader: "prepend", Entry: "forward",
	Bindings: in("rows", "x").out("y"),
	Grid: func(dims any, _ device.Params) [3]int {
		_, _, n := dims.(prependDims).sizes()
		return perThread(n)
	},
	Ref: func(c *device.Call) {
		d, rows, x, y := c.Dims.(prependDims), c.F(0), c.F(1), c.F(2)
		n, m := int(d.P*d.C), int(d.T*d.C)
		for b := range int(d.B) {
			copy(y[b*(n+m):], rows[:n])
			copy(y[b*(n+m)+n:], x[b*m:(b+1)*m])
		}
	},
}

var prependRows = &device.Kernel{
	Name: "prepend_rows", Shader: "prepend_backward", Entry: "rows",
	Bindings: in("dy").out("drows"),
	Grid: func(dims any, _ device.Params) [3]int {
		n, _, _ := dims.(prependDims).sizes()
		return perThread(n)
	},
	Ref: func(c *device.Call) {
		d, dy, drows := c.Dims.(prependDims), c.F(0), c.F(1)
		n, _, whole := d.sizes()
		for i := range n {
			sum := 0.0
			for at := i; at < whole; at += int((d.P + d.T) * d.C) {
				sum += dy[at]
			}
			c.Put(drows, i, sum)
		}
	},
}

func prependRestGrid(dims any, _ device.Params) [3]int {
	_, n, _ := dims.(prependDims).sizes()
	return perThread(n)
}

var prependRest = &device.Kernel{
	Name: "prepend_rest", Shader: "prepend_backward", Entry: "rest",
	Bindings: in("x").out("y"),
	Grid:     prependRestGrid,
	Ref: func(c *device.Call) {
		d, x, y := c.Dims.(prependDims), c.F(0), c.F(1)
		_, n, _ := d.sizes()
		for i := range n {
			c.Put(y, i, x[d.wide(i)])
		}
	},
}

var prependWiden = &device.Kernel{
	Name: "prepend_widen", Shader: "prepend_backward", Entry: "widen",
	Bindings: in("dy").inout("dx"),
	Grid:     prependRestGrid,
	Ref: func(c *device.Call) {
		d, dy, dx := c.Dims.(prependDims), c.F(0), c.F(1)
		_, n, _ := d.sizes()
		for i := range n {
			dx[d.wide(i)] += dy[i]
		}
	},
}
