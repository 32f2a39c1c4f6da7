//go:build !js

package job_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// untrained is a dataset of rows of ids. A capital T is a row that is trained, U one of which no token is.
func untrained(kinds string) string {
	var b strings.Builder
	for i, kind := range kinds {
		ids := fmt.Sprintf("[%d, %d, %d, %d]", 1+i, 2+i*5%30, 3+i*7%30, 4)
		if kind == 'T' {
			fmt.Fprintf(&b, "{\"input_ids\": %s}\n", ids)
		} else {
			fmt.Fprintf(&b, "{\"input_ids\": %s, \"labels\": [3, -100, -100, -100]}\n", ids)
		}
	}
	return b.String()
}

// finiteRun checks that no loss, norm or weight of a run is NaN or infinite.
func finiteRun(t *testing.T, name string, h *host) {
	t.Helper()
	for _, s := range h.steps() {
		for _, x := range []float64{float64(s.Loss), float64(s.GradNorm)} {
			if math.IsNaN(x - x) {
				t.Errorf("%s: step %d has loss %v and norm %v", name, s.Step, s.Loss, s.GradNorm)
			}
		}
		if s.EvalLoss != nil && math.IsNaN(float64(*s.EvalLoss-*s.EvalLoss)) {
			t.Errorf("%s: step %d has an evaluation of %v", name, s.Step, *s.EvalLoss)
		}
		for _, u := range s.Units {
			if x := float64(u.GradNorm + u.WeightNorm + u.UpdateRatio); math.IsNaN(x - x) {
				t.Errorf("%s: step %d: %+v", name, s.Step, u)
			}
		}
	}
	if n := len(h.events("nonfinite_step_skipped")); n > 0 {
		t.Errorf("%s: %d events of values that are not finite", name, n)
	}
}

// A micro-batch, a step, a packed row or a held-out batch without trained tokens adds nothing, and makes no number NaN.
func TestBatchesWithoutTrainedTokens(t *testing.T) {
	model := tiny(t, true, true, nil)
	run := func(name, kinds string, sets ...string) *host {
		j := newJob(t, report.Files{Model: model, Dataset: lines(untrained(kinds))}, append([]string{full, "dataset.shuffle=false", "training.lr_scheduler_type=constant"}, sets...)...)
		j.Open = func(device.Limits) (device.Device, error) { return half{newSingle()}, nil }
		h := must(t, j)
		finiteRun(t, name, h)
		return h
	}
	// The gradients of two micro-batches, one of them empty, are those of the other.
	const accumulate = "training.gradient_accumulation_steps=2"
	want := run("one micro-batch", "T", atATime+"1", steps(3))
	for _, kinds := range []string{"TU", "UT"} {
		got := run(kinds, kinds, atATime+"1", accumulate, steps(3))
		for _, s := range got.steps() {
			if s.Tokens != 3 {
				t.Errorf("%s: step %d trains %d tokens, want 3", kinds, s.Step, s.Tokens)
			}
		}
		if kinds == "TU" { // the trained row is the same as that of the run before
			near(t, kinds, got.losses(), want.losses(), 1e-9)
			near(t, kinds+" norms", norms(got), norms(want), 1e-9)
		}
	}
	// A whole step without tokens has loss 0 and norm 0, is said, and the run goes on.
	for name, sets := range map[string][]string{"plain": nil, "float16": {"precision.param_dtype=float16"}, "smoothed": {"training.label_smoothing_factor=0.1"}} {
		h := run(name, "TUT", append(sets, atATime+"1", steps(6))...)
		for _, s := range h.steps() {
			if empty := s.Step%3 == 2; empty != (s.Tokens == 0) || empty && (s.Loss != 0 || s.GradNorm != 0) {
				t.Errorf("%s: step %d has %d tokens, loss %v, norm %v", name, s.Step, s.Tokens, s.Loss, s.GradNorm)
			}
		}
		if n := len(h.events("step_without_tokens")); n != 2 {
			t.Errorf("%s: %d steps without tokens were said, want 2", name, n)
		}
		if r := h.events("rows_untrained"); len(r) != 1 || !strings.Contains(r[0].Message, "1 of 3 rows have no trained token") {
			t.Errorf("%s: remarks %v", name, r)
		}
	}
	// The first step of all, before AdamW has moments.
	run("first", "UT", atATime+"1", steps(2))
	// Rows of 8 tokens hold two samples each: the first row trains nothing.
	packed := run("packed", "UUTT", packing, "dataset.max_length=8", atATime+"1", steps(4))
	for _, s := range packed.steps() {
		if want := 6 * ((s.Step + 1) % 2); s.Tokens != want {
			t.Errorf("packed: step %d trains %d tokens, want %d", s.Step, s.Tokens, want)
		}
	}
	// Batches of an evaluation without tokens leave its mean alone. Some rows of the held-out half are trained.
	held := run("held out", "TTUUUUUUTTTT", "dataset.validation_split=0.5", "training.eval_steps=1", "training.eval_on_start=true", atATime+"1", steps(3))
	for _, s := range held.steps() {
		if s.EvalLoss == nil || *s.EvalLoss <= 0 {
			t.Errorf("step %d has the evaluation %v", s.Step, s.EvalLoss)
		}
	}
}

// Data of which no token is trained is refused before a device is opened, and so are held-out rows without one.
func TestNothingTrained(t *testing.T) {
	model := tiny(t, true, true, nil)
	j := newJob(t, report.Files{Model: model, Dataset: lines(untrained("UU"))}, full)
	j.Open = nil // it is not called
	if f := mustFail(t, j, "data", report.ExitConfig, "nothing to train on", "2 have no trained token"); f.Kind != "fault" {
		t.Errorf("%+v", f)
	}
	// Of two rows one is held out, so that one part has no trained token.
	j = newJob(t, report.Files{Model: model, Dataset: lines(untrained("TU"))}, full, "dataset.validation_split=0.5")
	j.Open = nil
	mustFail(t, j, "data", report.ExitConfig, "validation_split 0.5: ", " token ")
	j = newJob(t, report.Files{Model: model, Dataset: lines(untrained("UU"))}, full)
	j.Command, j.Eval, j.Open = message.Eval, &message.EvalJob{Format: "auto"}, nil
	mustFail(t, j, "data", report.ExitConfig, "nothing to train on")
}
