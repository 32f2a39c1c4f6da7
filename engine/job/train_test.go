package job_test

import (
	"slices"
	"strings"
	"testing"

	"llamatab/engine/report"
)

// The tests of this file also run in a browser, on its GPU.

func TestLossGoesDown(t *testing.T) {
	for _, c := range []struct {
		name       string
		tied, bias bool
		sets       []string
	}{
		{"full, tied", true, false, []string{full}},
		{"full, untied with biases", false, true, []string{full}},
		{"lora, tied", true, false, []string{lora}},
		{"lora on all linears, untied with biases", false, true, []string{lora, "peft.target_modules=all-linear", "peft.bias=all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := report.Files{Model: tiny(t, c.tied, c.bias, nil), Dataset: rows(8, 11, 9, 16)}
			losses := must(t, newJob(t, files, c.sets...)).losses()
			if len(losses) != 5 || !(losses[4] < losses[0]) {
				t.Errorf("losses %v", losses)
			}
		})
	}
}

// A run that was saved, stopped and resumed has the files and the losses of one that was not interrupted, bit for bit.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name, result string
		sets         []string
	}{
		{"full", "model/", []string{full}},
		{"lora", "adapter/", []string{lora}},
		{"lora with dropout and a module saved whole", "adapter/", []string{lora, dropout, `peft.modules_to_save=["lm_head"]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16, 13)}
			sets := append(slices.Clone(c.sets), steps(6), "training.save_steps=3", "training.per_device_train_batch_size=2",
				"training.gradient_accumulation_steps=2")
			through := must(t, newJob(t, files, sets...))
			files.Resume = through.folder("checkpoint-3")
			resumed := must(t, newJob(t, files, sets...))
			sameFiles(t, resumed, through, c.result)
			sameFiles(t, resumed, through, "checkpoint-6/")
			if got, want := resumed.losses(), through.losses()[3:]; !slices.Equal(got, want) {
				t.Errorf("losses %v after the resume, want %v", got, want)
			}
			if len(resumed.events("resumed")) != 1 {
				t.Error("the resume is not told")
			}
			if s := resumed.steps()[0]; s.Step != 4 || !strings.Contains(resumed.events("resumed")[0].Message, "step 3") {
				t.Errorf("resumed with step %d", s.Step)
			}
		})
	}
}

// The largest learning rate of float32 makes weights infinite within two steps, which the next step reports.
func TestDivergenceStops(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}
	mustFail(t, newJob(t, files, full, "training.learning_rate=3e38", "training.on_nonfinite=stop"), "nonfinite", 1, "step ")
}
