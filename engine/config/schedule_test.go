package config

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestSchedulerKwargs: a schedule takes its own settings and refuses those of others by name.
func TestSchedulerKwargs(t *testing.T) {
	for _, c := range []struct{ scheduler, kwargs, fails string }{
		{"linear", `null`, ""},
		{"linear", `{}`, ""},
		{"linear", `{"num_cycles": 1}`, "training.lr_scheduler_kwargs.num_cycles: is no setting of the schedule linear; leave lr_scheduler_kwargs out"},
		{"cosine", `{"num_cycles": 1.5}`, ""},
		{"cosine", `{"num_cycles": -1}`, "num_cycles: is -1"},
		{"cosine", `{"min_lr": 0.1}`, "min_lr: is no setting of the schedule cosine; its settings are num_cycles"},
		{"cosine", `{"min_lrr": 0.1}`, "unknown key; the nearest known key is training.lr_scheduler_kwargs.min_lr"},
		{"cosine", `"num_cycles"`, "lr_scheduler_kwargs"},
		{"polynomial", `{"power": 2, "lr_end": 1e-6}`, ""},
		{"polynomial", `{"lr_end": 1}`, "lr_end: is 1, wants 0 or more and less than training.learning_rate 0.0002"},
		{"inverse_sqrt", `{"timescale": 100}`, ""},
		{"polynomial", `null`, ""},
		{"inverse_sqrt", `{"timescale": 0}`, "timescale"},
		{"cosine_with_min_lr", `{"min_lr": 1e-5}`, ""},
		{"cosine_with_min_lr", `{"min_lr_rate": 0.1, "num_cycles": 0.5}`, ""},
		{"cosine_with_min_lr", `{}`, "wants one of min_lr and min_lr_rate"},
		{"cosine_with_min_lr", `null`, "wants one of min_lr and min_lr_rate"},
		{"cosine_with_min_lr", `{"min_lr": 1e-5, "min_lr_rate": 0.1}`, "wants one of min_lr and min_lr_rate"},
		{"cosine_with_min_lr", `{"min_lr_rate": 0.1, "warmup_lr_rate": 0.1}`, "warmup_lr_rate: is no setting"},
		{"cosine_warmup_with_min_lr", `{"min_lr_rate": 0.1, "warmup_lr_rate": 0.1}`, ""},
		{"cosine_warmup_with_min_lr", `{"min_lr_rate": 1.5}`, "min_lr_rate: is 1.5"},
		{"warmup_stable_decay", `{"num_decay_steps": 10}`, ""},
		{"warmup_stable_decay", `{"num_decay_steps": 10, "num_stable_steps": 5, "warmup_type": "1-sqrt", "decay_type": "linear", "min_lr_ratio": 0.1, "num_cycles": 1}`, ""},
		{"warmup_stable_decay", `{}`, "num_decay_steps: is missing"},
		{"warmup_stable_decay", `{"num_decay_steps": 10, "decay_type": "sqrt"}`, `decay_type: "sqrt" is not one of linear, cosine, 1-sqrt`},
		{"warmup_stable_decay", `{"num_decay_steps": 1.5}`, "num_decay_steps: wants an integer"},
		{"reduce_lr_on_plateau", `null`, `"reduce_lr_on_plateau" is not one of`},
	} {
		cfg, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "run.json",
			[]string{"training.lr_scheduler_type=" + c.scheduler, "training.lr_scheduler_kwargs=" + c.kwargs})
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s %s: %v, want an error about %q", c.scheduler, c.kwargs, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.scheduler, c.kwargs, err)
			continue
		}
		text, _ := json.Marshal(cfg)
		if again, err := Parse(text, ""); err != nil {
			t.Errorf("%s %s: written and read again: %v", c.scheduler, c.kwargs, err)
		} else if second, _ := json.Marshal(again); string(second) != string(text) {
			t.Errorf("%s %s: %s becomes %s", c.scheduler, c.kwargs, text, second)
		}
	}
}

// TestTrainerSettings: the bounds of the settings that Hugging Face's trainer has.
func TestTrainerSettings(t *testing.T) {
	for set, fails := range map[string]string{
		"training.group_by_length=true":         "",
		"training.neftune_noise_alpha=5":        "",
		"training.neftune_noise_alpha=null":     "",
		"training.neftune_noise_alpha=-1":       "neftune_noise_alpha: is -1",
		"training.label_smoothing_factor=0.1":   "",
		"training.label_smoothing_factor=1":     "label_smoothing_factor: is 1",
		"training.label_smoothing_factor=-0.1":  "label_smoothing_factor: is -0.1",
		"training.label_smoothing_factor=\"x\"": "label_smoothing_factor",
	} {
		_, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "run.json", []string{set})
		if fails == "" && err != nil || fails != "" && (err == nil || !strings.Contains(err.Error(), fails)) {
			t.Errorf("%s: %v, want an error about %q", set, err, fails)
		}
	}
	_, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "run.json", []string{"training.lr_scheduler_type=polynomial", "training.learning_rate=1e-8"})
	if err == nil || !strings.Contains(err.Error(), "lr_end: is 1e-07, wants 0 or more and less than training.learning_rate 1e-08") {
		t.Errorf("a polynomial that would rise: %v", err)
	}
	_, err = ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d", "shuffle": false}, "trainable": ["all"]}`), "run.json", []string{"training.group_by_length=true"})
	if err == nil || !strings.Contains(err.Error(), "dataset.shuffle is false") {
		t.Errorf("group_by_length without shuffle: %v", err)
	}
}

// TestPacking: packing is refused beside what it cannot go with, by name and with the reason.
func TestPacking(t *testing.T) {
	for sets, fails := range map[string]string{
		"":                           "",
		`peft={"peft_type": "LORA"}`: "",
		`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`:                 "",
		`peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 1}`: "",
		`peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}`:                 "dataset.packing: is not available with peft_type PROMPT_TUNING: its virtual tokens",
		`peft={"peft_type": "LORA", "task_type": "SEQ_CLS"}`:                           "dataset.packing: is not available in a classification",
		"dataset.format=classification":                                                "dataset.packing: is not available in a classification",
		"training.group_by_length=true":                                                "",
		"dataset.shuffle=false":                                                        "",
		"dataset.max_length=64":                                                        "",
		"training.gradient_checkpointing=true":                                         "",
		`fsdp={"slots": 2}`:                                                            "",
		"training.neftune_noise_alpha=5":                                               "",
	} {
		all := []string{"dataset.packing=true"}
		if sets != "" {
			all = append(all, sets)
		}
		_, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["norm"]}`), "run.json", all)
		if fails == "" && err != nil || fails != "" && (err == nil || !strings.Contains(err.Error(), fails) || !strings.Contains(err.Error(), "false")) {
			t.Errorf("%s: %v, want an error about %q", sets, err, fails)
		}
	}
}
