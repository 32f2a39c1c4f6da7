package importer

import (
	"fmt"
	"slices"
	"strings"
)

// trainingKeys are settings of Hugging Face's TrainingArguments that training has under the same name.
var trainingKeys = []string{
	"learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "per_device_train_batch_size",
	"gradient_accumulation_steps", "num_train_epochs", "max_steps", "gradient_checkpointing", "seed", "save_total_limit", "group_by_length",
	"neftune_noise_alpha", "label_smoothing_factor",
}

// sameTraining maps trainingKeys to their paths, and adds further keys.
func sameTraining(more map[string]string) map[string]string {
	same := map[string]string{}
	for _, key := range trainingKeys {
		same[key] = "training." + key
	}
	for key, path := range more {
		same[key] = path
	}
	return same
}

// argumentDefaults are the defaults of TrainingArguments that differ from llamatab's.
var argumentDefaults = map[string]any{
	"training.learning_rate": 5e-5, "training.weight_decay": 0, "training.per_device_train_batch_size": 8, "training.num_train_epochs": 3,
}

// schedule takes over the learning rate's schedule with its settings, and its warm-up.
func (r *reading) schedule(key string) {
	kind, kwargs := r.take(key), r.take("lr_scheduler_kwargs")
	var pairs []pair
	from := kind
	if name := word(kind); name != "" {
		pairs = append(pairs, pair{"training.lr_scheduler_type", name})
	}
	if kwargs != nil && !empty(kwargs.value) {
		pairs = append(pairs, pair{"training.lr_scheduler_kwargs", kwargs.value})
		if from == nil {
			from = kwargs
		}
	}
	if len(pairs) > 0 {
		r.sources = append(r.sources, source{pairs, from})
	}
	steps, ratio := r.take("warmup_steps"), r.take("warmup_ratio")
	if steps != nil && !empty(steps.value) {
		if f, ok := steps.value.(float64); ok && f < 1 { // transformers 5 takes a part of all steps here
			r.set(steps, "training.warmup_ratio", f)
		} else {
			r.set(steps, "training.warmup_steps", steps.value)
		}
	} else if ratio != nil && !empty(ratio.value) {
		r.set(ratio, "training.warmup_ratio", ratio.value)
	}
}

// precision takes over bf16 and fp16: mixed precision with float32 master weights.
func (r *reading) precision() {
	if s := r.take("bf16"); truth(s) {
		r.set(s, "precision.param_dtype", "bfloat16")
	} else if word(s) == "full" {
		r.set(s, "precision.param_dtype", "bfloat16")
		r.note(s, "taken over as true: the trained weights and the optimizer's moments stay in float32")
	}
	if s := r.take("fp16"); truth(s) {
		r.set(s, "precision.param_dtype", "float16")
	}
}

// saving takes over how often checkpoints are saved and the held-out rows evaluated. llamatab counts both in steps.
func (r *reading) saving(evaluates bool) {
	strategy, steps := r.take("save_strategy"), r.take("save_steps")
	if name := word(strategy); name != "" && name != "steps" {
		if name == "epoch" || name == "best" {
			r.note(strategy, "left out: checkpoints come every training.save_steps, a number of steps")
		}
	} else if n, ok := count(steps); ok && n > 0 {
		r.set(steps, "training.save_steps", n)
	} else if steps != nil && !empty(steps.value) {
		r.note(steps, "left out: training.save_steps is a whole number of steps")
	}
	strategy = r.take("eval_strategy")
	if old := r.take("evaluation_strategy"); strategy == nil {
		strategy = old
	}
	steps = r.take("eval_steps")
	switch n, ok := count(steps); {
	case word(strategy) == "epoch" || word(strategy) == "steps" && steps == nil:
		r.note(strategy, "left out: evaluations come every training.eval_steps, a number of steps")
	case steps == nil || empty(steps.value) || word(strategy) == "no":
	case !ok || n < 1:
		r.note(steps, "left out: training.eval_steps is a whole number of steps")
	case !evaluates:
		r.note(steps, "left out: nothing is held out; set dataset.validation_split and training.eval_steps")
	default:
		r.set(steps, "training.eval_steps", n)
	}
}

// optimizer explains the optimizer, which is AdamW here.
func (r *reading) optimizer(key string) {
	s := r.take(key)
	if name := word(s); name != "" && !strings.HasPrefix(name, "adamw") && !strings.HasPrefix(name, "paged_adamw") {
		r.note(s, "left out: the optimizer is AdamW, not %s; a learning rate that was chosen for another optimizer may not fit", clip(name))
	} else if strings.Contains(name, "8bit") || strings.Contains(name, "4bit") {
		r.note(s, "the optimizer's moments are kept in 32 bits, not as in %s", clip(name))
	}
}

// quantized takes over that the base model is stored in 4 or 8 bits. It is called once it is known what trains.
func (r *reading) quantized(keys ...string) {
	for _, key := range keys {
		s := r.take(key)
		bits, _ := count(s)
		if truth(s) {
			if bits = 8; strings.Contains(key, "4") {
				bits = 4
			}
		}
		switch format := map[int]string{4: "nf4", 8: "int8"}[bits]; {
		case bits <= 0:
		case format == "":
			r.note(s, "left out: a base model is stored in 4 or 8 bits, not in %d", bits)
		case fmt.Sprint(r.get("trainable")) == "[all]":
			r.note(s, "left out: all weights train, and only frozen weights are stored in %d bits", bits)
		default:
			r.set(s, "quantization", format)
		}
	}
}

// full makes the run train all weights.
func (r *reading) full() { r.put("trainable", []any{"all"}) }

// loraKeys are the keys of a trainer for the settings of LoRA.
type loraKeys struct {
	rank, alpha, dropout, targets, save, dora, rslora string
}

// lora makes the run train a LoRA adapter. all is the trainer's word for all linear modules, "" for none.
func (r *reading) lora(k loraKeys, defaults map[string]any, all string) {
	r.put("peft", map[string]any{"peft_type": "LORA"})
	for key, value := range defaults {
		r.put("peft."+key, value)
	}
	for _, as := range [][2]string{
		{k.rank, "r"}, {k.alpha, "lora_alpha"}, {k.dropout, "lora_dropout"}, {k.save, "modules_to_save"}, {k.dora, "use_dora"}, {k.rslora, "use_rslora"},
	} {
		name := as[1]
		if s := r.take(as[0]); s != nil && s.value != nil && (name == "lora_dropout" || !empty(s.value)) {
			value := s.value
			if text, ok := value.(string); ok && name == "modules_to_save" {
				value = list(text)
			}
			r.set(s, "peft."+name, value)
		}
	}
	if s := r.take(k.targets); s != nil && !empty(s.value) {
		value := s.value
		if text, ok := value.(string); ok {
			if all != "" && text == all {
				value = "all-linear"
			} else if strings.Contains(text, ",") || !strings.ContainsAny(text, `.*\\()|-`) {
				value = list(text)
			}
		}
		if items, ok := value.([]any); ok && all != "" && slices.Contains(items, any(all)) {
			value = "all-linear"
		}
		r.set(s, "peft.target_modules", value)
	}
}

// list splits a text of names with commas between them.
func list(text string) []any {
	var names []any
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// localFile reports whether a dataset's name is that of a file, not of a dataset on a hub.
func localFile(name string) bool {
	for _, ending := range []string{".json", ".jsonl", ".ndjson", ".txt", ".csv", ".md"} {
		if strings.HasSuffix(strings.ToLower(name), ending) {
			return true
		}
	}
	return false
}

// dataset takes over the name of a dataset, unless the command names another.
func (r *reading) dataset(s *setting, name string) {
	if r.options.Dataset != "" {
		return
	}
	r.set(s, "dataset.path", name)
	if !localFile(name) {
		r.note(s, "dataset.path is %s: nothing is fetched, so set it to a file", clip(name))
	}
}
