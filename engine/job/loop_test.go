//go:build !js

package job_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// The run allocates what was planned.
func TestPlanIsAllocation(t *testing.T) {
	for _, sets := range [][]string{
		{full}, {full, "dataset.validation_split=0.25", "training.eval_steps=2"},
		{lora, dropout}, {lora, `peft.target_modules=["embed_tokens", "lm_head"]`},
	} {
		files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 31, 17, 9)}
		s := must(t, newJob(t, files, append(sets, "training.save_steps=2")...)).summary(t)
		for _, class := range []string{"weights", "gradients", "optimizer", "activations"} {
			if p, a := s.Planned[class], s.Allocated[class]; p != a || a == 0 {
				t.Errorf("%v: %s: planned %d bytes, allocated %d", sets, class, p, a)
			}
		}
	}
}

// Weights that are updated in place are planned and allocated without masters.
func TestPlanWithoutMasters(t *testing.T) {
	for _, what := range []string{full, lora} {
		for _, blocks := range []string{"false", "true"} {
			sets := []string{layered(3), what, bfloat16, stochastic, checkpointing + blocks, steps(2)}
			f := planned(t, 0, sets...)
			s := must(t, newJob(t, report.Files{Dataset: rows(8, 31, 17, 9)}, sets...)).summary(t)
			for _, class := range []string{"weights", "gradients", "optimizer", "activations"} {
				if f, p, a := f.Bytes[class], s.Planned[class], s.Allocated[class]; f != a || p != a || a == 0 {
					t.Errorf("%s, %s: %s: forecast %d bytes, planned %d, allocated %d", what, blocks, class, f, p, a)
				}
			}
		}
	}
}

// A two-byte type halves a frozen base model and most stored activations. Gradients and moments stay the same, and trained weights
// need half as much again for their rounded copy.
func TestBF16Memory(t *testing.T) {
	const wide = `model={"init": "random", "config": {"architectures": ["LlamaForCausalLM"], "vocab_size": 512, "hidden_size": 128, "intermediate_size": 344,
		"num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": true}}`
	of := func(class string, sets ...string) float64 {
		return float64(planned(t, 0, append(sets, wide)...).Bytes[class])
	}
	for _, c := range []struct {
		class, what string
		least, most float64
	}{
		{"weights", lora, 0.5, 0.6}, {"weights", full, 1.49, 1.51}, {"gradients", full, 1, 1.01}, {"optimizer", full, 1, 1.01},
		{"activations", lora, 0.5, 0.65}, {"activations", full, 0.5, 0.62},
	} {
		ratio := of(c.class, c.what, bfloat16) / of(c.class, c.what)
		if ratio < c.least || ratio > c.most {
			t.Errorf("%s: %s in bfloat16 take %.3f times those in float32, want %v to %v", c.what, c.class, ratio, c.least, c.most)
		}
	}
}

// The forecast without a device is the plan of the run.
func TestForecast(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 31, 17, 9)}
	j := newJob(t, files, full)
	cfg, err := config.Parse(j.Config, "run.json")
	if err != nil {
		t.Fatal(err)
	}
	f, err := forecast.Plan(cfg, files, forecast.Conditions{Limits: device.DefaultLimits})
	if err != nil {
		t.Fatal(err)
	}
	s := must(t, j).summary(t)
	if !maps.Equal(f.Bytes, s.Planned) || f.Trainable != s.Trainable || f.Total != s.Total || f.Steps != 5 || !f.Fits || f.Misfit != nil {
		t.Errorf("forecast %+v, the run planned %v", f, s.Planned)
	}
	if !slices.Equal(f.RowLengths, []int{8, 16, 24, 31}) {
		t.Errorf("row lengths %v", f.RowLengths)
	}
	f, err = forecast.Plan(cfg, files, forecast.Conditions{Limits: device.DefaultLimits, Budget: s.Planned["total"] - 1})
	if err != nil || f.Fits || f.Misfit == nil || len(f.Choices) == 0 {
		t.Errorf("a budget one byte short: %+v, %v", f, err)
	}
}

func folders(h *host) []string {
	seen := map[string]bool{}
	for name := range h.files {
		dir, _, _ := strings.Cut(name, "/")
		seen[dir] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func TestSaveTotalLimit(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}
	for limit, want := range map[string][]string{
		"1": {"adapter", "checkpoint-5"},
		"2": {"adapter", "checkpoint-4", "checkpoint-5"},
		"0": {"adapter", "checkpoint-2", "checkpoint-4", "checkpoint-5"},
	} {
		h := must(t, newJob(t, files, lora, "training.save_steps=2", "training.save_total_limit="+limit))
		if got := folders(h); !slices.Equal(got, want) {
			t.Errorf("limit %s: %v, want %v", limit, got, want)
		}
	}
	if got := folders(must(t, newJob(t, files, full))); !slices.Equal(got, []string{"model"}) {
		t.Errorf("without save_steps: %v", got)
	}
}

func TestMessages(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11, 12, 13, 14, 15)}
	h := must(t, newJob(t, files, lora, "dataset.validation_split=0.25", "training.eval_steps=2", "training.save_steps=4"))
	kinds, phases := map[string]int{}, map[string]int{}
	for _, m := range h.sent {
		kinds[m.Type]++
		if m.Progress != nil {
			phases[m.Progress.Phase]++
		}
	}
	if kinds["step"] != 5 || kinds["config"] < 1 || kinds["summary"] < 1 || kinds["done"] != 1 || kinds["failed"] != 0 {
		t.Errorf("messages %v", kinds)
	}
	for _, p := range []string{"open", "load", "compile", "train", "eval", "save"} {
		if phases[p] == 0 {
			t.Errorf("no progress of phase %q: %v", p, phases)
		}
	}
	for _, s := range h.steps() {
		if evaluated := s.EvalLoss != nil && s.Perplexity != nil; evaluated != (s.Step%2 == 0) {
			t.Errorf("step %d: evaluated %v", s.Step, evaluated)
		}
		if s.Tokens < 1 || s.StepSeconds <= 0 || s.LearningRate <= 0 || !(s.GradNorm > 0) {
			t.Errorf("step %+v", s)
		}
	}
	s := h.summary(t)
	if want := int64(2 * (4*(16+24) + 4*(16+12))); s.Trainable != want {
		t.Errorf("%d parameters train, want %d", s.Trainable, want)
	}
}

// scripted returns the command of each step from Control.
func scripted(h *host, at map[int][]message.Control) {
	calls := map[int]int{}
	h.control = func() message.Control {
		done := len(h.steps())
		n := calls[done]
		calls[done]++
		if n < len(at[done]) {
			return at[done][n]
		}
		return ""
	}
}

func TestStop(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}, lora, steps(50))
	h := j.Host.(*host)
	scripted(h, map[int][]message.Control{2: {message.Stop}})
	must(t, j)
	done := h.sent[len(h.sent)-1].Done
	if n := len(h.steps()); !done.Stopped || n != 3 || !slices.Equal(folders(h), []string{"adapter", "checkpoint-3"}) {
		t.Errorf("stopped %v after %d steps, leaving %v", done.Stopped, n, folders(h))
	}
	if len(h.events("stopped")) != 1 {
		t.Error("the stop is not told")
	}
	// What was stopped goes on as if it had not been.
	files := j.Files
	through := must(t, newJob(t, files, lora, steps(50)))
	files.Resume = h.folder("checkpoint-3")
	resumed := must(t, newJob(t, files, lora, steps(50)))
	sameFiles(t, resumed, through, "adapter/")
}

// TestStopBeforeFirstStep: a run that is stopped before it has trained anything leaves no result, with and without an adapter.
func TestStopBeforeFirstStep(t *testing.T) {
	for _, change := range []string{lora, `trainable=["all"]`} {
		j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}, change, steps(50))
		h := j.Host.(*host)
		scripted(h, map[int][]message.Control{0: {message.Stop}})
		must(t, j)
		done := h.sent[len(h.sent)-1].Done
		if !done.Stopped || len(done.Files) != 0 || len(h.steps()) != 0 || len(folders(h)) != 0 {
			t.Errorf("stopped %v after %d steps, leaving %v and %v", done.Stopped, len(h.steps()), done.Files, folders(h))
		}
		if len(h.events("stopped")) != 1 {
			t.Error("the stop is not told")
		}
	}
}

func TestPause(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}, lora)
	h := j.Host.(*host)
	// While it waits, the step in flight has been reported: the pause comes at 1, what follows at 2.
	scripted(h, map[int][]message.Control{1: {message.Pause}, 2: {"", message.Pause, message.Resume}})
	must(t, j)
	if len(h.events("paused")) != 1 || len(h.events("continued")) != 1 || len(h.steps()) != 5 {
		t.Errorf("%d pauses, %d continuations, %d steps", len(h.events("paused")), len(h.events("continued")), len(h.steps()))
	}
	sameFiles(t, h, must(t, newJob(t, j.Files, lora)), "adapter/")
}
