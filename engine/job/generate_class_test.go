//go:build !js

package job_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// classificationOf is the result of generate for a text.
func classificationOf(t *testing.T, files report.Files, g message.GenerateJob) (v message.Classification) {
	t.Helper()
	g.TopP = 1
	files.Dataset = nil
	answer(t, &job.Job{Job: message.Job{Command: message.Generate, Generate: &g}, Files: files, Host: newHost(), Open: open(t)}, &v)
	return v
}

// For a classifier, generate returns the probabilities of the classes: the softmax of the logits that eval writes for the same text.
func TestGenerateClass(t *testing.T) {
	texts := lines(`{"text": "abc", "label": "b"}` + "\n" + `{"text": "xyz9", "label": "a"}` + "\n" + `{"text": "k", "label": "c"}` + "\n")
	for name, dir := range map[string]string{seqCls: "adapter", score: "model"} {
		files := report.Files{Model: withTokenizer(tiny(t, true, false, nil)), Dataset: texts}
		h := must(t, newJob(t, files, name, "training.learning_rate=0.05", steps(6)))
		trained := files
		if trained.Adapter = h.folder(dir); dir == "model" {
			trained.Model, trained.Adapter = h.folder(dir), nil
		}
		logits := classLogits(t, trained, 4)
		for row, text := range []string{"abc", "xyz9", "k"} {
			v := classificationOf(t, trained, message.GenerateJob{Prompt: text})
			if v.Prompt != text || len(v.PromptIDs) != len(text) || len(v.Scores) != 3 || v.Label != v.Scores[0].Label {
				t.Fatalf("%s: %q is classified as %+v", dir, text, v)
			}
			sum := 0.0
			for _, l := range logits[3*row : 3*row+3] {
				sum += math.Exp(float64(l))
			}
			for i, s := range v.Scores {
				class := slices.Index([]string{"a", "b", "c"}, s.Label)
				if s.Class != class {
					t.Errorf("%q is class %d", s.Label, s.Class)
				}
				near(t, dir+": "+text, []float64{float64(s.Score)}, []float64{math.Exp(float64(logits[3*row+class])) / sum}, 1e-5)
				if i > 0 && s.Score > v.Scores[i-1].Score {
					t.Errorf("%s: not the likeliest first: %v", dir, v.Scores)
				}
			}
		}
	}
}

// An untrained head classifies as the run's head did before its first step, and the samples of that run show the same class.
func TestGenerateClassUntrained(t *testing.T) {
	texts := lines(`{"text": "abc", "label": "b"}` + "\n" + `{"text": "xyz9", "label": "a"}` + "\n" + `{"text": "k", "label": "b"}` + "\n" + `{"text": "q", "label": "a"}` + "\n")
	files := report.Files{Model: withTokenizer(tiny(t, true, false, nil)), Dataset: texts}
	j := newJob(t, files, seqCls, "training.learning_rate=0.05", "training.seed=9", "dataset.validation_split=0.25", steps(4))
	j.Job.Samples = &message.SampleJob{Prompts: []string{"xyz"}, Every: 4, MaxNewTokens: 5}
	h := must(t, j)
	var said []string
	for _, m := range h.sent {
		if m.Sample != nil {
			said = append(said, fmt.Sprint(m.Sample.Step, " ", m.Sample.Text))
		}
	}
	before := classificationOf(t, files, message.GenerateJob{Prompt: "xyz", Labels: []string{"a", "b"}, Seed: 9})
	files.Adapter = h.folder("adapter")
	after := classificationOf(t, files, message.GenerateJob{Prompt: "xyz"})
	var want []string
	for i, v := range []message.Classification{before, after} {
		want = append(want, fmt.Sprintf("%d %s (%.0f %%)", 4*i, v.Label, 100*float64(v.Scores[0].Score)))
	}
	if !slices.Equal(said, want) || want[0][2:] == want[1][2:] {
		t.Errorf("samples say %q, generate %q", said, want)
	}
}
