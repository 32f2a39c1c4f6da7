package importer

import (
	"fmt"
	"maps"
	"path"
	"strings"
)

// llamaFactory is https://github.com/hiyouga/LLaMA-Factory.
var llamaFactory = trainer{
	name:     "llama-factory",
	marks:    []string{"stage", "finetuning_type", "template", "cutoff_len", "dataset_dir", "lora_rank", "pure_bf16"},
	defaults: maps.Clone(argumentDefaults),
	same: sameTraining(map[string]string{
		"model_name_or_path": "model", "cutoff_len": "dataset.max_length", "train_on_prompt": "dataset.train_on_prompt", "val_size": "dataset.validation_split",
		"resume_from_checkpoint": "training.resume_from_checkpoint", "load_best_model_at_end": "training.load_best_model_at_end",
	}),
	finish: finishLlamaFactory,
}

func finishLlamaFactory(r *reading) {
	if r.get("dataset.max_length") == nil {
		r.put("dataset.max_length", 2048)
	}
	if s := r.take("stage"); word(s) != "" && word(s) != "sft" && word(s) != "pt" {
		r.note(s, "left out: %s is not available; the run continues texts and learns from completions", clip(word(s)))
	}
	r.schedule("lr_scheduler_type")
	r.precision()
	r.optimizer("optim")
	r.saving(r.get("dataset.validation_split") != nil)
	switch s := r.take("finetuning_type"); word(s) {
	case "", "lora":
		rank := any(8)
		if n, ok := count(r.take("lora_rank")); ok {
			rank = n
		}
		alpha := any(16)
		if n, ok := rank.(int); ok {
			alpha = 2 * n // its default is twice the rank
		}
		defaults := map[string]any{"r": 8, "lora_alpha": alpha, "lora_dropout": 0, "target_modules": "all-linear"}
		r.lora(loraKeys{"lora_rank", "lora_alpha", "lora_dropout", "lora_target", "additional_target", "use_dora", "use_rslora"}, defaults, "all")
	case "full":
		r.full()
	case "freeze":
		layers := 2 // its default
		if n, ok := count(r.take("freeze_trainable_layers")); ok && n != 0 {
			layers = n
		}
		part := fmt.Sprintf("layers:last:%d", layers)
		if layers < 0 {
			part = fmt.Sprintf("layers:first:%d", -layers)
		}
		r.full()
		r.set(s, "trainable", []any{part})
	default:
		r.full()
		r.note(s, "left out: %s is not available; all weights train", clip(word(s)))
	}
	r.quantized("quantization_bit")
	if s := r.take("dataset"); s != nil && !empty(s.value) {
		names := list(word(s))
		if items, ok := s.value.([]any); ok {
			names = items
		}
		if len(names) > 0 {
			name, _ := names[0].(string)
			if folder := word(r.take("dataset_dir")); folder != "" && localFile(name) {
				name = path.Join(folder, name)
			}
			if name != "" {
				r.dataset(s, name)
			}
			if !localFile(name) && !strings.Contains(name, "/") {
				r.note(s, "dataset_info.json is not read: look there for the file of %s, and for the names of its columns (dataset.columns)", clip(name))
			}
		}
		if len(names) > 1 {
			r.note(s, "only the first of %d datasets is taken over: put them into one file", len(names))
		}
	}
	if s := r.take("template"); word(s) != "" {
		r.note(s, "left out: rows are not put into a chat template; write the formatted text into the dataset")
	}
	packs := r.take("packing")
	if s := r.take("neat_packing"); truth(s) {
		packs = s
	}
	if truth(packs) {
		r.set(packs, "dataset.packing", true)
		if packs.key == "packing" {
			r.note(packs, "taken over with samples that do not see each other, as neat_packing does")
		}
	}
}
