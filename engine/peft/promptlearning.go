package peft

import (
	"fmt"
	"math"

	"llamatab/engine/config"
	"llamatab/engine/message"
)

// promptLearning holds the settings that prefix and prompt tuning share, as PEFT's PromptLearningConfig has them. Sizes
// of the model that are 0 are null: the model decides them.
type promptLearning struct {
	VirtualTokens int `json:"num_virtual_tokens"`
	TokenDim      int `json:"token_dim"`
	Submodules    int `json:"num_transformer_submodules"`
	Heads         int `json:"num_attention_heads"`
	Layers        int `json:"num_layers"`
}

func (p *promptLearning) virtualTokens() int { return p.VirtualTokens }

// VirtualTokens is how many virtual tokens stand before a text with the adapter that cfg describes.
func VirtualTokens(cfg *config.PEFT) int {
	if own, ok := cfg.Own.(interface{ virtualTokens() int }); ok {
		return own.virtualTokens()
	}
	return 0
}

const (
	// promptKey is the one tensor of prompt learning in adapter_model.safetensors.
	promptKey = "prompt_embeddings"
	// promptUnit is the unit of what trains in prompt learning: it belongs to no layer.
	promptUnit = "prompt"
)

// Settings of prompt learning that the page shows before and after those of one method.
var (
	promptFirst = []message.Setting{
		{Key: "modules_to_save"}, {Key: "base_model_name_or_path"}, {Key: "revision"}, {Key: "task_type"},
		{Key: "num_virtual_tokens", Name: message.Both("Virtual tokens", "虚拟词元数"), Help: message.Both("How many learned positions stand before every text.", "每段文本之前有多少个学习得到的位置。")},
	}
	promptLast = []message.Setting{
		{Key: "token_dim", Name: message.Both("Width of a token", "词元宽度"), Help: message.Both("Given by the model.", "由模型决定。")},
		{Key: "num_layers", Name: message.Both("Layers", "层数"), Help: message.Both("Given by the model.", "由模型决定。")},
		{Key: "num_attention_heads", Name: message.Both("Attention heads", "注意力头数"), Help: message.Both("Given by the model.", "由模型决定。")},
	}
	promptNeeds = map[string]any{"num_virtual_tokens": 8}
	promptMain  = []string{"num_virtual_tokens"}
)

func (p *promptLearning) rules(at func(string) string) []config.Rule {
	return []config.Rule{
		config.Within(at("num_virtual_tokens"), p.VirtualTokens, 1, maxVirtual),
		config.Within(at("token_dim"), p.TokenDim, 0, math.MaxInt32),
		config.Within(at("num_attention_heads"), p.Heads, 0, math.MaxInt32),
		config.Within(at("num_layers"), p.Layers, 0, math.MaxInt32),
		config.Must(p.Submodules == 0 || p.Submodules == 1, at("num_transformer_submodules"), "is not 1, and a decoder is one", "leave it out"),
	}
}

// resolve fills in the model's sizes, and refuses others, except for pairs of width and heads that mean the same.
func (p *promptLearning) resolve(width, heads, layers int, same [][2]int) error {
	for _, o := range same {
		if (p.TokenDim == 0 || p.TokenDim == o[0]) && (p.Heads == 0 || p.Heads == o[1]) {
			p.TokenDim, p.Heads = 0, 0
		}
	}
	for _, size := range []struct {
		key  string
		have *int
		want int
	}{
		{"num_attention_heads", &p.Heads, heads}, {"token_dim", &p.TokenDim, width}, {"num_layers", &p.Layers, layers},
		{"num_transformer_submodules", &p.Submodules, 1},
	} {
		if *size.have != 0 && *size.have != size.want {
			return fmt.Errorf("%s is %d, and this model's is %d", size.key, *size.have, size.want)
		}
		*size.have = size.want
	}
	return nil
}
