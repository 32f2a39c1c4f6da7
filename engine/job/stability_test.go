//go:build !js

package job_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
)

// numbered is a dataset of n rows that differ.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"input_ids\": [%d, %d, %d, %d]}\n", i, i+1, (7*i+3)%37, i+2)
	}
	return b.String()
}

// inOrder are settings under which a step is one row, in file order, at the same learning rate.
var inOrder = []string{"dataset.shuffle=false", "training.per_device_train_batch_size=1", "training.lr_scheduler_type=constant"}

// poisoned is a job on a device that makes the submitted steps that poison names not finite.
func poisoned(t *testing.T, files report.Files, poison func(submitted int) bool, sets ...string) (*job.Job, *single) {
	t.Helper()
	j := newJob(t, files, slices.Concat([]string{full}, inOrder, sets)...)
	dev := newSingle()
	dev.poison = poison
	j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
	return j, dev
}

// A rollback leaves out the bad rows and halves the learning rate. Otherwise it equals a resume from the checkpoint.
func TestRollbackOfNonfinite(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: lines(numbered(9))}
	for _, sets := range [][]string{{full}, {"trainable=[]", lora}} {
		sets := append(sets, steps(6), "training.save_steps=2", "training.save_total_limit=0")
		j, _ := poisoned(t, files, func(n int) bool { return n == 5 }, append(sets, "training.on_nonfinite=rollback")...)
		h := must(t, j)
		events := h.events("rolled_back")
		if len(events) != 1 || events[0].Step != 5 || events[0].Data["to"] != 2 || events[0].Data["learning_rate_factor"] != 0.5 {
			t.Fatalf("events %+v", events)
		}
		var rates []float64
		for i, s := range recorded(h) {
			if s.Step != i+1 {
				t.Errorf("line %d is step %d", i, s.Step)
			}
			rates = append(rates, s.LearningRate)
		}
		if !slices.Equal(rates, []float64{1e-2, 1e-2, 5e-3, 5e-3, 5e-3, 5e-3}) {
			t.Errorf("learning rates %v", rates)
		}

		// The same from checkpoint-2 of a run without trouble, told to be ahead by three rows at half the rate.
		clean, _ := poisoned(t, files, nil, sets...)
		resume := must(t, clean).folder("checkpoint-2")
		state := resume["trainer_state.json"]
		for _, change := range [][2]string{{`"data_offset": 0`, `"data_offset": 3`}, {`"learning_rate_factor": 1`, `"learning_rate_factor": 0.5`}} {
			if !bytes.Contains(state.Data, []byte(change[0])) {
				t.Fatalf("no %s in %s", change[0], state.Data)
			}
			state.Data = bytes.Replace(state.Data, []byte(change[0]), []byte(change[1]), 1)
		}
		delete(resume, "checksums.json") // those of the state before the changes
		again := files
		again.Resume = resume
		resumed, _ := poisoned(t, again, nil, sets...)
		want := must(t, resumed)
		for _, dir := range []string{"checkpoint-4/", "checkpoint-6/"} {
			for _, name := range []string{"trainer_state.json", "optimizer.safetensors"} {
				if !bytes.Equal(h.files[dir+name], want.files[dir+name]) {
					t.Errorf("%s differs:\n%s\n%s", dir+name, h.files[dir+name], want.files[dir+name])
				}
			}
		}
		for name, data := range want.files {
			if strings.HasPrefix(name, "model/") || strings.HasPrefix(name, "adapter/") {
				if !bytes.Equal(h.files[name], data) {
					t.Errorf("%s differs", name)
				}
			}
		}
	}
}

// Without a checkpoint a rollback starts again. After too many rollbacks the run fails with advice.
func TestRollbackLimit(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: lines(numbered(9))}
	j, _ := poisoned(t, files, func(n int) bool { return n > 2 }, steps(8), "training.on_nonfinite=rollback")
	f := mustFail(t, j, "nonfinite", 1, "step")
	h := j.Host.(*host)
	if n := len(h.events("rolled_back")); n != 20 || !strings.Contains(f.Next, "9.54e-09") {
		t.Errorf("went back %d times; advice %q", n, f.Next)
	}
	// One bad step at the start is no reason to stop: what follows is a run of its own over the rows after it.
	j, _ = poisoned(t, files, func(n int) bool { return n == 1 }, steps(4), "training.on_nonfinite=rollback")
	back := must(t, j)
	rest := strings.SplitN(numbered(9), "\n", 2)[1]
	fresh, _ := poisoned(t, report.Files{Model: files.Model, Dataset: lines(rest)}, nil, steps(4), "training.learning_rate=5e-3")
	sameFiles(t, back, must(t, fresh), "model/")
}

// A run in which every step is skipped reports an error event.
func TestSkippedStepsReported(t *testing.T) {
	j, _ := poisoned(t, report.Files{Model: tiny(t, true, false, nil), Dataset: lines(numbered(9))}, func(n int) bool { return n > 3 }, steps(20))
	h := must(t, j)
	if e := h.events("nonfinite_persists"); len(e) != 1 || e[0].Step != 13 || len(h.steps()) != 20 {
		t.Errorf("%d steps, events %+v", len(h.steps()), e)
	}
}

// A learning rate that is far too high is a spike at once, and the policy is followed.
func TestLearningRateOfThousand(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11)}
	wild := func(sets ...string) *job.Job {
		return newJob(t, files, append(sets, full, steps(6), "training.learning_rate=1e3", "training.lr_scheduler_type=constant")...)
	}
	h := must(t, wild())
	if e := h.events("loss_spike"); len(e) == 0 || e[0].Step != 2 || len(h.steps()) != 6 {
		t.Errorf("warn: %d steps, losses %v, events %+v", len(h.steps()), h.losses(), e)
	}
	j := wild("training.on_spike=stop")
	mustFail(t, j, "loss_spike", 1, "step 2", "far above")
	if h := j.Host.(*host); len(h.events("rolled_back")) > 0 || len(h.steps()) != 2 {
		t.Errorf("stop: went on to step %d", len(h.steps()))
	}
	h = must(t, wild("training.on_spike=rollback", "training.on_nonfinite=rollback"))
	all, rollbacks := h.steps(), len(h.events("rolled_back"))
	if last := all[len(all)-1]; last.Step != 6 || rollbacks < 5 || last.LearningRate != 1e3/float64(int(1)<<rollbacks) || last.Loss > 2*all[0].Loss {
		t.Errorf("rollback: %d times, then %+v", rollbacks, last)
	}
}

// The weights with the lowest held-out loss are kept and become the result. Patience ends the run.
func TestBestAndPatience(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11, 12, 13, 14, 15)}
	for _, method := range []string{full, lora} {
		sets := []string{method, steps(60), "dataset.validation_split=0.25", "training.eval_steps=2", "training.lr_scheduler_type=constant",
			"training.early_stopping_patience=3", "training.load_best_model_at_end=true", "training.save_steps=4", "training.save_total_limit=1"}
		h := must(t, newJob(t, files, sets...))
		best, at, stale := 0.0, 0, 0
		for _, s := range h.steps() {
			if s.EvalLoss == nil {
				continue
			}
			if stale++; at == 0 || float64(*s.EvalLoss) < best {
				best, at, stale = float64(*s.EvalLoss), s.Step, 0
			}
		}
		last := h.steps()[len(h.steps())-1].Step
		stopped := h.events("early_stopped")
		if len(stopped) != 1 || stale != 3 || stopped[0].Step != last || stopped[0].Data["best_step"] != at || last == 60 {
			t.Fatalf("%s: stopped at %d with the best at %d, events %+v", method, last, at, stopped)
		}
		dir := "model"
		if method == lora {
			dir = "adapter"
		}
		for name := range h.folder("best") {
			if name != "checksums.json" && !bytes.Equal(h.files["best/"+name], h.files[dir+"/"+name]) {
				t.Errorf("%s: %s is not that of the best step", method, name)
			}
		}
		if len(h.folder("best")) == 0 {
			t.Errorf("%s: no best/", method)
		}

		// The result is what the run would have been at its best step.
		short := must(t, newJob(t, files, append(slices.Clone(sets), steps(at), "training.load_best_model_at_end=false")...))
		sameFiles(t, h, short, dir+"/")

		// Resumed in another folder, the best is looked for anew, and said to be.
		again := files
		again.Resume = h.folder(fmt.Sprintf("checkpoint-%d", last))
		resumed := must(t, newJob(t, again, sets...))
		if len(resumed.events("best_model_missing")) != 1 {
			t.Errorf("%s: it is not told that the best is missing", method)
		}
	}
}

// A model that memorises three rows gets worse on others, which is reported as overfitting, and its loss then stays on a plateau.
func TestOverfittingAndPlateau(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11)}
	h := must(t, newJob(t, files, full, steps(300), "dataset.validation_split=0.25", "training.eval_steps=5", "training.lr_scheduler_type=constant"))
	for _, code := range []string{"overfitting", "best_model"} {
		if len(h.events(code)) == 0 {
			t.Errorf("no %s is told", code)
		}
	}
	still := must(t, newJob(t, files, full, steps(150), "training.learning_rate=1e-9")).events("plateau")
	if len(still) != 1 || still[0].Step < 100 || still[0].Step > 110 {
		t.Errorf("plateau: %+v", still)
	}
	if len(h.folder("best")) > 0 {
		t.Error("the best is kept though nobody asked for it")
	}
}

// A person may ask for a rollback.
func TestGoBackOnRequest(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: lines(numbered(9))}, append(inOrder, lora, steps(6), "training.save_steps=2")...)
	h := j.Host.(*host)
	scripted(h, map[int][]message.Control{4: {message.Back}})
	must(t, j)
	e := h.events("rolled_back")
	if len(e) != 1 || e[0].Data["from"] != 4 || e[0].Data["to"] != 2 || len(recorded(h)) != 6 {
		t.Errorf("events %+v", e)
	}
}

// A row that cannot be used ends the run, with its line, or is left out, counted and reported.
func TestBadRows(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: lines("{\"input_ids\": [1, 2, 3, 4]}\n{\"input_ids\": [1, 2\n{\"input_ids\": [1, 370]}\n{\"input_ids\": [5, 6, 7, 8]}\n")}
	mustFail(t, newJob(t, files, full), "data", 2, "line 2")
	sets := append(inOrder, full, "dataset.on_bad_row=skip")
	h := must(t, newJob(t, files, sets...))
	e := h.events("bad_row_skipped")
	if len(e) != 2 || e[0].Data["line"] != 2 || e[1].Data["line"] != 3 || !strings.Contains(e[1].Message, "370") {
		t.Errorf("events %+v", e)
	}
	if n := h.summary(t).Dataset.Bad; n != 2 {
		t.Errorf("summary.json counts %d bad rows", n)
	}
	sameFiles(t, h, must(t, newJob(t, report.Files{Model: files.Model, Dataset: lines("{\"input_ids\": [1, 2, 3, 4]}\n{\"input_ids\": [5, 6, 7, 8]}\n")}, sets...)), "model/")
	files.Dataset = lines("{\"input_ids\": [1, 2\n")
	mustFail(t, newJob(t, files, sets...), "data", 2, "no row is left", "line 1")
}

// The norms of the units add up to the norm of the whole gradient, and those of the updates agree with the checkpoints.
func TestUnitNorms(t *testing.T) {
	files := report.Files{Model: tiny(t, false, true, nil), Dataset: rows(8, 9, 10, 11)}
	h := must(t, newJob(t, files, full, steps(4), "training.save_steps=1", "training.save_total_limit=0"))
	weights := func(step int) map[string][]float64 {
		return numbers(t, h.folder(fmt.Sprintf("checkpoint-%d", step)), "model.safetensors")
	}
	unitOf := func(name string) string {
		switch {
		case strings.HasPrefix(name, "model.layers."):
			return "block " + name[len("model.layers."):][:1]
		case strings.HasPrefix(name, "model.embed"):
			return "embed"
		}
		return "head"
	}
	for _, s := range h.steps() {
		if len(s.Units) != 4 || s.GPUBytes <= 0 {
			t.Fatalf("step %d: %d bytes, units %+v", s.Step, s.GPUBytes, s.Units)
		}
		total := 0.0
		for _, u := range s.Units {
			total += float64(u.GradNorm) * float64(u.GradNorm)
		}
		near(t, "gradient norm", []float64{math.Sqrt(total)}, []float64{float64(s.GradNorm)}, 1e-3)
		if s.Step == 1 {
			continue
		}
		size, change := map[string]float64{}, map[string]float64{}
		before := weights(s.Step - 1)
		for name, w := range weights(s.Step) {
			for i, x := range w {
				d := x - before[name][i]
				size[unitOf(name)] += x * x
				change[unitOf(name)] += d * d
			}
		}
		for _, u := range s.Units {
			near(t, u.Name+" weights", []float64{float64(u.WeightNorm)}, []float64{math.Sqrt(size[u.Name])}, 1e-3)
			near(t, u.Name+" ratio", []float64{float64(u.UpdateRatio) * 1e2}, []float64{1e2 * math.Sqrt(change[u.Name]/size[u.Name])}, 1e-3)
		}
	}
}

// overflowing is a tiny model in which all is well but for token 36: its embedding is finite, and in block 1 what the MLP
// makes of it is not. Only that token has a value in the last channel, which nothing else reads or writes.
func overflowing(t *testing.T) report.Files {
	t.Helper()
	const H, rare = 16, 36
	m := tiny(t, false, false, func(name string, s tensor.Shape, x []float32) tensor.Shape {
		column := func(v float32) {
			for i := H - 1; i < len(x); i += H {
				x[i] = v
			}
		}
		switch {
		case strings.Contains(name, "embed_tokens"):
			column(0)
			x[rare*H+H-1] = 1
		case strings.Contains(name, "layers.1.mlp.gate_proj"), strings.Contains(name, "layers.1.mlp.up_proj"):
			column(1e30)
		case strings.Contains(name, "o_proj"), strings.Contains(name, "down_proj"):
			clear(x[(H-1)*len(x)/H:])
		case strings.HasSuffix(name, "norm.weight"):
		default:
			column(0)
		}
		return s
	})
	return report.Files{Model: m, Dataset: lines(`{"input_ids": [1, 2, 3, 4]}
{"input_ids": [5, 6, 7, 8, 9]}
{"input_ids": [9, 10, 11, 12]}
{"input_ids": [13, 14, 15, 16, 17, 18]}
{"input_ids": [3, 36, 5, 6]}
{"input_ids": [7, 8, 9, 1]}
{"input_ids": [2, 4, 6, 8]}
{"input_ids": [2, 5, 8, 11]}
`)}
}

// A micro-batch that overflows is reported with its step, its row and its first tensor that is not finite, under each policy.
func TestNonfiniteBatch(t *testing.T) {
	run := func(sets ...string) *job.Job {
		j := newJob(t, overflowing(t), append(sets, lora, steps(4), "dataset.shuffle=false", "training.per_device_train_batch_size=2",
			"training.gradient_accumulation_steps=2", "training.save_steps=1", "training.lr_scheduler_type=constant")...)
		if dev, err := j.Open(device.DefaultLimits); err == nil {
			if s, ok := dev.(*single); ok {
				s.each = true
			}
			j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
		}
		return j
	}
	named := func(h *host) {
		t.Helper()
		e := h.events("nonfinite_step_skipped")
		if len(e) == 0 || e[0].Step != 2 {
			t.Fatalf("events %+v", e)
		}
		d := e[0].Data
		if d["tensor"] != "the output of swiglu in block 1" || d["unit"] != "block 1" || !slices.Equal(d["bad_rows"].([]int), []int{4}) || !slices.Equal(d["bad_lines"].([]int), []int{5}) {
			t.Errorf("found %v", d)
		}
		for _, part := range []string{"step 2", "swiglu in block 1", "data.jsonl", "lines [5]"} {
			if !strings.Contains(e[0].Message, part) {
				t.Errorf("the message %q does not say %q", e[0].Message, part)
			}
		}
	}
	skipped := must(t, run())
	named(skipped)
	if n := len(skipped.steps()); n != 4 || len(skipped.events("nonfinite_step_skipped")) != 2 {
		t.Errorf("skip: %d steps", n)
	}

	stopped := run("training.on_nonfinite=stop")
	if err := job.Run(context.Background(), stopped); err == nil || !strings.Contains(err.Error(), "swiglu") {
		t.Errorf("stop: error %v", err)
	}
	named(stopped.Host.(*host))
	if h := stopped.Host.(*host); len(h.events("rolled_back")) > 0 || len(h.steps()) != 2 {
		t.Errorf("stop: went on to step %d", len(h.steps()))
	}

	back := must(t, run("training.on_nonfinite=rollback"))
	named(back)
	e := back.events("rolled_back")
	if len(e) != 1 || e[0].Data["to"] != 0 || !slices.Equal(e[0].Data["left_out_rows"].([]int), []int{4}) || len(recorded(back)) != 4 {
		t.Fatalf("rollback: %+v", e[0])
	}
	// Resumed, the row stays left out: its three tokens are missing from every step that it belongs to.
	j := run()
	j.Files.Resume = back.folder("checkpoint-3")
	resumed := must(t, j)
	if got, want := resumed.steps()[0].Tokens, recorded(back)[3].Tokens; got != want || got != 9 {
		t.Errorf("%d tokens, want %d", got, want)
	}
	sameFiles(t, resumed, back, "adapter/")
}

// A step whose loss leaps while its gradient overflows is also a spike: the policy for spikes is followed.
func TestSpikeThatOverflows(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11)}
	sets := []string{full, steps(6), "training.learning_rate=1e3", "training.lr_scheduler_type=constant", "training.on_spike=stop"}
	j, _ := poisoned(t, files, func(n int) bool { return n == 2 }, sets...)
	mustFail(t, j, "loss_spike", 1, "step 2")
	if h := j.Host.(*host); len(h.events("nonfinite_step_skipped")) != 1 {
		t.Error("the step that was not finite is not told")
	}
}
