package importer

import (
	"maps"
	"slices"
)

// axolotl is https://github.com/axolotl-ai-cloud/axolotl.
var axolotl = trainer{
	name:  "axolotl",
	marks: []string{"base_model", "micro_batch_size", "sequence_len", "datasets", "sample_packing", "special_tokens", "val_set_size", "adapter"},
	defaults: map[string]any{
		"training.weight_decay": 0, "training.per_device_train_batch_size": 1, "training.lr_scheduler_type": "cosine", "dataset.max_length": 512,
	},
	same: sameTraining(map[string]string{
		"base_model": "model", "micro_batch_size": "training.per_device_train_batch_size", "num_epochs": "training.num_train_epochs",
		"sequence_len": "dataset.max_length", "train_on_inputs": "dataset.train_on_prompt", "val_set_size": "dataset.validation_split",
		"early_stopping_patience": "training.early_stopping_patience", "resume_from_checkpoint": "training.resume_from_checkpoint",
		"load_best_model_at_end": "training.load_best_model_at_end",
	}),
	finish: finishAxolotl,
}

// axolotlFormats are its dataset types, by llamatab's formats.
var axolotlFormats = map[string]string{
	"alpaca": "alpaca", "completion": "text", "sharegpt": "sharegpt", "chat_template": "messages",
}

func finishAxolotl(r *reading) {
	r.schedule("lr_scheduler")
	r.precision()
	r.optimizer("optimizer")
	r.saving(r.get("dataset.validation_split") != nil)
	if r.value("warmup_steps") == nil && r.value("warmup_ratio") == nil {
		r.put("training.warmup_ratio", 0.03) // its default, of at most 100 steps
	}
	switch s := r.take("adapter"); word(s) {
	case "lora", "qlora":
		r.lora(loraKeys{"lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save", "peft_use_dora", "peft_use_rslora"}, nil, "")
		if s := r.take("lora_target_linear"); truth(s) {
			r.set(s, "peft.target_modules", "all-linear")
		}
	case "":
		r.full()
	default:
		r.full()
		r.note(s, "left out: %s is not known as an adapter; all weights train", clip(word(s)))
	}
	r.quantized("load_in_4bit", "load_in_8bit")
	r.axolotlDataset()
	if s := r.take("sample_packing"); truth(s) {
		r.set(s, "dataset.packing", true)
	}
}

// axolotlDataset takes over the first entry of datasets.
func (r *reading) axolotlDataset() {
	s := r.take("datasets")
	if s == nil {
		return
	}
	entries, _ := s.value.([]any)
	if len(entries) == 0 {
		return
	}
	entry, _ := entries[0].(map[string]any)
	name, _ := entry["path"].(string)
	if files, ok := entry["data_files"].(string); ok {
		name = files
	} else if files, ok := entry["data_files"].([]any); ok && len(files) > 0 {
		name, _ = files[0].(string)
		if len(files) > 1 {
			r.note(s, "only the first of %d data_files is taken over: put them into one file", len(files))
		}
	}
	if name == "" {
		r.note(s, "left out: its first entry has no path")
		return
	}
	r.dataset(s, name)
	switch kind := entry["type"].(type) {
	case string:
		if format := axolotlFormats[kind]; format != "" {
			r.set(s, "dataset.format", format)
		} else if kind != "" {
			r.note(s, "the type %s is left out: dataset.format is auto, which looks at the first row", clip(kind))
		}
	case map[string]any:
		r.note(s, "the type that describes its own fields is left out: set dataset.format and dataset.columns")
	}
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		if !slices.Contains([]string{"path", "data_files", "type"}, key) && !empty(entry[key]) {
			r.note(s, "%s of the first entry is left out; dataset.format and dataset.columns say how rows are read", clip(key))
		}
	}
	if len(entries) > 1 {
		r.note(s, "only the first of %d datasets is taken over: put them into one file", len(entries))
	}
}
