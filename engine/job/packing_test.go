//go:build !js

package job_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

const (
	packing = "dataset.packing=true"
	atATime = "training.per_device_train_batch_size="
)

// A run whose steps see all samples in packed rows is the run whose steps see them in rows of their own: losses, gradient
// norms and tokens. The ten samples fill four rows of 32 tokens.
func TestPackedRun(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(20, 11, 5, 7, 30, 9, 4, 12, 2, 26)}
	for _, method := range []string{full, lora} {
		sets := []string{method, "training.max_grad_norm=0.5", "training.lr_scheduler_type=constant"}
		alone := must(t, newJob(t, files, append(sets, atATime+"10")...))
		packed := must(t, newJob(t, files, append(sets, atATime+"2", "training.gradient_accumulation_steps=2", packing)...))
		near(t, method+" losses", packed.losses(), alone.losses(), 1e-5)
		near(t, method+" gradient norms", norms(packed), norms(alone), 1e-5)
		for i, s := range alone.steps() {
			if p := packed.steps()[i]; p.Tokens != s.Tokens || p.NumInputTokensSeen != s.NumInputTokensSeen || p.Epoch != s.Epoch {
				t.Errorf("step %d: %d tokens of %d in epoch %v, want %d of %d in %v", s.Step, p.Tokens, p.NumInputTokensSeen, p.Epoch, s.Tokens, s.NumInputTokensSeen, s.Epoch)
			}
		}
		if remarks := packed.events("rows_packed"); len(remarks) != 1 || remarks[0].Level != "info" || remarks[0].Message != "data.jsonl: 10 samples in 4 packed rows of at most 32 tokens, 98 % full" {
			t.Errorf("remarks %v", remarks)
		}
	}
}

// A packed run whose data file is too large for the memory, so that samples are read when their row is drawn, is the packed run of
// the same rows in memory: the file is made large by blank lines.
func TestPackedRunOfLargeFile(t *testing.T) {
	small := rows(20, 11, 5, 7, 30, 9, 4, 12, 2, 26, 17, 6)
	text := small["data.jsonl"].Data
	blank := append(bytes.Repeat([]byte(" "), 1<<20-1), '\n')
	large := lines(string(text) + strings.Repeat(string(blank), 65))
	sets := []string{lora, packing, "dataset.validation_split=0.2", "training.eval_steps=2", atATime + "2", steps(4)}
	model := tiny(t, true, true, nil)
	want := must(t, newJob(t, report.Files{Model: model, Dataset: small}, sets...))
	j := newJob(t, report.Files{Model: model, Dataset: large}, sets...)
	cfg, err := config.Parse(j.Config, "run.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := replay.Prepare(cfg, j.Files, device.UnboundedLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Model.Close()
	if !s.Train.Streams() || !s.Valid.Streams() || s.Train.Stats.Packed != s.Train.Len() {
		t.Fatalf("the rows are in memory: %+v", s.Train.Stats)
	}
	got := must(t, j)
	near(t, "losses", got.losses(), want.losses(), 0)
	near(t, "gradient norms", norms(got), norms(want), 0)
	for i, w := range want.steps() {
		if g := got.steps()[i]; (g.EvalLoss == nil) != (w.EvalLoss == nil) || g.EvalLoss != nil && *g.EvalLoss != *w.EvalLoss {
			t.Errorf("step %d: evaluation %v, want %v", w.Step, g.EvalLoss, w.EvalLoss)
		}
	}
	sameFiles(t, got, want, "adapter/")
}

// A packed row counts as one row of a batch: 4 packed rows are two steps of two in each epoch.
func TestPackedEpochs(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(20, 11, 5, 7, 30, 9, 4, 12, 2, 26)}
	h := must(t, newJob(t, files, lora, packing, steps(-1), "training.num_train_epochs=3", atATime+"2"))
	all := h.steps()
	if len(all) != 6 || all[5].Epoch != 3 {
		t.Fatalf("%d steps, want 6 in 3 epochs", len(all))
	}
	for epoch := range 3 {
		if n := all[2*epoch].Tokens + all[2*epoch+1].Tokens; n != 126-10 {
			t.Errorf("epoch %d: %d tokens, want all 116", epoch+1, n)
		}
	}
}

// A packed run with dropout, noise, held-out rows and blocks that are computed again resumes in the middle of an epoch with the
// bits of one that was not interrupted, and not with other rows.
func TestPackedResume(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(20, 11, 5, 7, 30, 9, 4, 12, 3, 26, 18, 2, 6, 13, 29, 8)}
	sets := []string{lora, dropout, packing, steps(7), "training.save_steps=2", "training.save_total_limit=0", "training.neftune_noise_alpha=3", "training.gradient_checkpointing=true",
		"dataset.validation_split=0.2", "training.eval_steps=3", atATime + "2"}
	h := must(t, newJob(t, files, sets...))
	if len(h.events("rows_packed")) != 1 {
		t.Fatal("the run is not packed")
	}
	resumed := files
	resumed.Resume = h.folder("checkpoint-4")
	again := must(t, newJob(t, resumed, sets...))
	near(t, "resumed", again.losses(), h.losses()[4:], 0)
	near(t, "resumed norms", norms(again), norms(h)[4:], 0)
	sameFiles(t, again, h, "adapter/")
	for _, c := range []struct{ set, want string }{
		{"dataset.packing=false", "dataset.packing is false, the checkpoint's is true"},
		{"dataset.max_length=30", "dataset.max_length is 30"},
	} {
		mustFail(t, newJob(t, resumed, append(sets, c.set)...), "resume", report.ExitConfig, c.want)
	}
}

// A packed run is planned with the memory that it then takes. Its steps are those of packed rows, and attention counts the pairs
// within a sample only.
func TestPackedPlan(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(20, 11, 5, 7, 30, 9, 4, 12, 2, 26)}
	sets := []string{lora, steps(-1), "training.num_train_epochs=3", atATime + "2"}
	plan := func(sets ...string) (f forecast.Forecast) {
		j := newJob(t, files, sets...)
		j.Command, j.Open = message.Plan, nil
		answer(t, j, &f)
		return f
	}
	alone, packed := plan(sets...), plan(append(sets, packing)...)
	if alone.Steps != 15 || packed.Steps != 6 || packed.Dataset.Rows != 10 || packed.Dataset.Packed != 4 {
		t.Errorf("%d steps, packed %d of %+v", alone.Steps, packed.Steps, packed.Dataset)
	}
	if packed.Flops >= alone.Flops*32/30 {
		t.Errorf("%v operations a step of rows of 32, %v of rows of 30: attention computes fewer pairs", packed.Flops, alone.Flops)
	}
	h := must(t, newJob(t, files, append(sets, packing)...))
	for class, bytes := range h.summary(t).Planned {
		if packed.Bytes[class] != bytes {
			t.Errorf("%s: planned %d bytes, ran with %d", class, packed.Bytes[class], bytes)
		}
	}
}

// A packed run that does not fit is offered shorter rows, packed anew. No row of tokens is cut for them.
func TestPackedChoices(t *testing.T) {
	model := tiny(t, true, false, nil)
	model["config.json"].Data = bytes.Replace(model["config.json"].Data, []byte(`"max_position_embeddings": 32`), []byte(`"max_position_embeddings": 256`), 1)
	files := report.Files{Model: model, Dataset: rows(20, 11, 5, 7, 60, 9, 4, 12, 40, 26, 33, 29)}
	sets := []string{lora, packing, atATime + "1"}
	plan := func(budget int64, sets ...string) (f forecast.Forecast) {
		j := newJob(t, files, sets...)
		j.Command, j.Open, j.Budget = message.Plan, nil, budget
		for _, m := range must(t, j).sent {
			if m.Result != nil {
				f = forecast.Forecast{}
				if err := json.Unmarshal(m.Result, &f); err != nil {
					t.Fatal(err)
				}
			}
		}
		return f
	}
	whole := plan(0, sets...)
	short := plan(0, append(sets, "dataset.max_length=64")...)
	if !slices.Contains(whole.RowLengths, 256) || short.RowLengths[len(short.RowLengths)-1] > 64 {
		t.Fatalf("lengths %v and %v", whole.RowLengths, short.RowLengths)
	}
	f := plan(short.Bytes["total"], sets...)
	found := slices.IndexFunc(f.Choices, func(c message.Choice) bool { return c.Code == "max_length" })
	if found < 0 {
		t.Fatalf("choices %+v, want shorter rows", f.Choices)
	}
	if c := f.Choices[found]; !c.Fits || c.Bytes != short.Bytes["total"] || !strings.HasPrefix(c.Text, "Pack rows of 64 tokens") || string(c.Changes[0].Value) != "64" {
		t.Errorf("%s, of %d bytes, want %d", c.Text, c.Bytes, short.Bytes["total"])
	}
	f = plan(1, sets...)
	for _, c := range f.Choices {
		if c.Code == "max_length" && string(c.Changes[0].Value) != "64" {
			t.Errorf("%s: a row of 60 tokens would be cut", c.Text)
		}
	}
}
