// Package nn holds the parts that decoders are built from: parameters, projections and the decoder itself, and Patch, through
// which fine-tuning methods change a decoder.
package nn

import (
	"llamatab/engine/graph"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Param is one tensor of a model or an adapter.
type Param struct {
	// Name is the name in checkpoints: "model.layers.3.self_attn.q_proj.weight".
	Name  string
	Shape tensor.Shape
	// DType is the type that programs read on the device: F32, or BF16 or F16, two in a word.
	DType tensor.DType
	// Quant is the format of a frozen matrix that is quantised on the device. DType does not count then.
	Quant     quant.Format
	Trainable bool
	// InPlace says that a trained parameter has no float32 master: updates change the values of type DType themselves.
	InPlace bool
	// Unit groups parameters that are used together: "embed", "block 3", "head". The parameters of a unit are gathered together,
	// and metrics have one gradient norm for each unit.
	Unit string
	// Source is the name that initial values are read by if it differs from Name, as for a head that was untied from its
	// embedding.
	Source string
	// Transposed says that files hold the transpose of Shape, which has two dimensions.
	Transposed bool
	// Init is the distribution of the initial values if no file holds them. They depend on the name and the run's seed only.
	Init Init
	// New says that the run adds the parameter: the files of the base model do not hold it.
	New bool
}

// FileShape is the shape in files, the transpose of Shape if Transposed is set.
func (p *Param) FileShape() tensor.Shape {
	if p.Transposed {
		return tensor.Of(p.Shape[1], p.Shape[0])
	}
	return p.Shape
}

// From is the name that initial values are read by, Source or Name.
func (p *Param) From() string {
	if p.Source != "" {
		return p.Source
	}
	return p.Name
}

// GradOf is the key of a parameter's gradient on a tape. The key of the parameter is the *Param.
type GradOf struct{ *Param }

// Var brings the parameter onto a tape.
func (p *Param) Var(t *graph.Tape) graph.Var {
	e := graph.Extern{Key: p, Shape: p.Shape, DType: p.DType, Name: p.Name}
	if p.Trainable {
		e.GradKey = GradOf{p}
	} else if p.Quant != quant.Plain {
		e.DType, e.Quant = tensor.U32, p.Quant
	}
	return t.Extern(e)
}
