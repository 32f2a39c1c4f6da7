// Package peft holds the parameter-efficient methods, one to a file. A method attaches trainable tensors to a
// decoder's slots and names them as Hugging Face PEFT does on disk; models never mention methods.
package peft

import (
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
)

// Prefix starts the key of every tensor of the model in a PEFT file.
const Prefix = "base_model.model."

// Method is a fine-tuning method that has been attached to a decoder.
type Method interface {
	// Tensors lists what adapter_model.safetensors holds, all of it trainable.
	Tensors() []Tensor
	// Merges lists the weights that the method can be folded into.
	Merges() []Merge
}

// Tensor is a parameter under its key in a PEFT file.
type Tensor struct {
	Key   string
	Param *nn.Param
}

// Merge says that W may be replaced by W + Scale·Left·Right, with Left (rows of W, r) and Right (r, columns of W).
// A Transposed Right is stored as (columns of W, r).
type Merge struct {
	W           *nn.Param
	Left, Right *nn.Param
	Transposed  bool
	Scale       float32
}

// Attach builds the method that cfg names and attaches it to d.
type attach func(d *nn.Decoder, cfg *config.PEFT) (Method, error)

var registry = map[string]attach{}

// Attach adds the method that cfg describes to d. Methods that nobody registered are refused by name.
func Attach(d *nn.Decoder, cfg *config.PEFT) (Method, error) {
	a, ok := registry[cfg.Type]
	if !ok {
		var known []string
		for n := range registry {
			known = append(known, n)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("peft_type %q is not available in this version, want %s", cfg.Type, strings.Join(known, ", "))
	}
	return a(d, cfg)
}
