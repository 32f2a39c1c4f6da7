package op

import (
	"math"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// maxLogits bounds the logits that exist at a time, in bytes.
const maxLogits = 64 << 20

// chunkAlign is the divisor of chunk lengths. A device can bind a chunk of rows that begins at a multiple of 256 bytes, as
// 64 rows of F32 do.
const chunkAlign = 64

// ChunkRows is how many of n rows LinearCrossEntropy should take at a time with a vocabulary of this size: as few
// chunks as keep the logits within 64 MiB, all of about the same size.
func ChunkRows(n, vocab int) int {
	most := max(maxLogits/(4*vocab)/chunkAlign, 1) * chunkAlign
	chunks := max(device.CeilDiv(n, most), 1)
	return max(device.CeilDiv(device.CeilDiv(n, chunks), chunkAlign), 1) * chunkAlign
}

type crossEntropyDims struct {
	N, V, First uint32 // First is the row of targets and losses that the logits begin with
	Smoothing   float32
}

// LinearCrossEntropy is the summed loss of next-token prediction, fused with the projection to the vocabulary.
//
//	logits = Σ_i scale_i · X_i·W_iᵀ + bias
//	loss = Σ_{n: targets[n] ≥ 0} lse(logits[n]) − (1−ε)·logits[n,targets[n]] − ε·mean_v logits[n,v],   lse(l) = log Σ_v exp(l[v])
//	dlogits[n] = softmax(logits[n]) − (1−ε)·onehot(targets[n]) − ε/V, or 0 where targets[n] < 0
//	dX_i = scale_i · dlogits·W_i,   dW_i = scale_i · dlogitsᵀ·X_i,   dbias = Σ_rows dlogits
//
// Shapes: X_i (…,in_i) of N rows in all, W_i (V,in_i), bias (V) or nil for none, targets (N) I32 → loss (1). A negative target is not counted.
// Targets are already shifted, and the caller has checked that they are below V. ε is smoothing, 0 for the plain loss (Szegedy
// et al. 2016, arXiv:1512.00567; transformers, LabelSmoother in trainer_pt_utils.py).
//
// Logits exist for only chunk rows at a time. Their gradients are computed in the forward pass: those of W_i are added to
// the parameter's gradient, those of X_i are kept for the backward pass. So the loss must be the root of the backward pass,
// with dloss = 1 or the tape's LossScale.
// chunk is a multiple of 64 unless it covers all rows; see ChunkRows.
func LinearCrossEntropy(t *graph.Tape, terms []Term, bias, targets graph.Var, chunk int, smoothing float32) graph.Var {
	if len(terms) == 0 {
		graph.Fail("LinearCrossEntropy: no terms")
	}
	N, _ := terms[0].X.Dim2()
	V, _ := terms[0].W.Dim2()
	if targets.Shape.Size() != N || targets.DType != tensor.I32 {
		graph.Fail("LinearCrossEntropy: targets %v %s for %d rows", targets.Shape, targets.DType, N)
	}
	if chunk < 1 || chunk < N && chunk%chunkAlign != 0 {
		graph.Fail("LinearCrossEntropy: chunk of %d rows is not a multiple of %d", chunk, chunkAlign)
	}
	gradient := bias != nil && bias.WantsGrad()
	dxs := make([]graph.Var, len(terms))
	for i, term := range terms {
		if term.X.WantsGrad() {
			dxs[i] = t.New(term.X.Shape)
		}
		gradient = gradient || term.X.WantsGrad() || term.W.WantsGrad()
	}
	losses := t.New(tensor.Of(N))
	for from := 0; from < N; from += chunk {
		to := min(from+chunk, N)
		logits := t.New(tensor.Of(to-from, V))
		for i, term := range terms {
			if i == 0 {
				launchMatmul(t, formNT, t.Rows(term.X, from, to), term.W, bias, logits, term.Scale, false)
			} else {
				matmulNT(t, t.Rows(term.X, from, to), term.W, logits, term.Scale, true)
			}
		}
		d := crossEntropyDims{uint32(to - from), uint32(V), uint32(from), smoothing}
		params := device.Params{"GRADIENT": gradient}
		if smoothing > 0 {
			params["SMOOTHED"] = true
		}
		if s := t.LossScale(); s != nil && gradient {
			t.LaunchWith(crossEntropyScaled, params.With(device.Params{"SCALED": true}), d, targets, losses, logits, s)
		} else {
			t.LaunchWith(crossEntropy, params, d, targets, losses, logits)
		}
		for i, term := range terms {
			if dxs[i] != nil {
				matmulNN(t, logits, term.W, t.Rows(dxs[i], from, to), term.Scale, false)
			}
			t.Accumulate(term.W, func(dw graph.Var) {
				matmulTN(t, logits, t.Rows(term.X, from, to), dw, term.Scale, false)
			})
		}
		if bias != nil {
			t.Accumulate(bias, func(db graph.Var) { SumRows(t, logits, db) })
		}
	}
	loss := t.New(tensor.Of(1))
	t.Full(loss)
	Sum(t, losses, loss)
	t.OnBackward(loss, func(graph.Var) {
		for i, term := range terms {
			if dxs[i] != nil {
				giveGradient(t, term.X, dxs[i])
			}
		}
	})
	return loss
}

// crossEntropy replaces logits by their gradient where the parameter GRADIENT is true. A NaN or an infinity in a counted
// row makes the row's loss NaN or infinite.
var crossEntropy = &device.Kernel{
	Name: "crossentropy", Shader: "crossentropy", Entry: "crossentropy",
	Bindings: in("targets").out("losses").inout("logits"),
	Grid:     func(dims any, _ device.Params) [3]int { return device.Groups(int(dims.(crossEntropyDims).N)) },
	Variants: rowVariants,
	Sample:   func(any) (any, []int) { return crossEntropyDims{5, 97, 0, 0}, []int{5, 5, 5 * 97} },
	Ref: func(c *device.Call) {
		d, targets, losses, logits := c.Dims.(crossEntropyDims), c.U(0), c.F(1), c.F(2)
		V := int(d.V)
		for n := range int(d.N) {
			row, target := logits[n*V:(n+1)*V], int32(targets[int(d.First)+n])
			counted, peak, sum := target >= 0, math.Inf(-1), 0.0
			for _, l := range row {
				peak = max(peak, l)
			}
			for _, l := range row {
				sum += math.Exp(l - peak)
			}
			ε, mean := 0.0, 0.0
			if c.Params.Bool("SMOOTHED") {
				ε = float64(d.Smoothing)
				for _, l := range row {
					mean += l / float64(V)
				}
			}
			losses[int(d.First)+n] = 0
			if counted {
				losses[int(d.First)+n] = math.Log(sum) + peak - (1-ε)*row[min(int(target), V-1)] - ε*mean
			}
			if !c.Params.Bool("GRADIENT") {
				continue
			}
			if !counted {
				clear(row)
				continue
			}
			for v, l := range row {
				row[v] = math.Exp(l-peak)/sum - ε/float64(V)
			}
			row[min(int(target), V-1)] -= 1 - ε
		}
	},
}

// crossEntropyScaled multiplies the gradient by a loss scale.
var crossEntropyScaled = &device.Kernel{
	Name: "crossentropy_scaled", Shader: "crossentropy", Entry: "crossentropy",
	Bindings: append(slices.Clone(crossEntropy.Bindings), device.Binding{Name: "scale"}),
	Grid:     crossEntropy.Grid, Variants: rowVariants,
	Sample: func(dims any) (any, []int) {
		small, lengths := crossEntropy.Sample(dims)
		return small, append(lengths, 1)
	},
	Ref: func(c *device.Call) {
		crossEntropy.Ref(c)
		for i := range c.F(2) {
			c.F(2)[i] *= c.F(3)[0]
		}
	},
}
