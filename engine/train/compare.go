package train

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/report"
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

// all are the way's settings with those of every other way undone.
func (w Way) all(layers int) []message.Change {
	none := []string{}
	return over([]message.Change{
		change("peft", nil), change("trainable", none), change("unfreeze", none), change("init_adapter", nil), change("training.resume_from_checkpoint", nil),
	}, w.Settings(layers))
}

// Apply is cfg with the way's settings in place of its own.
func (w Way) Apply(cfg *config.Config, layers int) (*config.Config, error) {
	return with(cfg, w.all(layers))
}

// Compare plans every way of fine-tuning with the rest of cfg. The rows are read once.
func Compare(cfg *config.Config, files report.Files, c Conditions) ([]Method, error) {
	s, err := planned(cfg, files, c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all []Method
	for _, w := range Ways {
		row := Method{Name: w.Name, Trains: w.Trains, Settings: w.Settings(s.Decoder.Layers)}
		t, err := s.changed(w.all(s.Decoder.Layers))
		if err == nil {
			if err = t.planFor(c.Limits, c.Budget); err == nil {
				row.Forecast, err = t.forecast(c)
			}
		}
		if err != nil {
			row.Refused = err.Error()
		}
		all = append(all, row)
	}
	return all, nil
}
