package op

import (
	"cmp"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// Lookup is the tokens of an Embedding and their index. All are I32. LookupIndex makes the last two.
type Lookup struct {
	IDs    graph.Var // (N) the token of each position
	Order  graph.Var // (N) all positions, grouped by token
	Starts graph.Var // (N+1) where in Order the positions of the u-th distinct token begin
}

// LookupIndex sorts the positions of ids by token, stably. starts has an entry for each distinct token. The remaining
// entries, at least one, are len(ids).
func LookupIndex(ids []int32) (order, starts []int32) {
	order = make([]int32, len(ids))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(ids[a], ids[b]) })
	starts = make([]int32, 0, len(ids)+1)
	for i, at := range order {
		if i == 0 || ids[at] != ids[order[i-1]] {
			starts = append(starts, int32(i))
		}
	}
	for len(starts) <= len(ids) {
		starts = append(starts, int32(len(ids)))
	}
	return order, starts
}

type embeddingDims struct{ N, V, C uint32 }

// Embedding takes a row of a table for each token.
//
//	y[n,:] = table[ids[n],:],   dtable[v,:] += Σ_{n: ids[n]=v} dy[n,:]
//
// Shapes: table (V,C); ids (N) → y (N,C). The sum over a token's positions runs in
// their order, so it always gives the same bits. The caller has checked that ids are below V.
func Embedding(t *graph.Tape, table graph.Var, lk Lookup) graph.Var {
	V, C := table.Dim2()
	N := lk.IDs.Shape.Size()
	y := t.New(tensor.Of(N, C))
	d := embeddingDims{uint32(N), uint32(V), uint32(C)}
	t.Launch(embeddingForward, d, lk.IDs, table, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(table, func(dtable graph.Var) {
			t.Want("Embedding order", lk.Order, lk.IDs.Shape)
			t.Want("Embedding starts", lk.Starts, tensor.Of(N+1))
			t.Launch(embeddingBackward, d, dy, lk.IDs, lk.Order, lk.Starts, dtable)
		})
	})
	return y
}

func embeddingGrid(dims any, _ device.Params) [3]int {
	d := dims.(embeddingDims)
	return perThread(int(d.N) * int(d.C))
}

// row keeps a token inside a table of V rows, as the shaders do.
func row(id uint32, d embeddingDims) int { return int(min(id, d.V-1)) }

var embeddingForward = &device.Kernel{
	Name: "embedding_forward", Shader: "embedding", Entry: "forward",
	Bindings: in("ids", "table").out("y").either("table"),
	Grid:     embeddingGrid,
	Ref: func(c *device.Call) {
		d, ids, y := c.Dims.(embeddingDims), c.U(0), c.F(2)
		C := int(d.C)
		table := unpacked(c, 1, "TABLE", int(d.V), C)
		for n := range int(d.N) {
			copy(y[n*C:(n+1)*C], table[row(ids[n], d)*C:])
		}
	},
}

// embeddingBackward changes the gradient in place, since most rows of a table get nothing.
var embeddingBackward = &device.Kernel{
	Name: "embedding_backward", Shader: "embedding_backward", Entry: "backward",
	Bindings: in("dy", "ids", "order", "starts").inout("dtable"),
	Grid:     embeddingGrid,
	Ref: func(c *device.Call) {
		d, dy, ids, order, starts, dtable := c.Dims.(embeddingDims), c.F(0), c.U(1), c.U(2), c.U(3), c.F(4)
		C := int(d.C)
		for u := range int(d.N) {
			for _, n := range order[starts[u]:starts[u+1]] {
				for i := range C {
					dtable[row(ids[n], d)*C+i] += dy[int(n)*C+i]
				}
			}
		}
	},
}
