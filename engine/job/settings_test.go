//go:build !js

package job_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// evalLoss is the loss on the held-out rows before training.
func evalLoss(t *testing.T, h *host) float64 {
	t.Helper()
	return float64(h.summary(t).Start)
}

// TestLabelSmoothing compares the first loss with transformers' LabelSmoother on the logits that eval writes:
//
//	(1−ε)·mean(−log p(target)) + ε·mean over the vocabulary of −log p
func TestLabelSmoothing(t *testing.T) {
	const ε = 0.2
	lengths := []int{8, 5, 7}
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(lengths...)}
	h := must(t, &job.Job{
		Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpLogits: "l.safetensors"}},
		Files: files, Host: newHost(), Open: exact,
	})
	logits := values(t, h.folder(""), "l.safetensors")["logits"]
	const V, longest = 37, 8
	sum, tokens := 0.0, 0
	row := 0
	for line := range strings.Lines(string(files.Dataset.(fstest.MapFS)["data.jsonl"].Data)) {
		var r struct {
			IDs []int `json:"input_ids"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		for p := range len(r.IDs) - 1 {
			l := logits[(row*longest+p)*V:][:V]
			total, mean := 0.0, 0.0
			for _, x := range l {
				total, mean = total+math.Exp(float64(x)), mean+float64(x)/V
			}
			sum += (1-ε)*(math.Log(total)-float64(l[r.IDs[p+1]])) + ε*(math.Log(total)-mean)
			tokens++
		}
		row++
	}
	smoothing := fmt.Sprintf("training.label_smoothing_factor=%v", ε)
	for _, micro := range []int{3, 1} {
		got := must(t, newJob(t, files, full, steps(1), smoothing, fmt.Sprintf("training.per_device_train_batch_size=%d", micro), fmt.Sprintf("training.gradient_accumulation_steps=%d", 3/micro)))
		near(t, "the first loss", got.losses(), []float64{sum / float64(tokens)}, 1e-5)
	}
	// A loss scale multiplies the same gradient.
	plain := must(t, newJob(t, files, full, steps(3), smoothing))
	scaled := must(t, inHalf(newJob(t, files, full, steps(3), smoothing, `precision.param_dtype="float16"`)))
	near(t, "float16", scaled.losses(), plain.losses(), 2e-2)
}

// TestLabelSmoothingOfAClassifier: the loss of a classifier is smoothed as well.
func TestLabelSmoothingOfAClassifier(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: labelled(three, lengths...)}
	files.Model = must(t, newJob(t, files, score, steps(4), "training.learning_rate=0.3")).folder("model")
	logits := classLogits(t, files, 12)
	var want float64
	row := 0
	for line := range strings.Lines(string(files.Dataset.(fstest.MapFS)["data.jsonl"].Data)) {
		var r struct{ Label string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		l := logits[3*row:][:3]
		total, mean := 0.0, 0.0
		for _, x := range l {
			total, mean = total+math.Exp(float64(x)), mean+float64(x)/3
		}
		class := slices.Index([]string{"a", "b", "c"}, r.Label)
		want += (0.7*(math.Log(total)-float64(l[class])) + 0.3*(math.Log(total)-mean)) / 12
		row++
	}
	h := must(t, newJob(t, files, score, steps(1), "training.per_device_train_batch_size=12", "training.label_smoothing_factor=0.3"))
	near(t, "the first loss", h.losses(), []float64{want}, 1e-5)
}

// TestNEFTune: noise changes what trains and nothing that is evaluated, a resumed run has the noise of the uninterrupted one,
// and the noise grows with α.
func TestNEFTune(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 5, 7, 6, 8, 4)}
	sets := []string{lora, steps(4), "training.save_steps=2", "dataset.validation_split=0.3", "training.eval_on_start=true", "training.eval_steps=4"}
	alpha := func(a float64) string { return fmt.Sprintf("training.neftune_noise_alpha=%v", a) }
	plain, noisy := must(t, newJob(t, files, sets...)), must(t, newJob(t, files, append(sets, alpha(5))...))
	near(t, "the loss on held-out rows before training", []float64{evalLoss(t, noisy)}, []float64{evalLoss(t, plain)}, 0)
	off := must(t, newJob(t, files, append(sets, "training.neftune_noise_alpha=null")...))
	near(t, "no noise", off.losses(), plain.losses(), 0)
	resumed := files
	resumed.Resume = noisy.folder("checkpoint-2")
	again := must(t, newJob(t, resumed, append(sets, alpha(5))...))
	near(t, "resumed", again.losses(), noisy.losses()[2:], 0)
	recomputed := must(t, newJob(t, files, append(sets, alpha(5), checkpointing+"true")...))
	near(t, "activations computed again", recomputed.losses(), noisy.losses(), 0)
	difference := func(h *host) float64 { return math.Abs(h.losses()[0] - plain.losses()[0]) }
	small := must(t, newJob(t, files, append(sets, alpha(0.05))...))
	if d, s := difference(noisy), difference(small); d < 1e-3 || s == 0 || s > d/3 {
		t.Errorf("noise of 5 changes the first loss by %v, noise of 0.05 by %v", d, s)
	}
	mustFail(t, newJob(t, resumed, append(sets, alpha(4))...), "resume", report.ExitConfig, "neftune_noise_alpha is 4", "5")
}

// TestScheduleSettings: the schedule's settings decide the learning rates of a run.
func TestScheduleSettings(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 5)}
	h := must(t, newJob(t, files, lora, steps(4), `training.lr_scheduler_type="cosine_with_min_lr"`, `training.lr_scheduler_kwargs={"min_lr": 0.001, "num_cycles": 1}`))
	var got []float64
	for _, s := range h.steps() {
		got = append(got, float64(s.LearningRate))
	}
	near(t, "learning rates", got, []float64{0.01, 0.0055, 0.001, 0.0055}, 1e-12)
}

// TestGroupByLengthTrains: an epoch that groups rows by length reads all rows, in other steps than one that does not.
func TestGroupByLengthTrains(t *testing.T) {
	var mixed []int
	for i := range 24 {
		mixed = append(mixed, 4+i*7%20)
	}
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(mixed...)}
	inputs := func(sets ...string) (all []int64) {
		h := must(t, newJob(t, files, append(sets, lora, "training.max_steps=-1", "training.per_device_train_batch_size=2")...))
		last := int64(0)
		for _, s := range h.steps() {
			all, last = append(all, s.NumInputTokensSeen-last), s.NumInputTokensSeen
		}
		return all
	}
	grouped, apart := inputs("training.group_by_length=true"), inputs()
	total := func(steps []int64) (n int64) {
		for _, s := range steps {
			n += s
		}
		return n
	}
	if len(grouped) != 12 || total(grouped) != total(apart) || slices.Equal(grouped, apart) {
		t.Errorf("tokens by step %v, without grouping %v", grouped, apart)
	}
}
