package config

import (
	"encoding/json"
	"errors"
)

// A Description tells a program that offers run.json to people what there is, and what of it this version takes. It
// is made by asking Parse, so that it never says what Parse does not.
type Description struct {
	// Defaults is the resolved run.json of a run without settings.
	Defaults json.RawMessage `json:"defaults"`
	// Methods are the adapters, each with the defaults of its config.
	Methods []Method `json:"methods"`
	// Choices are the words that a key takes, by its path.
	Choices map[string][]Choice `json:"choices"`
	// Parts are the words that trainable takes; the last of some is an example.
	Parts []Choice `json:"parts"`
}

// Method is a peft_type, or a switch of one that has a name of its own.
type Method struct {
	Choice
	Defaults json.RawMessage `json:"defaults,omitempty"` // of peft, with peft_type
}

// Choice is one value of a key.
type Choice struct {
	Value   string `json:"value"`
	Refused string `json:"refused,omitempty"` // why this version does not take it
}

// words are the values that keys take, by their paths. A test holds them against what Parse says of other words.
var words = map[string][]string{
	"dataset.format":                  {"auto", "text", "alpaca", "prompt_completion", "sharegpt", "messages", "csv", "classification", "tokens"},
	"dataset.on_bad_row":              {"stop", "skip"},
	"training.lr_scheduler_type":      Schedulers,
	"training.on_nonfinite":           {"skip", "stop", "rollback"},
	"training.on_spike":               {"warn", "stop", "rollback"},
	"training.gradient_checkpointing": {"false", "true", "auto"},
	"precision.param_dtype":           {"float32", "bfloat16", "float16"},
	"precision.reduce_dtype":          {"float32", "bfloat16"},
	"precision.buffer_dtype":          {"float32", "bfloat16", "float16"},
	"quantization":                    {"null", "int8", "nf4"},
	"fsdp.sharding_strategy":          {"NO_SHARD", "SHARD_GRAD_OP", "FULL_SHARD", "HYBRID_SHARD"},
}

// methods are the adapters as people tell them apart, each with the least that its config says.
var methods = [][2]string{
	{LORA, `{"peft_type": "LORA"}`},
	{"DORA", `{"peft_type": "LORA", "use_dora": true}`},
	{"IA3", `{"peft_type": "IA3"}`},
	{"PREFIX_TUNING", `{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 8}`},
	{"ADAPTION_PROMPT", `{"peft_type": "ADAPTION_PROMPT", "adapter_len": 10, "adapter_layers": 2}`},
	{"PROMPT_TUNING", `{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 8}`},
}

// parts are entries of trainable.
var parts = []string{"all", "lm_head", "score", "embed_tokens", "norm", "layers:last:2", "layers:first:1", `regex:\.mlp\.`}

// Describe makes the Description.
func Describe() *Description {
	try := func(sets ...string) (*Config, string) {
		c, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "", sets)
		if e, ok := errors.AsType[*Error](err); ok {
			return nil, e.Message
		}
		return c, ""
	}
	d := &Description{Choices: map[string][]Choice{}}
	d.Defaults, _ = json.Marshal(Default())
	for _, m := range methods {
		c, refused := try("peft="+m[1], "trainable=[]")
		method := Method{Choice: Choice{m[0], refused}}
		if c != nil {
			method.Defaults, _ = json.Marshal(c.PEFT)
		}
		d.Methods = append(d.Methods, method)
	}
	for path, values := range words {
		for _, v := range values {
			_, refused := try(path + "=" + v)
			d.Choices[path] = append(d.Choices[path], Choice{v, refused})
		}
	}
	for _, p := range parts {
		quoted, _ := json.Marshal([]string{p})
		_, refused := try("trainable=" + string(quoted))
		d.Parts = append(d.Parts, Choice{p, refused})
	}
	return d
}
