//go:build !js

package job_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/report"
	"llamatab/engine/tensor"
)

// TestResumeComparesRuns changes one setting between a run and the run that resumes from its checkpoint. A setting that decided
// what the steps before the checkpoint computed is refused with both values. A setting of the steps that follow is reported or
// has no effect.
func TestResumeComparesRuns(t *testing.T) {
	data := rows(8, 7, 6, 5, 8, 7)
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: data}
	settings := []string{`peft={"peft_type": "LORA", "r": 2, "lora_alpha": 8}`, "training.save_steps=2", steps(4), "training.per_device_train_batch_size=2"}
	checkpoint := must(t, newJob(t, files, settings...)).folder("checkpoint-2")
	other := fstest.MapFS{}
	for name, file := range data {
		other["other-"+name] = &fstest.MapFile{Data: []byte(strings.Replace(string(file.Data), "[", "[5,", 1))}
	}
	moved := fstest.MapFS{}
	for name, file := range data {
		moved["moved-"+name] = file
	}
	for _, c := range []struct {
		name    string
		set     string
		dataset fstest.MapFS // nil: the same
		refused []string     // parts of the error
		said    []string     // parts of the remark; neither: nothing is said
	}{
		{name: "the same run"},
		{name: "lora_alpha", set: `peft.lora_alpha=64`, refused: []string{"lora_alpha", "64 against 8"}},
		{name: "target_modules", set: `peft.target_modules=["o_proj"]`, refused: []string{"target_modules", "o_proj"}},
		{name: "the rank", set: `peft.r=4`, refused: []string{"r: 4 against 2"}},
		{name: "the start of an adapter", set: `peft.init_lora_weights="gaussian"`},
		{name: "default modules that are named", set: `peft.target_modules=["v_proj", "q_proj"]`},
		{name: "another dataset", dataset: other, refused: []string{"other-", "other rows"}},
		{name: "the same rows in another file", dataset: moved, set: `dataset.path="moved"`},
		{name: "the format that auto found", set: `dataset.format="tokens"`},
		{name: "a batch", set: `training.per_device_train_batch_size=3`, refused: []string{"per_device_train_batch_size is 3", "checkpoint's is 2"}},
		{name: "accumulation", set: `training.gradient_accumulation_steps=2`, refused: []string{"gradient_accumulation_steps is 2"}},
		{name: "the learning rate, which the page halves after a loss that is not finite", set: `training.learning_rate=0.005`, said: []string{"learning_rate is 0.005", "checkpoint's is 0.01"}},
		{name: "the schedule", set: `training.lr_scheduler_type="cosine"`, refused: []string{`lr_scheduler_type is "cosine"`, "linear"}},
		{name: "a warm-up", set: `training.warmup_steps=1`, refused: []string{"warmup_steps is 1"}},
		{name: "a warm-up as a part", set: `training.warmup_ratio=0.5`, refused: []string{"warmup_ratio is 0.5"}},
		{name: "weight decay", set: `training.weight_decay=0`, refused: []string{"weight_decay"}},
		{name: "no_decay", set: `training.no_decay=["norm"]`, refused: []string{"no_decay"}},
		{name: "clipping", set: `training.max_grad_norm=null`, refused: []string{"max_grad_norm is 0"}},
		{name: "the order of rows", set: `dataset.shuffle=false`, refused: []string{"dataset.shuffle is false"}},
		{name: "held-out rows", set: `dataset.validation_split=0.4`, refused: []string{"dataset.validation_split is 0.4"}},
		{name: "precision", set: `precision.param_dtype="bfloat16"`, refused: []string{"precision.param_dtype"}},
		{name: "what trains besides", set: `trainable=["norm"]`, refused: []string{"trainable"}},
		{name: "more steps", set: steps(6), said: []string{"max_steps is 6", "checkpoint's is 4"}},
		{name: "epochs instead of steps", set: `training.max_steps=-1`, said: []string{"max_steps is -1"}},
		{name: "reaction to spikes", set: `training.on_spike="stop"`, said: []string{"on_spike"}},
		{name: "fewer checkpoints", set: `training.save_steps=3`},
		{name: "blocks computed again", set: `training.gradient_checkpointing=true`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := files
			f.Resume = checkpoint
			if c.dataset != nil {
				f.Dataset = c.dataset
			}
			sets := settings
			if c.set != "" {
				sets = append(settings[:len(settings):len(settings)], c.set)
			}
			if c.refused != nil {
				mustFail(t, newJob(t, f, sets...), "resume", report.ExitConfig, c.refused...)
				return
			}
			h := must(t, newJob(t, f, sets...))
			events := h.events("resumed_with_changes")
			if (len(events) > 0) != (c.said != nil) {
				t.Fatalf("remarks %v, want one about %q", events, c.said)
			}
			for _, part := range c.said {
				if !strings.Contains(events[0].Message, part) {
					t.Errorf("the remark %q does not name %q", events[0].Message, part)
				}
			}
		})
	}
}

// TestResumeOfOddRows: 5 rows do not fill steps of 2, so a run of epochs takes other rows than a run of max_steps.
func TestResumeOfOddRows(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 7, 6, 5, 8)}
	settings := []string{lora, "training.save_steps=2", "training.per_device_train_batch_size=2"}
	files.Resume = must(t, newJob(t, files, append(settings, steps(4))...)).folder("checkpoint-2")
	mustFail(t, newJob(t, files, append(settings, "training.max_steps=-1")...), "resume", report.ExitConfig, "max_steps is -1")
}

// TestResumeWithoutFingerprint: a checkpoint of a version that wrote no fingerprint still resumes, and another path is reported.
func TestResumeWithoutFingerprint(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 7, 6, 5)}
	settings := []string{lora, "training.save_steps=2", steps(4)}
	checkpoint := must(t, newJob(t, files, settings...)).folder("checkpoint-2")
	state := string(checkpoint["trainer_state.json"].Data)
	before, rest, _ := strings.Cut(state, `"dataset_fingerprint"`)
	_, after, found := strings.Cut(rest, "\n")
	if !found {
		t.Fatalf("no fingerprint in %s", state)
	}
	checkpoint["trainer_state.json"] = &fstest.MapFile{Data: []byte(before + after)}
	delete(checkpoint, "checksums.json") // that version wrote none either
	files.Resume = checkpoint
	h := must(t, newJob(t, files, append(settings, `dataset.path="elsewhere"`)...))
	if events := h.events("resumed_with_changes"); len(events) != 1 || !strings.Contains(events[0].Message, "dataset.path") {
		t.Errorf("remarks %v, want one about dataset.path", events)
	}
	mustFail(t, newJob(t, files, append(settings, `dataset.max_length=6`)...), "resume", report.ExitConfig, "max_length")
}

// TestResumeOnAnotherBase: the adapter of a checkpoint belongs to the base model it was trained on. Another model of the same
// shapes is refused; the same one resumes, whatever trains of it and however its weights are stored. A checkpoint that is a whole model needs no
// base model.
func TestResumeOnAnotherBase(t *testing.T) {
	for name, settings := range map[string][]string{
		"LoRA and a head": {lora, `trainable=["lm_head"]`},
		"bfloat16":        {lora, `precision.param_dtype="bfloat16"`},
		"last layer":      {`trainable=["layers:last:1"]`},
		"PiSSA":           {`peft={"peft_type": "LORA", "r": 2, "init_lora_weights": "pissa"}`},
	} {
		t.Run(name, func(t *testing.T) {
			settings := append(settings, "training.save_steps=2", steps(4))
			files := report.Files{Model: tiny(t, false, false, nil), Dataset: rows(8, 7, 6, 5)}
			files.Resume = must(t, newJob(t, files, settings...)).folder("checkpoint-2")
			must(t, newJob(t, files, settings...))
			files.Model = tiny(t, false, false, func(name string, s tensor.Shape, x []float32) tensor.Shape {
				for i := range x {
					if strings.Contains(name, "layers.0.self_attn.k_proj") {
						x[i] *= 1.5
					}
				}
				return s
			})
			if name == "last layer" { // whose checkpoints are whole models
				must(t, newJob(t, files, settings...))
				return
			}
			mustFail(t, newJob(t, files, settings...), "resume", report.ExitConfig, "weights of the model that do not train", "model")
		})
	}
}
