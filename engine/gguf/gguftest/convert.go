package gguftest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// config are the keys of config.json that a file says in keys of its own.
type config struct {
	ModelType string   `json:"model_type"`
	Hidden    uint32   `json:"hidden_size"`
	MLP       uint32   `json:"intermediate_size"`
	Layers    uint32   `json:"num_hidden_layers"`
	Heads     int      `json:"num_attention_heads"`
	KV        int      `json:"num_key_value_heads"`
	HeadDim   *uint32  `json:"head_dim"`
	Context   uint32   `json:"max_position_embeddings"`
	Eps       float32  `json:"rms_norm_eps"`
	Theta     *float32 `json:"rope_theta"`
	Window    *uint32  `json:"sliding_window"`
}

// modules are the names of GGUF by those of Hugging Face.
var modules = strings.NewReplacer(
	"model.layers.", "blk.", "model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output",
	"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm", "self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k",
	"self_attn.v_proj", "attn_v", "self_attn.o_proj", "attn_output", "self_attn.q_norm", "attn_q_norm", "self_attn.k_norm", "attn_k_norm",
	"mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down",
)

// Convert writes the model of a Hugging Face folder as a GGUF file whose matrices have the type matrices; vectors stay float32. The
// tokenizer is byte-level, with pre as its way to cut text. more are further keys. It panics where the folder has not what it needs.
func Convert(fsys fs.FS, matrices gguf.TensorType, pre string, more ...Key) []byte {
	var c config
	parse(fsys, "config.json", &c)
	at := func(key string, v any) Key { return Key{Name: c.arch() + "." + key, Value: v} }
	keys := []Key{
		{Name: gguf.KeyArchitecture, Value: c.arch()}, at(gguf.KeyEmbedding, c.Hidden), at(gguf.KeyFeedForward, c.MLP), at(gguf.KeyBlocks, c.Layers),
		at(gguf.KeyHeads, uint32(c.Heads)), at(gguf.KeyKVHeads, uint32(c.KV)), at(gguf.KeyContext, c.Context), at(gguf.KeyRMSEps, c.Eps),
	}
	if c.HeadDim != nil {
		keys = append(keys, at(gguf.KeyKeyLength, *c.HeadDim), at(gguf.KeyValueLength, *c.HeadDim), at(gguf.KeyRopeDims, *c.HeadDim))
	}
	if c.Theta != nil {
		keys = append(keys, at(gguf.KeyRopeBase, *c.Theta))
	}
	if c.ModelType == "mistral" && c.Window != nil {
		keys = append(keys, at(gguf.KeySlidingWindow, *c.Window))
	}
	keys = slices.Concat(keys, tokenizer(fsys, pre), more)
	w, err := weights.Open(fsys)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	var tensors []Tensor
	for _, name := range w.Names() {
		t, _ := w.Tensor(name)
		h, err := w.ReadF32(t)
		if err != nil {
			panic(err)
		}
		tensors = append(tensors, c.tensor(name, h, matrices))
	}
	return File(keys, tensors)
}

// arch is the architecture of the file. Mistral's is that of Llama.
func (c *config) arch() string {
	if c.ModelType == "mistral" {
		return "llama"
	}
	return c.ModelType
}

// tensor is a tensor of Hugging Face as the file has it.
func (c *config) tensor(name string, h tensor.Host, matrices gguf.TensorType) Tensor {
	values := h.Data
	if heads := map[bool]int{strings.Contains(name, "q_proj"): c.Heads, strings.Contains(name, "k_proj"): c.KV}[true]; heads > 0 && c.arch() == "llama" {
		row := 1
		if len(h.Shape) == 2 {
			row = h.Shape[1]
		}
		hd := h.Shape[0] / heads
		values = nil
		for head := range heads { // new row 2j+t is the old row t·hd/2 + j
			for j := range hd / 2 {
				for t := range 2 {
					from := (head*hd + t*hd/2 + j) * row
					values = append(values, h.Data[from:from+row]...)
				}
			}
		}
	}
	out := Tensor{Name: modules.Replace(name), Type: matrices, Shape: h.Shape}
	if len(h.Shape) < 2 {
		out.Type = gguf.F32
	}
	out.Data = Encode(values, out.Type)
	return out
}

// Encode is values in a type that can be written.
func Encode(values []float32, t gguf.TensorType) []byte {
	if b := t.Blocks(); b != quant.None {
		n, err := b.Bytes(len(values))
		out := make([]byte, n)
		if err == nil {
			err = quant.Encode(out, values, b)
		}
		if err != nil {
			panic(err)
		}
		return out
	}
	d, _ := t.DType()
	return tensor.EncodeF32(nil, values, d)
}

// tokenizer are the keys of a byte-level tokenizer.json.
func tokenizer(fsys fs.FS, pre string) []Key {
	var file struct {
		Added []struct {
			ID      int
			Content string
			Special bool
		} `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int
			Merges []string
			Unk    *string `json:"unk_token"`
		}
	}
	parse(fsys, "tokenizer.json", &file)
	size := 0
	for _, id := range file.Model.Vocab {
		size = max(size, id+1)
	}
	for _, a := range file.Added {
		size = max(size, a.ID+1)
	}
	texts, types := make([]string, size), make([]int32, size)
	for id := range texts {
		texts[id], types[id] = fmt.Sprintf("[PAD%d]", id), gguf.TokenUnused
	}
	for text, id := range file.Model.Vocab {
		texts[id], types[id] = text, gguf.TokenNormal
	}
	for _, a := range file.Added {
		if texts[a.ID], types[a.ID] = a.Content, gguf.TokenUserDefined; a.Special {
			types[a.ID] = gguf.TokenControl
		}
	}
	var ids struct {
		BOS uint32 `json:"bos_token_id"`
		EOS uint32 `json:"eos_token_id"`
	}
	parse(fsys, "config.json", &ids)
	keys := []Key{
		{Name: gguf.KeyTokenizer, Value: "gpt2"}, {Name: gguf.KeyPre, Value: pre}, {Name: gguf.KeyTokens, Value: texts}, {Name: gguf.KeyTokenTypes, Value: types},
		{Name: gguf.KeyMerges, Value: file.Model.Merges}, {Name: gguf.KeyBOS, Value: ids.BOS}, {Name: gguf.KeyEOS, Value: ids.EOS}, {Name: gguf.KeyAddBOS, Value: true},
	}
	if unk := file.Model.Unk; unk != nil {
		keys = append(keys, Key{Name: gguf.KeyUnknown, Value: uint32(file.Model.Vocab[*unk])})
	}
	var settings struct {
		Template string `json:"chat_template"`
	}
	if _, err := fs.Stat(fsys, "tokenizer_config.json"); err == nil {
		parse(fsys, "tokenizer_config.json", &settings)
	}
	if settings.Template != "" {
		keys = append(keys, Key{Name: gguf.KeyChatTemplate, Value: settings.Template})
	}
	return keys
}

func parse(fsys fs.FS, name string, v any) {
	data, err := fs.ReadFile(fsys, name)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
}
