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
	// bias names the biases of the base that train along: none, all, or lora_only; "" is none.
	bias      string
	starts    map[*nn.Param]Start
	residuals map[*nn.Param]*residual
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

// LosesBiases reports whether adapters of PEFT 0.13 lack the biases of adapted modules although these have trained.
func (m *Method) LosesBiases() bool { return m.bias == "lora_only" }

// Start returns what makes the first values of a parameter of the method, nil where its Init says them.
func (m *Method) Start(p *nn.Param) Start { return m.starts[p] }

// Own adds a parameter of the method under its own name.
func (m *Method) Own(params ...*nn.Param) {
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

// Descriptor is all that the program knows about one method of PEFT. Each file of a method registers one; validation,
// llamatab's help and plans, the page and the reader of adapter files use nothing else.
type Descriptor struct {
	// Type describes the configuration.
	Type *config.PEFTType
	// Mark stands between the path of an adapted module and the name of the method's tensor in the keys of
	// adapter_model.safetensors, ".lora_"; "" where no module has tensors of its own.
	Mark string
	// Unmergeable says why the method cannot be folded into the weights, "" where it can.
	Unmergeable string
	// Resolve fills in what a configuration leaves to the model; nil where it leaves nothing.
	Resolve func(d *nn.Decoder, cfg *config.PEFT) error
	// Make makes the method for a decoder, without changing what the decoder computes. Modules that c.whole names are
	// saved whole, and so not adapted.
	Make func(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error)
}

var descriptors []*Descriptor

// Register makes a method known. It is called from init functions.
func Register(d Descriptor) {
	descriptors = append(descriptors, &d)
	config.RegisterPEFTType(d.Type)
}

// find is the descriptor of a peft_type, nil where none is registered.
func find(name string) *Descriptor {
	for _, d := range descriptors {
		if d.Type.Name == name {
			return d
		}
	}
	return nil
}

// AdaptedModule is the path of the module that a key of adapter_model.safetensors holds a tensor of a method for.
func AdaptedModule(key string) (path string, ok bool) {
	for _, d := range descriptors {
		if d.Mark == "" {
			continue
		}
		if path, _, ok := strings.Cut(strings.TrimPrefix(key, Prefix), d.Mark); ok {
			return path, true
		}
	}
	return "", false
}

// always is the value of an example that is the same for every model.
func always(v any) func(int) any { return func(int) any { return v } }

// New makes the method that cfg describes for d. It does not change what d computes: Attach does.
// Only base tensors that train along (modules_to_save, biases) are those of d itself. What cfg leaves to the model is
// filled in as PEFT does before it saves a configuration. Methods that nobody registered are refused by name.
func New(d *nn.Decoder, cfg *config.PEFT, c Context) (m *Method, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case overdue:
			m, err = nil, r.error
		default:
			panic(r)
		}
	}()
	known := find(cfg.Type)
	if known == nil {
		var names []string
		for _, d := range descriptors {
			names = append(names, d.Type.Name)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("peft_type %q is not available in this version, want %s", cfg.Type, strings.Join(names, ", "))
	}
	if err := Resolve(d, cfg); err != nil {
		return nil, err
	}
	c.whole = newWholeModules(d, cfg)
	if m, err = known.Make(d, cfg, c); err != nil {
		return nil, err
	}
	if known.Unmergeable != "" {
		m.unmergeable = known.Unmergeable
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
