package model_test

import (
	"strings"
	"testing"

	"llamatab/engine/message"
	"llamatab/engine/model"
	_ "llamatab/engine/model/llama"
	_ "llamatab/engine/model/qwen2"
)

const sizes = `"vocab_size": 37, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 4`

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
