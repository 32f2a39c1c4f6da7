package train

import (
	"encoding/json"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/plan"
)

// Way is one way of fine-tuning, as settings of run.json.
type Way struct {
	Name   string
	Trains string // in words
	// Settings puts values in place of peft, trainable and unfreeze, for a model of so many layers.
	Settings func(layers int) []message.Change
}

func base(parts ...string) func(int) []message.Change {
	return func(int) []message.Change { return []message.Change{change("trainable", parts)} }
}

func adapter(keys map[string]any) func(int) []message.Change {
	return func(int) []message.Change { return []message.Change{change("peft", keys)} }
}

var (
	queryValue = []string{"q_proj", "v_proj"}
	lora       = "LORA"
)

// Ways are the ways of fine-tuning that are compared, from all weights to a few numbers.
var Ways = []Way{
	{"full", "all weights", base("all")},
	{"layers-last-2", "the last two blocks", base("layers:last:2")},
	{"head", "the output head, untied", base("lm_head")},
	{"lora-all-r16", "low-rank pairs of rank 16 on every linear layer", adapter(map[string]any{
		"peft_type": lora, "r": 16, "lora_alpha": 32, "target_modules": "all-linear"})},
	{"lora-qv-r8", "low-rank pairs of rank 8 on queries and values", adapter(map[string]any{
		"peft_type": lora, "r": 8, "lora_alpha": 16, "target_modules": queryValue})},
	{"dora-qv-r8", "the same, and the length of each output's weights", adapter(map[string]any{
		"peft_type": lora, "r": 8, "lora_alpha": 16, "target_modules": queryValue, "use_dora": true})},
	{"prefix-20", "20 keys and values before each layer's", adapter(map[string]any{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20})},
	{"llama-adapter-10", "10 gated prompts in every layer", func(layers int) []message.Change {
		return []message.Change{change("peft", map[string]any{"peft_type": "ADAPTION_PROMPT", "adapter_len": 10, "adapter_layers": layers})}
	}},
	{"ia3", "scales of keys, values and inner activations", adapter(map[string]any{"peft_type": "IA3"})},
	{"prompt-20", "20 virtual tokens before the text", adapter(map[string]any{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 20})},
}

// Method is one row of a comparison: a way and what the run takes with it.
type Method struct {
	Name     string           `json:"name"`
	Trains   string           `json:"trains"`
	Settings []message.Change `json:"settings"`
	Forecast *Forecast        `json:"forecast,omitempty"`
	Refused  string           `json:"refused,omitempty"` // why this program does not offer it
}

// Apply is cfg with the way's settings in place of its own.
func (w Way) Apply(cfg *config.Config, layers int) (*config.Config, error) {
	raw, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	sets := []string{"peft=null", "trainable=[]", "unfreeze=[]", "init_adapter=null"}
	for _, c := range w.Settings(layers) {
		sets = append(sets, c.Path+"="+string(c.Value))
	}
	return config.ParseWithSets(raw, "run.json", sets)
}

// Compare plans every way of fine-tuning a known model with the rest of cfg.
func Compare(m plan.Known, cfg *config.Config, c Conditions) []Method {
	var all []Method
	for _, w := range Ways {
		row := Method{Name: w.Name, Trains: w.Trains, Settings: w.Settings(m.Layers())}
		run, err := w.Apply(cfg, m.Layers())
		if err == nil {
			var files Files
			if files, err = Imagine(m, run); err == nil {
				row.Forecast, err = forecast(run, files, c)
			}
		}
		if err != nil {
			row.Refused = err.Error()
		}
		all = append(all, row)
	}
	return all
}

func forecast(cfg *config.Config, files Files, c Conditions) (*Forecast, error) {
	s, err := planned(cfg, files, c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.forecast(c)
}
