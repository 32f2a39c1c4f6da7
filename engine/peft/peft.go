// Package peft holds the parameter-efficient methods, one to a file. A method makes a patch of a decoder and names its
// trainable tensors as Hugging Face PEFT does on disk; models never mention methods.
package peft

import (
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
)

// Prefix starts the key of a tensor of the model in the file of a method that wraps modules. Prompt learning wraps the model
// itself, and what is saved of it begins with promptPrefix.
const (
	Prefix       = "base_model.model."
	promptPrefix = "base_model."
)

// Method is a fine-tuning method made for a decoder.
type Method struct {
	// Patch is what it changes about the decoder.
	Patch *nn.Patch
	// Prefix starts the keys of the base model's tensors in its file.
	Prefix string

	tensors []Tensor
	merges  []Merge
	// unmergeable says why the method cannot be folded into the weights, "" where it can.
	unmergeable string
	starts      map[*nn.Param]Start
	residuals   map[*nn.Param]*residual
}

// Tensors lists what the files of the adapter hold.
func (m *Method) Tensors() []Tensor { return m.tensors }

// Merges lists the weights that the method can be folded into.
func (m *Method) Merges() ([]Merge, error) {
	if m.unmergeable != "" {
		return nil, fmt.Errorf("%s", m.unmergeable)
	}
	return m.merges, nil
}

// Start returns what makes the first values of a parameter of the method, nil where its Init says them.
func (m *Method) Start(p *nn.Param) Start { return m.starts[p] }

// own adds a parameter of the method under its own name.
func (m *Method) own(params ...*nn.Param) {
	for _, p := range params {
		m.tensors = append(m.tensors, Tensor{Key: p.Name, Param: p})
	}
}

// startAs says how the values of p start.
func (m *Method) startAs(p *nn.Param, s Start) {
	if m.starts == nil {
		m.starts = map[*nn.Param]Start{}
	}
	m.starts[p] = s
}

// EncoderFile is the file of what makes a projected prefix, beside the adapter's own.
const EncoderFile = "prefix_encoder.safetensors"

// Tensor is a tensor in a PEFT folder.
type Tensor struct {
	Key  string
	File string // "" is adapter_model.safetensors
	// Param is what holds it and trains; nil for a tensor that is Computed.
	Param *nn.Param
	// Computed records the tensor as a function of what trains.
	Computed func(t *graph.Tape) graph.Var
}

// Start makes the first values of a parameter. read gives those of a parameter of the base model, as its file holds them.
type Start func(read func(*nn.Param) ([]float32, error)) ([]float32, error)

// Merge says how a weight takes the adapter in.
type Merge struct {
	W    *nn.Param
	Head bool        // it is the output head's, which a tied model shares with the embedding
	From []*nn.Param // the adapter's tensors that Fold reads
	// Fold records the change of w, which holds W in F32, in place.
	Fold func(t *graph.Tape, w graph.Var)
}

// Context is what a method needs to know besides its configuration.
type Context struct {
	Seed uint64 // of the run: it decides the first values
	// Encode makes tokens of a text, nil where the model has no tokenizer.
	Encode func(text string) ([]int, error)
	// TableOnly: of a projected prefix there is only what the projection gave, as in a folder that PEFT wrote.
	TableOnly bool

	whole wholeModules
}

// maker makes a method for a decoder. Modules that c.whole names are saved whole, and so not adapted.
type maker func(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error)

var registry = map[string]maker{}

// New makes the method that cfg describes for d, without changing what d computes: set d.Patch to the method's for that.
// Only base tensors that train along (modules_to_save, biases) are those of d itself. What cfg leaves to the model is
// filled in as PEFT does before it saves a configuration. Methods that nobody registered are refused by name.
func New(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	make, ok := registry[cfg.Type]
	if !ok {
		var known []string
		for n := range registry {
			known = append(known, n)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("peft_type %q is not available in this version, want %s", cfg.Type, strings.Join(known, ", "))
	}
	if err := Resolve(d, cfg); err != nil {
		return nil, err
	}
	c.whole = newWholeModules(d, cfg)
	m, err := make(d, cfg, c)
	if err != nil {
		return nil, err
	}
	if m.Prefix = Prefix; m.Patch.Virtual > 0 {
		m.Prefix = promptPrefix
	}
	return m, c.whole.train(m, d, cfg)
}

// Attach makes the method that cfg describes and has d compute with it.
func Attach(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	m, err := New(d, cfg, c)
	if err == nil {
		d.Patch = m.Patch
	}
	return m, err
}
