// Package nn holds the parts that decoders are built from: parameters, linear maps and the decoder itself, with the
// slots through which fine-tuning methods act on it.
package nn

import (
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// Param is one tensor of a model or an adapter.
type Param struct {
	// Name is the checkpoint's, "model.layers.3.self_attn.q_proj.weight".
	Name  string
	Shape tensor.Shape
	// DType is how the device stores it, as compute sees it: F32, or BF16 or F16, packed.
	DType     tensor.DType
	Trainable bool
	// InPlace says that what trains has no float32 master: updates change the packed numbers themselves.
	InPlace bool
	// Unit groups parameters that are used together: "embed", "block 3", "head". It is what will be gathered, sharded
	// and stepped as one.
	Unit string
	// Source is the name to read initial values from, where it differs from Name: a head untied from its embedding.
	Source string
	// Transposed says that files hold the transpose of Shape, which has two dimensions.
	Transposed bool
	// Init gives the initial values where no file does; the name and the run's seed alone decide them.
	Init Init
	// Fresh: the model's own files do not hold it.
	Fresh bool
}

// FileShape is the shape in files.
func (p *Param) FileShape() tensor.Shape {
	if p.Transposed {
		return tensor.Of(p.Shape[1], p.Shape[0])
	}
	return p.Shape
}

// From is the name that initial values are read by.
func (p *Param) From() string {
	if p.Source != "" {
		return p.Source
	}
	return p.Name
}

// GradOf is the key of a parameter's gradient on a tape; the parameter's own key is the *Param.
type GradOf struct{ *Param }

// Var brings the parameter onto a tape.
func (p *Param) Var(t *graph.Tape) graph.Var {
	e := graph.Extern{Key: p, Shape: p.Shape, DType: p.DType, Name: p.Name}
	if p.Trainable {
		e.GradKey = GradOf{p}
	}
	return t.Extern(e)
}
