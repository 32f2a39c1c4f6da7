package nn

import (
	"fmt"
	"math"

	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// Place is where an AddedHead acts.
type Place string

const (
	// Between trunk and output head: the output head gets h + head(h), on every row.
	Between Place = "between"
	// OnTop of the trunk, in place of the output head: the last layer gives the logits of classes, from the trunk's row of the
	// last real token.
	OnTop Place = "classify"
)

// AddedHead is a chain of fully connected layers that a run adds to a decoder, with an activation f between two layers:
//
//	x₀ = h,   x_{k+1} = f(W_k·x_k + b_k), without f after the last
//
// The model's own files do not hold it.
type AddedHead struct {
	At         Place
	Activation op.Activation
	Layers     []*Linear
}

// AddedHeadUnit is the unit of an added head's parameters.
const AddedHeadUnit = "added head"

// AddHead adds a head whose inner layers have the given sizes. On top, its last layer has an output for each of the classes.
// Between, its last layer has the size of the hidden states and starts as zero, so that the model computes what it did. All
// other layers start as torch.nn.Linear does: uniform in ±1/√in.
func (d *Decoder) AddHead(at Place, sizes []int, activation op.Activation, classes int) {
	s := &AddedHead{At: at, Activation: activation}
	out := d.Hidden
	if at == OnTop {
		out = classes
	}
	in := d.Hidden
	for k, size := range append(sizes[:len(sizes):len(sizes)], out) {
		path, init := fmt.Sprintf("head.%d", k), Init{Kind: Uniform, Scale: 1 / math.Sqrt(float64(in))}
		if at == Between && k == len(sizes) {
			init = Init{}
		}
		s.Layers = append(s.Layers, &Linear{
			Path: path, In: in, Out: size,
			Weight: &Param{Name: path + ".weight", Shape: tensor.Of(size, in), Unit: AddedHeadUnit, Init: init, New: true},
			Bias:   &Param{Name: path + ".bias", Shape: tensor.Of(size), Unit: AddedHeadUnit, Init: init, New: true},
		})
		in = size
	}
	if d.Added = s; at == OnTop {
		d.Head, d.Classes, d.Tied = s.Layers[len(sizes)], classes, false
	}
}

// Params lists the head's parameters in the order of their use, none for nil.
func (s *AddedHead) Params() (all []*Param) {
	if s != nil {
		for _, l := range s.Layers {
			all = append(all, l.Weight, l.Bias)
		}
	}
	return all
}

// onTop reports whether the head's last layer is the output head of the decoder.
func (s *AddedHead) onTop() bool { return s != nil && s.At == OnTop }

// apply records what the output head of the decoder is applied to.
func (s *AddedHead) apply(t *graph.Tape, in *Input, h graph.Var) graph.Var {
	if s == nil {
		return h
	}
	t.Enter(AddedHeadUnit)
	x := h
	for k, l := range s.Layers {
		last := k == len(s.Layers)-1
		if last && s.At == OnTop {
			break // the output head
		}
		if x = l.Forward(t, in, x); !last || s.At == OnTop {
			x = op.Activate(t, x, s.Activation)
		}
	}
	if s.At == OnTop {
		return x
	}
	return op.Add(t, h, x)
}
