package gguf

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// keys reads the values of a header.
type keys struct{ values map[string]any }

// integer is a whole number from 0 to 2³¹−1, absent where the key is.
func (k keys) integer(key string) (n int, present bool, err error) {
	switch v := k.values[key].(type) {
	case nil:
		return 0, false, nil
	case uint64:
		if v <= math.MaxInt32 {
			return int(v), true, nil
		}
	case int64:
		if v >= 0 && v <= math.MaxInt32 {
			return int(v), true, nil
		}
	case []uint64, []int64:
		return 0, true, fmt.Errorf("%s differs from layer to layer, which is not supported", key)
	}
	return 0, true, fmt.Errorf("%s is %v, want a whole number from 0 to 2147483647", key, k.values[key])
}

// needed is an integer of at least 1 that must be there.
func (k keys) needed(key string) (int, error) {
	n, present, err := k.integer(key)
	if err == nil && (!present || n < 1) {
		err = fmt.Errorf("%s is missing or 0", key)
	}
	return n, err
}

// number is a floating-point number as the shortest decimal that is the same float32, "" where the key is absent.
func (k keys) number(key string) (json.Number, error) {
	v, present := k.values[key]
	if !present {
		return "", nil
	}
	x, ok := v.(float64)
	if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
		return "", fmt.Errorf("%s is %v, want a number", key, v)
	}
	if float64(float32(x)) == x {
		return json.Number(strconv.FormatFloat(x, 'g', -1, 32)), nil
	}
	return json.Number(strconv.FormatFloat(x, 'g', -1, 64)), nil
}

// text is a string, "" where the key is absent.
func (k keys) text(key string) (string, error) {
	v, present := k.values[key]
	s, ok := v.(string)
	if present && !ok {
		return "", fmt.Errorf("%s is %v, want a string", key, v)
	}
	return s, nil
}

// families are the architectures that are read: the class and model_type of transformers, and whether the file holds the rows of queries
// and keys interleaved.
var families = map[string]struct {
	class, modelType string
	interleaved      bool
}{
	"llama":   {"LlamaForCausalLM", "llama", true},
	"mistral": {"MistralForCausalLM", "mistral", true},
	"qwen2":   {"Qwen2ForCausalLM", "qwen2", false},
	"qwen3":   {"Qwen3ForCausalLM", "qwen3", false},
}

// architecture is what config.json needs to know.
type architecture struct {
	name, class, modelType string
	interleaved            bool
	json                   map[string]any
	heads, kvHeads         int
	headDim, context       int
	frequencies            []float32 // divisors of the rotary frequencies; nil for none
	original               int       // context_length before the rotary scaling, 0 where the file does not say
}

// foreign are keys of an architecture that change the maths in a way that no supported model has.
var foreign = []string{"logit_scale", "residual_scale", "embedding_scale", "attention.scale", "attn_logit_softcapping", "final_logit_softcapping", "attention.clamp_kqv", "attention.max_alibi_bias"}

// readArchitecture reads the keys of the architecture and checks what other tensors and keys would change.
func readArchitecture(k keys, tensors map[string]Tensor) (*architecture, error) {
	if kind, err := k.text(KeyType); err != nil || kind != "" && kind != "model" {
		return nil, fmt.Errorf("the file holds a GGUF %s and no model; give the model's file", kind)
	}
	name, err := k.text(KeyArchitecture)
	if err != nil {
		return nil, err
	}
	family, ok := families[name]
	if !ok {
		return nil, fmt.Errorf("the architecture %q is not supported in a GGUF file, only llama, mistral, qwen2 and qwen3 are", name)
	}
	a := &architecture{name: name, class: family.class, modelType: family.modelType, interleaved: family.interleaved, json: map[string]any{}}
	at := func(key string) string { return name + "." + key }
	if n, _, err := k.integer(at(KeyExperts)); err != nil || n > 0 {
		return nil, fmt.Errorf("a mixture of experts (%s is %d) is not supported", at(KeyExperts), n)
	}
	for _, key := range foreign {
		if v, there := k.values[at(key)]; there && v != 0.0 {
			return nil, fmt.Errorf("%s is %v, which is not supported", at(key), v)
		}
	}
	if causal, there := k.values[at("attention.causal")]; there && causal != true {
		return nil, fmt.Errorf("%s is %v: only causal language models are supported", at("attention.causal"), causal)
	}
	if err := a.sizes(k, at); err != nil {
		return nil, err
	}
	embedding, ok := tensors["token_embd.weight"]
	if !ok || len(embedding.Shape) != 2 {
		return nil, fmt.Errorf("the tensor \"token_embd.weight\" is missing or no matrix")
	}
	has := func(tensor string) bool { _, ok := tensors[tensor]; return ok }
	a.json["vocab_size"] = embedding.Shape[0]
	a.json["tie_word_embeddings"] = !has("output.weight")
	a.json["attention_bias"], a.json["mlp_bias"] = has("blk.0.attn_q.bias"), has("blk.0.ffn_gate.bias")
	if err := a.window(k, at); err != nil {
		return nil, err
	}
	return a, a.rotation(k, at)
}

// sizes reads the dimensions.
func (a *architecture) sizes(k keys, at func(string) string) (err error) {
	var hidden int
	for _, s := range []struct {
		key, json string
		to        *int
	}{
		{KeyEmbedding, "hidden_size", &hidden}, {KeyBlocks, "num_hidden_layers", new(int)}, {KeyFeedForward, "intermediate_size", new(int)},
		{KeyHeads, "num_attention_heads", &a.heads}, {KeyContext, "max_position_embeddings", &a.context},
	} {
		if *s.to, err = k.needed(at(s.key)); err != nil {
			return err
		}
		a.json[s.json] = *s.to
	}
	kv, present, err := k.integer(at(KeyKVHeads))
	if err != nil {
		return err
	}
	if a.kvHeads = kv; !present {
		a.kvHeads = a.heads
	}
	a.headDim = hidden / a.heads
	for _, key := range []string{KeyKeyLength, KeyValueLength, KeyRopeDims} {
		n, present, err := k.integer(at(key))
		switch {
		case err != nil:
			return err
		case present && key == KeyKeyLength:
			a.headDim = n
		case present && n != a.headDim:
			return fmt.Errorf("%s is %d and the length of a head is %d: only equal lengths are supported", at(key), n, a.headDim)
		}
	}
	a.json["num_key_value_heads"], a.json["head_dim"] = a.kvHeads, a.headDim
	eps, err := k.number(at(KeyRMSEps))
	if err == nil && eps == "" {
		err = fmt.Errorf("%s is missing", at(KeyRMSEps))
	}
	a.json["rms_norm_eps"] = eps
	return err
}

// window reads the sliding window, which among Llama's kin makes a Mistral. The programs that read GGUF ignore the key for Qwen.
func (a *architecture) window(k keys, at func(string) string) error {
	n, _, err := k.integer(at(KeySlidingWindow))
	if err != nil || !a.interleaved {
		return err
	}
	if n > 0 {
		a.class, a.modelType = families["mistral"].class, families["mistral"].modelType
		a.json["sliding_window"] = n
	} else if a.modelType == "mistral" {
		a.json["sliding_window"] = nil
	}
	return nil
}

// rotation reads base and scaling of the rotary frequencies.
func (a *architecture) rotation(k keys, at func(string) string) error {
	base, err := k.number(at(KeyRopeBase))
	if err != nil {
		return err
	}
	if a.json["rope_theta"] = base; base == "" {
		a.json["rope_theta"] = 10000
	}
	kind, err := k.text(at(KeyRopeScaling))
	if err != nil {
		return err
	}
	factor, err := k.number(at(KeyRopeFactor))
	if err != nil {
		return err
	}
	if kind == "" && factor == "" { // old files
		if factor, err = k.number(at(KeyRopeScale)); err != nil {
			return err
		}
	}
	if kind == "" && factor != "" && factor != "0" {
		kind = "linear"
	}
	if a.original, _, err = k.integer(at(KeyRopeOriginal)); err != nil {
		return err
	}
	attention, err := k.number(at(KeyRopeAttention))
	if err != nil {
		return err
	}
	if attention != "" && attention != "1" {
		return fmt.Errorf("%s is %s, which is not supported", at(KeyRopeAttention), attention)
	}
	switch kind {
	case "", "none":
		return nil
	case "linear":
		if factor != "1" {
			a.json["rope_scaling"] = map[string]any{"rope_type": "linear", "factor": factor}
		}
		return nil
	case "yarn":
		scaling := map[string]any{"rope_type": "yarn", "factor": factor}
		if a.original > 0 {
			scaling["original_max_position_embeddings"] = a.original
		}
		for key, name := range map[string]string{KeyRopeBetaFast: "beta_fast", KeyRopeBetaSlow: "beta_slow"} {
			beta, err := k.number(at(key))
			if err != nil {
				return err
			}
			if beta != "" {
				scaling[name] = beta
			}
		}
		a.json["rope_scaling"] = scaling
		return nil
	}
	return fmt.Errorf("%s is %q, which is not supported, only none, linear and yarn are", at(KeyRopeScaling), kind)
}

// config is config.json.
func (a *architecture) config(t *tokens) ([]byte, error) {
	a.json["architectures"], a.json["model_type"], a.json["hidden_act"] = []string{a.class}, a.modelType, "silu"
	if t.bos >= 0 {
		a.json["bos_token_id"] = t.bos
	}
	if len(t.ends) > 0 {
		a.json["eos_token_id"] = t.ends
	}
	if t.pad >= 0 {
		a.json["pad_token_id"] = t.pad
	}
	if a.frequencies != nil {
		if a.json["rope_scaling"] != nil {
			return nil, fmt.Errorf("the file has both %s and a rotary scaling in its keys, which is not supported", RopeFreqs)
		}
		a.json["rope_scaling"] = a.divisors()
	}
	return json.MarshalIndent(a.json, "", "  ")
}

// divisors is the rope_scaling of the divisors of the frequencies: llama3 where its formula gives them, else longrope, whose
// short_factor are divisors as they are.
func (a *architecture) divisors() map[string]any {
	theta, _ := strconv.ParseFloat(fmt.Sprint(a.json["rope_theta"]), 64) // a number, as number makes it
	factor := 1.0
	for _, d := range a.frequencies {
		factor = max(factor, float64(d))
	}
	for _, original := range []int{a.original, 8192, a.context} {
		if original > 0 && isLlama3(a.frequencies, theta, factor, float64(original)) {
			return map[string]any{"rope_type": "llama3", "factor": factor, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": original}
		}
	}
	short := make([]json.Number, len(a.frequencies))
	for i, d := range a.frequencies {
		short[i] = json.Number(strconv.FormatFloat(float64(d), 'g', -1, 32))
	}
	return map[string]any{"rope_type": "longrope", "factor": 1, "attention_factor": 1, "short_factor": short, "long_factor": short, "original_max_position_embeddings": a.context}
}

// isLlama3 reports whether llama3's formula, with the low and high factors 1 and 4 of all published models, gives the divisors.
func isLlama3(divisors []float32, theta, factor, original float64) bool {
	for j, d := range divisors {
		frequency := math.Pow(theta, -float64(j)/float64(len(divisors)))
		wave, want := 2*math.Pi/frequency, 1.0
		if wave > original {
			want = factor
		} else if wave >= original/4 {
			smooth := (original/wave - 1) / 3
			want = 1 / ((1-smooth)/factor + smooth)
		}
		if math.Abs(float64(d)/want-1) > 1e-4 {
			return false
		}
	}
	return true
}

// The modules of Hugging Face by the names of GGUF: those of a block, and the tensors of the rest.
var (
	blockNames = map[string]string{
		"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
		"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
		"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
		"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
	}
	otherNames = map[string]string{
		"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight",
	}
)

// tensor is the name of a tensor in Hugging Face's format, and the number of heads whose rows are interleaved, 0 for none. A tensor
// of another kind keeps its name: the model does not use it, and the check of names says so.
func (a *architecture) tensor(t Tensor) (name string, heads int) {
	if name, ok := otherNames[t.Name]; ok {
		return name, 0
	}
	parts := strings.Split(t.Name, ".")
	if len(parts) != 4 || parts[0] != "blk" {
		return t.Name, 0
	}
	module, ok := blockNames[parts[2]]
	if !ok || parts[3] != "weight" && parts[3] != "bias" {
		return t.Name, 0
	}
	if a.interleaved {
		heads = map[string]int{"attn_q": a.heads, "attn_k": a.kvHeads}[parts[2]]
		if len(t.Shape) == 0 || heads > 0 && t.Shape[0]%(2*heads) != 0 { // a wrong shape, which the check of shapes names
			heads = 0
		}
	}
	return "model.layers." + parts[1] + "." + module + "." + parts[3], heads
}
