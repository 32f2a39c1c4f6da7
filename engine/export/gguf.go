package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/model/llama"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

// architectures are the families that llama.cpp knows, by config.json's model_type. llama.cpp computes Mistral as Llama.
var architectures = map[string]string{"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

// ggufTensor is a tensor of a GGUF file and where its values come from.
type ggufTensor struct {
	gguf.Spec
	param *nn.Param
	// heads is above 0 for a projection whose rows change places: llama.cpp's Llama rotates neighbours (2j, 2j+1) of a head where
	// Hugging Face rotates j and j + size/2. The new row 2j+t of a head is the old row t·size/2 + j.
	heads  int
	values []float32 // of a tensor that is no parameter
}

// architecture is the name that llama.cpp has for the family of a decoder. What the format cannot express is an error that names it.
func architecture(d *nn.Decoder, config []byte) (string, error) {
	var c struct {
		ModelType     string   `json:"model_type"`
		Architectures []string `json:"architectures"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", fmt.Errorf("config.json: %w", err)
	}
	kind := strings.ToLower(c.ModelType)
	if kind == "" && len(c.Architectures) > 0 {
		kind = strings.ToLower(strings.TrimSuffix(c.Architectures[0], "ForCausalLM"))
	}
	arch, known := architectures[kind]
	switch {
	case !known:
		return "", fmt.Errorf("models of the type %q are not written as GGUF: llama, mistral, qwen2 and qwen3 are", kind)
	case d.Classes > 0:
		return "", errors.New("a classifier cannot be written as GGUF: llama.cpp continues texts")
	case d.Added != nil:
		return "", errors.New("an added head cannot be written as GGUF: llama.cpp has no such layers")
	}
	for _, b := range d.Blocks {
		if b.NoRoPE {
			return "", errors.New("layers without rotation of queries and keys cannot be written as GGUF for this architecture")
		}
		if b.Window > 0 && b.Window < d.MaxPositions {
			return "", fmt.Errorf("sliding windows of %d tokens cannot be written as GGUF: llama.cpp would attend over the whole text of up to %d", b.Window, d.MaxPositions)
		}
		if (b.O.Bias != nil || b.Gate.Bias != nil) && arch != "llama" {
			return "", errors.New("biases of o_proj or of the MLP cannot be written as GGUF for this architecture")
		}
	}
	return arch, nil
}

// ggufTensors lists the tensors of a decoder under llama.cpp's names, in the order of their use, all of them as float32.
func ggufTensors(d *nn.Decoder, arch string) []ggufTensor {
	var all []ggufTensor
	add := func(name string, p *nn.Param, heads int) {
		if p != nil {
			all = append(all, ggufTensor{Spec: gguf.Spec{Name: name, Shape: p.Shape, Type: gguf.F32}, param: p, heads: heads})
		}
	}
	linear := func(name string, l *nn.Linear, heads int) {
		add(name+".weight", l.Weight, heads)
		add(name+".bias", l.Bias, heads)
	}
	q, k := 0, 0
	if arch == "llama" {
		q, k = d.Heads, d.KVHeads
	}
	add("token_embd.weight", d.Embedding, 0)
	for i := range d.Blocks {
		b, at := &d.Blocks[i], fmt.Sprintf("blk.%d.", i)
		add(at+"attn_norm.weight", b.InputNorm, 0)
		linear(at+"attn_q", b.Q, q)
		linear(at+"attn_k", b.K, k)
		linear(at+"attn_v", b.V, 0)
		linear(at+"attn_output", b.O, 0)
		add(at+"attn_q_norm.weight", b.QNorm, 0)
		add(at+"attn_k_norm.weight", b.KNorm, 0)
		add(at+"ffn_norm.weight", b.PostAttentionNorm, 0)
		linear(at+"ffn_gate", b.Gate, 0)
		linear(at+"ffn_up", b.Up, 0)
		linear(at+"ffn_down", b.Down, 0)
	}
	add("output_norm.weight", d.Norm, 0)
	if !d.Tied {
		add("output.weight", d.Head.Weight, 0)
	}
	return all
}

// ggufNames are llama.cpp's names of the weights, by the parameter.
func ggufNames(d *nn.Decoder, arch string) map[*nn.Param]ggufTensor {
	names := map[*nn.Param]ggufTensor{}
	for _, t := range ggufTensors(d, arch) {
		names[t.param] = t
	}
	return names
}

// rotation writes the keys of the rotary embedding, and for llama3's scaling the tensor with the divisors of the frequencies.
func rotation(d *nn.Decoder, arch string, config []byte) ([]gguf.KeyValue, *ggufTensor, error) {
	c, err := llama.ParseConfig(config)
	if err != nil {
		return nil, nil, err
	}
	r, _, err := c.Rope()
	if err != nil {
		return nil, nil, err
	}
	keys := []gguf.KeyValue{{Key: arch + "." + gguf.KeyRopeDims, Value: uint32(d.HeadDim)}, {Key: arch + "." + gguf.KeyRopeBase, Value: float32(r.Theta)}}
	key := func(name string, v any) { keys = append(keys, gguf.KeyValue{Key: arch + "." + name, Value: v}) }
	switch {
	case r.Type == "default", r.Type == "dynamic": // dynamic is the identity up to the context length
	case r.Type == "linear":
		key(gguf.KeyRopeScaling, "linear")
		key(gguf.KeyRopeFactor, float32(r.Factor))
	case r.Type == "yarn" && r.Usual:
		key(gguf.KeyRopeScaling, "yarn")
		key(gguf.KeyRopeFactor, float32(r.Factor))
		key(gguf.KeyRopeOriginal, uint32(r.Original))
	case r.Type == "llama3" && arch == "llama":
		t := &ggufTensor{Spec: gguf.Spec{Name: gguf.RopeFreqs, Shape: tensor.Of(d.HeadDim / 2), Type: gguf.F32}}
		plain := llama.Frequencies(r.Theta, d.HeadDim)
		for j, f := range d.InvFreq {
			t.values = append(t.values, float32(plain[j]/f))
		}
		return keys, t, nil
	default:
		return nil, nil, fmt.Errorf("the scaling %q of the rotary embedding cannot be written as GGUF with these numbers", r.Type)
	}
	return keys, nil, nil
}

// modelKeys are the keys that describe the decoder.
func modelKeys(d *nn.Decoder, arch string) []gguf.KeyValue {
	key := func(name string, v any) gguf.KeyValue { return gguf.KeyValue{Key: arch + "." + name, Value: v} }
	return []gguf.KeyValue{
		key(gguf.KeyVocabSize, uint32(d.Vocab)),
		key(gguf.KeyContext, uint32(d.MaxPositions)),
		key(gguf.KeyEmbedding, uint32(d.Hidden)),
		key(gguf.KeyBlocks, uint32(d.Layers)),
		key(gguf.KeyFeedForward, uint32(d.Intermediate)),
		key(gguf.KeyHeads, uint32(d.Heads)),
		key(gguf.KeyKVHeads, uint32(d.KVHeads)),
		key(gguf.KeyRMSEps, d.RMSNormEps),
		key(gguf.KeyKeyLength, uint32(d.HeadDim)),
		key(gguf.KeyValueLength, uint32(d.HeadDim)),
	}
}

// interleave moves the rows of one head of the given number of rows from Hugging Face's order to llama.cpp's. Each row holds width
// values.
func interleave(to, from []float32, rows, width int) {
	for j := range rows / 2 {
		copy(to[2*j*width:(2*j+1)*width], from[j*width:])
		copy(to[(2*j+1)*width:(2*j+2)*width], from[(rows/2+j)*width:])
	}
}

// A fileType is one of the forms in which the matrices of a model are written.
type fileType struct {
	number uint32 // general.file_type
	matrix gguf.TensorType
	// choose is the type of a matrix where not all have the same; nil where they do.
	choose func(t *ggufTensor, d *nn.Decoder) gguf.TensorType
}

var fileTypes = map[string]fileType{
	"f32":    {0, gguf.F32, nil},
	"f16":    {1, gguf.F16, nil},
	"bf16":   {32, gguf.BF16, nil},
	"q8_0":   {7, gguf.Q8_0, nil},
	"q4_0":   {2, gguf.Q4_0, outputFiner(gguf.Q4_0)},
	"q4_k_m": {15, gguf.Q4_K, mixedQ4K},
}

// GGUFTypes lists the types of --dtype for GGUF.
func GGUFTypes() []string { return []string{"f16", "bf16", "f32", "q8_0", "q4_0", "q4_k_m"} }

// outputFiner writes the output head, or the embedding that stands for it, as Q6_K, as llama.cpp does.
func outputFiner(others gguf.TensorType) func(*ggufTensor, *nn.Decoder) gguf.TensorType {
	return func(t *ggufTensor, d *nn.Decoder) gguf.TensorType {
		if isOutput(t, d) {
			return gguf.Q6_K
		}
		return others
	}
}

func isOutput(t *ggufTensor, d *nn.Decoder) bool {
	return t.Name == "output.weight" || d.Tied && t.param == d.Embedding
}

// mixedQ4K is llama.cpp's Q4_K_M: Q6_K for the output head, and for attn_v and ffn_down in the first and the last eighth of the
// layers and in every third between them; Q4_K for the others.
func mixedQ4K(t *ggufTensor, d *nn.Decoder) gguf.TensorType {
	if isOutput(t, d) {
		return gguf.Q6_K
	}
	for i := range d.Blocks {
		b := &d.Blocks[i]
		if t.param == b.V.Weight || t.param == b.Down.Weight {
			if n := d.Layers; i < n/8 || i >= 7*n/8 || (i-n/8)%3 == 2 {
				return gguf.Q6_K
			}
		}
	}
	return gguf.Q4_K
}

// assign sets the types of the tensors. Vectors stay float32. A matrix whose rows are not whole blocks gets a type with smaller blocks,
// as llama.cpp does: Q4_K becomes Q5_0 and Q6_K becomes Q8_0, and where 32 does not divide a row either, F16. It returns the names of
// the matrices that got another type.
func (f fileType) assign(all []ggufTensor, d *nn.Decoder) (fellBack []string) {
	for i := range all {
		t := &all[i]
		if len(t.Shape) < 2 {
			continue
		}
		t.Type = f.matrix
		if f.choose != nil {
			t.Type = f.choose(t, d)
		}
		wanted := t.Type
		for _, next := range []gguf.TensorType{smaller[t.Type], gguf.F16} {
			if _, err := t.Bytes(); err != nil {
				t.Type = next
			}
		}
		if t.Type != wanted {
			fellBack = append(fellBack, t.Name)
		}
	}
	return fellBack
}

// smaller is the type with smaller blocks that stands in for a type.
var smaller = map[gguf.TensorType]gguf.TensorType{gguf.Q4_K: gguf.Q5_0, gguf.Q6_K: gguf.Q8_0, gguf.Q8_0: gguf.F16, gguf.Q4_0: gguf.F16}

// packed says whether any tensor is written in blocks.
func packed(all []ggufTensor) bool {
	return slices.ContainsFunc(all, func(t ggufTensor) bool { return t.Type.Blocks() != 0 })
}
