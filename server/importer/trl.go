package importer

import "maps"

// trl is a file for TRL's scripts (SFTConfig, ModelConfig, ScriptArguments) or for transformers' TrainingArguments.
var trl = trainer{
	name: "trl",
	marks: []string{"model_name_or_path", "output_dir", "per_device_train_batch_size", "num_train_epochs", "learning_rate", "dataset_name", "use_peft",
		"lora_target_modules", "max_seq_length", "max_length"},
	defaults: maps.Clone(argumentDefaults),
	same: sameTraining(map[string]string{
		"model_name_or_path": "model", "max_seq_length": "dataset.max_length", "max_length": "dataset.max_length",
		"load_best_model_at_end": "training.load_best_model_at_end",
	}),
	finish: finishTRL,
}

func finishTRL(r *reading) {
	// SFTConfig has keys that TrainingArguments lacks. Its learning rate and its longest row have defaults of their own.
	sft := false
	for _, key := range []string{"dataset_name", "dataset_text_field", "max_seq_length", "max_length", "packing", "completion_only_loss", "assistant_only_loss", "use_peft", "lora_r", "eos_token"} {
		s := r.take(key)
		sft = sft || s != nil && s.value != nil
	}
	if sft {
		r.put("training.learning_rate", 2e-5)
		r.put("dataset.max_length", 1024)
	}
	r.schedule("lr_scheduler_type")
	r.precision()
	r.optimizer("optim")
	r.saving(false)
	if s := r.take("resume_from_checkpoint"); word(s) != "" {
		r.set(s, "training.resume_from_checkpoint", s.value)
	}
	switch s := r.take("train_sampling_strategy"); word(s) {
	case "", "random":
	case "group_by_length":
		r.set(s, "training.group_by_length", true)
	default:
		r.note(s, "left out: rows come in a shuffled order")
	}
	if peft := r.take("use_peft"); truth(peft) || peft == nil && r.take("lora_r") != nil {
		r.lora(loraKeys{"lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_modules_to_save", "use_dora", "use_rslora"},
			map[string]any{"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}, "")
	} else {
		r.full()
	}
	r.quantized("load_in_4bit", "load_in_8bit")
	for _, key := range []string{"dataset_name", "dataset_path", "train_file"} {
		if s := r.take(key); word(s) != "" {
			r.dataset(s, word(s))
			break
		}
	}
	if s := r.take("dataset_text_field"); word(s) != "" && word(s) != "text" {
		r.sources = append(r.sources, source{[]pair{{"dataset.format", "text"}, {"dataset.columns", map[string]any{"text": word(s)}}}, s})
	}
	for _, key := range []string{"completion_only_loss", "assistant_only_loss"} {
		if s := r.take(key); s != nil && s.value != nil && !truth(s) && key == "completion_only_loss" {
			r.set(s, "dataset.train_on_prompt", true)
		}
	}
	if s := r.take("packing"); truth(s) {
		r.set(s, "dataset.packing", true)
	}
	if s := r.take("packing_strategy"); s != nil && word(s) != "bfd" {
		r.note(s, "left out: samples are packed whole, by bfd")
	}
	if s := r.take("eos_token"); word(s) != "" {
		r.note(s, "left out: the tokenizer's files name the end of a text")
	}
}
