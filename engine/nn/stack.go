package nn

import (
	"fmt"
	"math"

	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// Place is where a Stack stands.
type Place string

const (
	// Between trunk and output head: h + stack(h), on every row.
	Between Place = "between"
	// OnTop of the trunk's row of the last real token, in place of the output head: its last layer gives the logits of classes.
	OnTop Place = "classify"
)

// Stack is a chain of fully connected layers that is added to a decoder, an activation between each two of them:
//
//	x₀ = h,   x_{k+1} = f(W_k·x_k + b_k), without f after the last
//
// It is no part of the model's own files.
type Stack struct {
	At         Place
	Activation op.Activation
	Layers     []*Linear
}

// StackUnit is the unit of a stack's parameters.
const StackUnit = "added head"

// AddStack adds a stack whose inner layers have the given sizes. One between starts as nothing, its last layer being
// zero; one on top tells classes apart. Otherwise layers start as torch's: uniform in ±1/√in.
func (d *Decoder) AddStack(at Place, sizes []int, activation op.Activation, classes int) {
	s := &Stack{At: at, Activation: activation}
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
			Weight: &Param{Name: path + ".weight", Shape: tensor.Of(size, in), Unit: StackUnit, Init: init, Fresh: true},
			Bias:   &Param{Name: path + ".bias", Shape: tensor.Of(size), Unit: StackUnit, Init: init, Fresh: true},
		})
		in = size
	}
	if d.Added = s; at == OnTop {
		d.Head, d.Classes, d.Tied = s.Layers[len(sizes)], classes, false
	}
}

// Params lists the stack's parameters in the order of their use, none for nil.
func (s *Stack) Params() (all []*Param) {
	if s != nil {
		for _, l := range s.Layers {
			all = append(all, l.Weight, l.Bias)
		}
	}
	return all
}

// onTop tells whether the stack's last layer is the output head.
func (s *Stack) onTop() bool { return s != nil && s.At == OnTop }

// apply records what the output head sees of h.
func (s *Stack) apply(t *graph.Tape, in *Input, h graph.Var) graph.Var {
	if s == nil {
		return h
	}
	t.Enter(StackUnit)
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
