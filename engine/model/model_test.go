package model_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/message"
	"llamatab/engine/model"
	_ "llamatab/engine/model/llama"
	_ "llamatab/engine/model/mistral"
	_ "llamatab/engine/model/qwen2"
	_ "llamatab/engine/model/qwen3"
	_ "llamatab/engine/model/smollm3"
)

const sizes = `"vocab_size": 37, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 4`

// three are the sizes of a model of three layers.
var three = strings.Replace(sizes, `"num_hidden_layers": 1`, `"num_hidden_layers": 3`, 1)

func codes(remarks []message.Remark) (all []string) {
	for _, r := range remarks {
		all = append(all, r.Code)
	}
	return all
}

// TestFamily holds the choice of a family against that of transformers' AutoModelForCausalLM.
func TestFamily(t *testing.T) {
	for _, c := range []struct {
		keys    string
		qwen    bool // q, k and v have biases
		classes int
		remark  string
	}{
		{`"architectures": ["LlamaForCausalLM"]`, false, 0, ""},
		{`"architectures": ["LLaMAForCausalLM"], "model_type": "llama"`, false, 0, ""},
		{`"architectures": ["LlamaModel"]`, false, 0, ""},
		{`"architectures": ["Qwen2Model"], "model_type": "qwen2"`, true, 0, ""},
		{`"architectures": ["Qwen2ForCausalLM"]`, true, 0, ""},
		{`"architectures": ["LlamaForSequenceClassification"]`, false, 2, ""},
		{`"architectures": ["Qwen2ForSequenceClassification"], "num_labels": 5`, true, 5, ""},
		{`"model_type": "llama"`, false, 0, ""},
		{`"model_type": "qwen2"`, true, 0, ""},
		{`"architectures": [], "model_type": "llama"`, false, 0, ""},
		{`"architectures": null, "model_type": "qwen2"`, true, 0, ""},
		{`"architectures": ["LlamaForCausalLM"], "model_type": "smollm"`, false, 0, ""},
		{`"architectures": ["TinyStoriesForCausalLM"], "model_type": "llama"`, false, 0, "architecture_unknown"},
	} {
		d, remarks, err := model.Read([]byte("{" + sizes + ", " + c.keys + "}"))
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
			continue
		}
		if qwen := d.Blocks[0].Q.Bias != nil; qwen != c.qwen || d.Classes != c.classes {
			t.Errorf("%s: biases %v, %d classes, want %v and %d", c.keys, qwen, d.Classes, c.qwen, c.classes)
		}
		if code := strings.Join(codes(remarks), " "); code != c.remark {
			t.Errorf("%s: remarks %q, want %q", c.keys, code, c.remark)
		}
	}
	for keys, part := range map[string]string{
		`"model_type": "gpt2"`: `no "architectures" (model_type "gpt2")`,
		`"x": 1`:               `no "architectures"`,
		`"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"`:                                         `"GPT2LMHeadModel" is not supported`,
		`"architectures": ["LlamaForQuestionAnswering"], "model_type": "llama"`:                              `"LlamaForQuestionAnswering" is not supported`,
		`"architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": "llama"}`:         `"LlavaForConditionalGeneration" is not supported`,
		`"architectures": ["LlamaForCausalLM"], "model_type": "qwen2"`:                                       "two families",
		`"architectures": ["Qwen2ForCausalLM"], "model_type": "llama"`:                                       "two families",
		`"architectures": "LlamaForCausalLM"`:                                                                "config.json",
		`"architectures": ["LlamaForSequenceClassification"], "problem_type": "regression", "num_labels": 1`: "problem_type",
	} {
		if _, err := model.New([]byte("{" + sizes + ", " + keys + "}")); err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s: error %v, want one that says %q", keys, err, part)
		}
	}
}

func TestClassifierOf(t *testing.T) {
	for keys, want := range map[string]string{
		`"architectures": ["LlamaForCausalLM"]`: "LlamaForSequenceClassification",
		`"architectures": ["Qwen2Model"]`:       "Qwen2ForSequenceClassification",
		`"model_type": "mistral"`:               "MistralForSequenceClassification",
		`"architectures": ["Qwen3ForCausalLM"]`: "Qwen3ForSequenceClassification",
	} {
		if got, err := model.ClassifierOf([]byte("{" + keys + "}")); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", keys, got, err, want)
		}
	}
}

// TestWindows holds the sliding windows of three layers against transformers' configurations. They do not limit how long
// a text may be.
func TestWindows(t *testing.T) {
	none, all := []int{0, 0, 0}, func(w int) []int { return []int{w, w, w} }
	for _, c := range []struct {
		keys string
		want []int
	}{
		{`"model_type": "mistral"`, all(4096)},
		{`"model_type": "mistral", "sliding_window": null`, none},
		{`"model_type": "mistral", "sliding_window": 100`, all(100)},
		{`"model_type": "mistral", "sliding_window": 8192`, all(8192)},
		{`"model_type": "llama", "sliding_window": 100, "use_sliding_window": true`, none},
		{`"model_type": "qwen2", "sliding_window": 100`, none},
		{`"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": true`, none}, // max_window_layers is 28
		{`"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": true, "max_window_layers": 2`, []int{0, 0, 100}},
		{`"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": true, "max_window_layers": 0`, all(100)},
		{`"model_type": "qwen2", "sliding_window": 100, "max_window_layers": 0`, none},
		{`"model_type": "qwen2", "use_sliding_window": true, "max_window_layers": 1`, []int{0, 4096, 4096}},
		{`"model_type": "qwen2", "use_sliding_window": true, "sliding_window": null, "max_window_layers": 1`, none},
		{`"model_type": "qwen3", "sliding_window": null, "use_sliding_window": false`, none},
		{`"model_type": "qwen3", "use_sliding_window": true, "layer_types": ["full_attention", "full_attention", "full_attention"], "max_window_layers": 0`, none},
		{`"model_type": "qwen3", "use_sliding_window": true, "sliding_window": 100, "layer_types": ["full_attention", "sliding_attention", "full_attention"]`, []int{0, 100, 0}},
		{`"model_type": "qwen3", "use_sliding_window": true, "layer_types": ["sliding_attention", "full_attention", "full_attention"]`, []int{4096, 0, 0}},
		{`"model_type": "qwen3", "use_sliding_window": true, "layer_types": null, "max_window_layers": 2`, []int{0, 0, 4096}},
		{`"model_type": "smollm3", "no_rope_layer_interval": 2`, none},
		{`"model_type": "smollm3", "no_rope_layer_interval": 2, "sliding_window": 100`, none},
		{`"model_type": "smollm3", "no_rope_layer_interval": 2, "use_sliding_window": true`, none},
		{`"model_type": "smollm3", "no_rope_layer_interval": 2, "use_sliding_window": true, "sliding_window": 100`, []int{0, 100, 0}},
		{`"model_type": "smollm3", "use_sliding_window": true, "sliding_window": 100, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]`, []int{100, 0, 100}},
	} {
		d, remarks, err := model.Read([]byte("{" + three + `, "num_key_value_heads": 4, "max_position_embeddings": 8192, ` + c.keys + "}"))
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
			continue
		}
		var got []int
		for _, b := range d.Blocks {
			got = append(got, b.Window)
		}
		if !slices.Equal(got, c.want) || d.MaxPositions != 8192 || len(remarks) > 0 {
			t.Errorf("%s: windows %v, %d positions and remarks %q, want %v, 8192 and none", c.keys, got, d.MaxPositions, codes(remarks), c.want)
		}
	}
	for keys, part := range map[string]string{
		`"model_type": "mistral", "sliding_window": -1`:                                                                   "sliding_window is -1",
		`"model_type": "mistral", "sliding_window": 0`:                                                                    "want at least 1, or null",
		`"model_type": "mistral", "sliding_window": "x"`:                                                                  "sliding_window is \"x\"",
		`"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 1.5`:                                        "sliding_window is 1.5",
		`"model_type": "qwen2", "layer_types": ["sliding_attention"]`:                                                     "set use_sliding_window to true",
		`"model_type": "qwen3", "layer_types": ["full_attention", "full_attention"]`:                                      "layer_types names 2 layers, num_hidden_layers is 1",
		`"model_type": "qwen3", "use_sliding_window": true, "sliding_window": null, "layer_types": ["sliding_attention"]`: "there is no window",
		`"model_type": "smollm3", "no_rope_layer_interval": 0`:                                                            "no_rope_layer_interval is 0",
		`"model_type": "smollm3", "no_rope_layers": []`:                                                                   "no_rope_layers names 0 layers",
		`"model_type": "smollm3", "no_rope_layers": [2]`:                                                                  "no_rope_layers[0] is 2",
		`"model_type": "smollm3", "no_rope_layers": [true]`:                                                               "no_rope_layers",
		`"model_type": "qwen3", "use_sliding_window": true, "sliding_window": 0`:                                          "sliding_window is 0",
		`"model_type": "qwen3", "layer_types": ["full_attention", "linear_attention"]`:                                    "layer_types[1]",
	} {
		if _, err := model.New([]byte("{" + sizes + `, "num_key_value_heads": 4, ` + keys + "}")); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error %v, want one that says %q", keys, err, part)
		}
	}
}

// TestSmolLM3 holds the layers without rotations against transformers' SmolLM3Config, and the defaults against its count of
// parameters.
func TestSmolLM3(t *testing.T) {
	for keys, want := range map[string][]bool{
		`"model_type": "smollm3"`:                                                                       {false, false, false},
		`"model_type": "smollm3", "no_rope_layer_interval": 1`:                                          {true, true, true},
		`"model_type": "smollm3", "no_rope_layer_interval": 3`:                                          {false, false, true},
		`"model_type": "smollm3", "no_rope_layers": [0, 1, 0, 0]`:                                       {true, false, true},
		`"model_type": "smollm3", "no_rope_layers": null, "no_rope_layer_interval": 2`:                  {false, true, false},
		`"model_type": "smollm3", "no_rope_layers": [1, 1, 1], "no_rope_layer_interval": 1`:             {false, false, false},
		`"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "no_rope_layers": [1, 0, 1]`: {false, true, false},
		`"architectures": ["LlamaForCausalLM"], "model_type": "llama", "no_rope_layers": [0, 0, 0]`:     {false, false, false},
	} {
		d, err := model.New([]byte("{" + three + `, "num_key_value_heads": 4, ` + keys + "}"))
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		var got []bool
		for _, b := range d.Blocks {
			got = append(got, b.NoRoPE)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: without rotation %v, want %v", keys, got, want)
		}
	}
	d, err := model.New([]byte(`{"architectures": ["SmolLM3ForCausalLM"]}`))
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, p := range d.Params() {
		n += int64(p.Shape.Size())
	}
	if n != 3_075_098_624 || !d.Tied || d.Blocks[2].NoRoPE || !d.Blocks[3].NoRoPE || math.Abs(d.InvFreq[1]-math.Pow(2e6, -1.0/64)) > 1e-12 {
		t.Errorf("%d parameters, tied %v, frequency %v", n, d.Tied, d.InvFreq[1])
	}
}

// TestQwen3 holds the norms of queries and keys, and the count of parameters against the published one.
func TestQwen3(t *testing.T) {
	d, err := model.New([]byte(`{"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
		"num_attention_heads": 16, "num_key_value_heads": 8, "tie_word_embeddings": true, "rope_theta": 1000000}`))
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, p := range d.Params() {
		n += int64(p.Shape.Size())
	}
	if n != 596_049_920 || d.HeadDim != 128 || d.Blocks[3].QNorm.Name != "model.layers.3.self_attn.q_norm.weight" || d.Blocks[0].Q.Bias != nil {
		t.Errorf("%d parameters, head_dim %d, %q", n, d.HeadDim, d.Blocks[3].QNorm.Name)
	}
}

// TestTypeErrors: a value of another type is refused by the words of JSON.
func TestTypeErrors(t *testing.T) {
	for keys, want := range map[string]string{
		`"architectures": "LlamaForCausalLM"`:                                 `config.json: "architectures" is a string, want a list`,
		`"model_type": "llama", "rope_theta": "10000"`:                        `config.json: "rope_theta" is a string, want a number`,
		`"model_type": "llama", "num_key_value_heads": 1.5`:                   `config.json: "num_key_value_heads" is 1.5, want a whole number`,
		`"model_type": "llama", "pad_token_id": "<pad>"`:                      `config.json: "pad_token_id" is a string, want a whole number`,
		`"model_type": "llama", "attention_bias": 1`:                          `config.json: "attention_bias" is a number, want true or false`,
		`"model_type": "llama", "hidden_act": ["silu"]`:                       `config.json: "hidden_act" is a list, want a string`,
		`"model_type": "llama", "rope_scaling": {"factor": []}`:               `config.json: rope_scaling: "factor" is a list, want a number`,
		`"model_type": "qwen3", "layer_types": {}`:                            `config.json: "layer_types" is an object, want a list`,
		`"model_type": "smollm3", "no_rope_layers": true`:                     `config.json: "no_rope_layers" is true or false, want a list`,
		`"architectures": ["LlamaForSequenceClassification"], "id2label": []`: `config.json: "id2label" is a list, want an object`,
	} {
		if _, err := model.New([]byte("{" + sizes + ", " + keys + "}")); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
	if _, err := model.New([]byte("[]")); err == nil || err.Error() != "config.json: the file holds a list, want an object" {
		t.Errorf("a list: %v", err)
	}
}

// TestStrictConfig: what JSON readers disagree on is refused by name.
func TestStrictConfig(t *testing.T) {
	const family = `"architectures": ["LlamaForCausalLM"], `
	for text, want := range map[string]string{
		"\xef\xbb\xbf{" + family + sizes + "}":                                           "byte order mark",
		"{" + family + sizes + `, "vocab_size": 38}`:                                     `"vocab_size" occurs twice`,
		"{" + family + sizes + `, "id2label": {"0": "a", "0": "b"}}`:                     `"0" occurs twice`,
		"{" + family + sizes + `, "rope_scaling": {"factor": 2, "factor": 4}}`:           `"factor" occurs twice`,
		"{" + family + sizes + `, "id2label": {"0": "a"}, "label2id": {"a": 0, "b": 1}}`: "",
	} {
		_, err := model.New([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "config.json: ")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzRead: a config.json of any family gives a decoder of its sizes, or an error that names the file.
func FuzzRead(f *testing.F) {
	for _, keys := range []string{
		`"model_type": "mistral", "sliding_window": 7`, `"model_type": "qwen2", "use_sliding_window": true, "max_window_layers": 0`,
		`"model_type": "qwen3", "use_sliding_window": true, "layer_types": ["sliding_attention"]`,
		`"model_type": "smollm3", "no_rope_layers": [0], "use_sliding_window": true, "sliding_window": 3`,
		`"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "1": "b"}`,
	} {
		f.Add([]byte("{" + sizes + ", " + keys + "}"))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		d, _, err := model.Read(config)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "config.json: ") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		if len(d.Blocks) != d.Layers || d.Vocab < 1 || d.MaxPositions < 1 {
			t.Fatalf("%d blocks of %d, %d tokens, %d positions", len(d.Blocks), d.Layers, d.Vocab, d.MaxPositions)
		}
		for i, b := range d.Blocks {
			if b.Window < 0 {
				t.Fatalf("layer %d has the window %d", i, b.Window)
			}
		}
	})
}
