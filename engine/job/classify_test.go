//go:build !js

package job_test

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

const (
	score      = `trainable=["score"]`
	seqCls     = `peft={"peft_type": "LORA", "r": 4, "lora_alpha": 8, "task_type": "SEQ_CLS"}`
	scoreTable = "score.weight"
)

// labelled is a dataset of random tokens whose label is that of their first token modulo the number of labels.
func labelled(labels []string, lengths ...int) fstest.MapFS {
	r := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	for _, n := range lengths {
		ids := make([]int, n)
		for i := range ids {
			ids[i] = r.IntN(37)
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids, "label": labels[ids[0]%len(labels)]})
		b.Write(append(line, '\n'))
	}
	return lines(b.String())
}

var (
	three   = []string{"b", "a", "c"}
	lengths = []int{8, 11, 9, 16, 5, 21, 3, 7, 12, 8, 8, 10}
)

// classEvaluation is the eval.json of a classification.
type classEvaluation struct {
	Loss, Perplexity, Accuracy, F1 float64
	Tokens, Rows                   int
}

func evaluateClasses(t *testing.T, files report.Files) (v classEvaluation) {
	t.Helper()
	answer(t, &job.Job{Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto"}}, Files: files, Host: newHost(), Open: open(t)}, &v)
	return v
}

// classLogits are the logits that eval writes, a row of classes for each row of the dataset.
func classLogits(t testing.TB, files report.Files, batch int) []float32 {
	t.Helper()
	h := must(t, &job.Job{
		Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpLogits: "l.safetensors", BatchSize: batch}},
		Files: files, Host: newHost(), Open: exact,
	})
	return values(t, h.folder(""), "l.safetensors")["logits"]
}

// TestRowsEndingInPadding: a row that ends in the config's padding token has the logits of the row without it, as in
// transformers. Without a pad_token_id the last token counts.
func TestRowsEndingInPadding(t *testing.T) {
	plain := lines(`{"input_ids": [5, 6, 3], "label": "a"}` + "\n" + `{"input_ids": [7, 9], "label": "b"}` + "\n")
	padded := lines(`{"input_ids": [5, 6, 3, 9], "label": "a"}` + "\n" + `{"input_ids": [7, 9, 9, 9], "label": "b"}` + "\n")
	cut := lines(`{"input_ids": [5, 6, 3], "label": "a"}` + "\n" + `{"input_ids": [7], "label": "b"}` + "\n")
	trained := must(t, newJob(t, report.Files{Model: tiny(t, true, true, nil), Dataset: plain}, score, steps(3))).folder("model")
	for _, pad := range []string{"", "9", "-1"} {
		model := maps.Clone(trained)
		if pad != "" {
			model["config.json"] = &fstest.MapFile{Data: []byte(strings.Replace(string(trained["config.json"].Data), "{", `{"pad_token_id": `+pad+",", 1))}
		}
		h := must(t, &job.Job{
			Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpLogits: "l.safetensors"}},
			Files: report.Files{Model: model, Dataset: padded}, Host: newHost(), Open: exact,
		})
		got, want := values(t, h.folder(""), "l.safetensors")["logits"], classLogits(t, report.Files{Model: model, Dataset: cut}, 2)
		if same := slices.Equal(got, want); same != (pad == "9") {
			t.Errorf("pad_token_id %q: the logits %v, without the padding %v", pad, got, want)
		}
		if events := h.events("rows_end_padded"); (len(events) == 1) != (pad == "9") || pad == "9" && !strings.Contains(events[0].Message, "2 of 2 rows") {
			t.Errorf("pad_token_id %q: remarks %v", pad, events)
		}
	}
}

// A classification head on a language model trains alone or with all parameters, is written as transformers' model for sequence
// classification, and is read back.
func TestScore(t *testing.T) {
	for _, trainable := range []string{`["score"]`, `["all"]`, `["score", "layers:last:1"]`} {
		t.Run(trainable, func(t *testing.T) {
			data := labelled(three, lengths...)
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: data}
			if trainable == `["all"]` { // which adds no head, so there is one first
				files.Model = must(t, newJob(t, files, score, steps(1))).folder("model")
			}
			sets := []string{"trainable=" + trainable, steps(12), "training.save_steps=6", "dataset.validation_split=0.25", "training.eval_steps=4"}
			h := must(t, newJob(t, files, sets...))
			model := h.folder("model")
			var cfg struct {
				Architectures []string
				ID2Label      map[string]string `json:"id2label"`
				Label2ID      map[string]int    `json:"label2id"`
				Labels        int               `json:"num_labels"`
				Problem       string            `json:"problem_type"`
			}
			if err := json.Unmarshal(model["config.json"].Data, &cfg); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(cfg.Architectures, []string{"LlamaForSequenceClassification"}) || cfg.Labels != 3 || cfg.Problem != "single_label_classification" ||
				!maps.Equal(cfg.ID2Label, map[string]string{"0": "a", "1": "b", "2": "c"}) || !maps.Equal(cfg.Label2ID, map[string]int{"a": 0, "b": 1, "c": 2}) {
				t.Errorf("config.json: %+v", cfg)
			}
			tensors := values(t, model, "model.safetensors")
			if len(tensors[scoreTable]) != 3*16 || tensors[lmHead] != nil {
				t.Errorf("the model has %v", names(tensors))
			}
			for _, s := range h.steps() {
				if s.Tokens != 4 {
					t.Errorf("step %d counts %d targets of 4 rows", s.Step, s.Tokens)
				}
				if evaluated := s.EvalAccuracy != nil && s.EvalF1 != nil; evaluated != (s.Step%4 == 0) {
					t.Errorf("step %d: evaluated %v", s.Step, evaluated)
				}
			}
			s := h.summary(t)
			for _, class := range []string{"weights", "gradients", "optimizer", "activations"} {
				if p, a := s.Planned[class], s.Allocated[class]; p != a || a == 0 {
					t.Errorf("%s: planned %d bytes, allocated %d", class, p, a)
				}
			}

			v := evaluateClasses(t, report.Files{Model: model, Dataset: data})
			if v.Tokens != 12 || v.Rows != 12 || !(v.Accuracy > 0 && v.Accuracy <= 1) || !(v.F1 > 0 && v.F1 <= 1) {
				t.Errorf("evaluated as %+v", v)
			}
			next := must(t, newJob(t, report.Files{Model: model, Dataset: data}, "trainable="+trainable, steps(1), "training.per_device_train_batch_size=12"))
			near(t, "continued", next.losses(), []float64{v.Loss}, 1e-6)

			files.Resume = h.folder("checkpoint-6")
			sameFiles(t, must(t, newJob(t, files, sets...)), h, "model/")
		})
	}
}

// Gradients of a classification agree with differences of its loss, for each choice of trained parameters.
func TestScoreGradients(t *testing.T) {
	data := labelled(three, lengths...)
	model := must(t, newJob(t, report.Files{Model: tiny(t, true, true, nil), Dataset: data}, score, steps(1))).folder("model")
	files := report.Files{Model: model, Dataset: data}
	for part, want := range map[string]int{"score": 1, "all": 3 + 2*16, "norm": 1, "layers:last:1": 16} {
		got := gradients(t, files, part)
		if len(got) != want {
			t.Errorf("%s: gradients of %v", part, names(got))
		}
		differences(t, got, model, "model.safetensors", func(name string) string { return name }, func(m fstest.MapFS) float64 {
			return loss(t, report.Files{Model: m, Dataset: data})
		})
	}
}

// A row's logits are those of its last token. They do not depend on padding or on the other rows. The last token may be any token,
// also the model's padding token.
func TestClassifierReadsTheLastToken(t *testing.T) {
	data := lines(`{"input_ids": [5, 0, 0], "label": 0}
{"input_ids": [5, 0, 0, 7, 0], "label": 1}
{"input_ids": [5, 0], "label": 1}
{"input_ids": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0], "label": 0}
{"input_ids": [5], "label": 0}
`)
	model := must(t, newJob(t, report.Files{Model: tiny(t, true, true, nil), Dataset: data}, `trainable=["all", "score"]`)).folder("model")
	together, alone := classLogits(t, report.Files{Model: model, Dataset: data}, 4), []float32{}
	for _, line := range strings.SplitAfter(string(data["data.jsonl"].Data), "\n")[:5] {
		alone = append(alone, classLogits(t, report.Files{Model: model, Dataset: lines(line)}, 1)...)
	}
	if len(together) != 10 {
		t.Fatalf("%d logits of 5 rows and 2 classes", len(together))
	}
	for i := range together {
		if math.Abs(float64(together[i]-alone[i])) > 1e-5 {
			t.Errorf("row %d: logit %v together, %v alone", i/2, together[i], alone[i])
		}
	}
}

// Adapters of a classification save its head as PEFT does, and their folder alone is the classifier.
func TestScoreAdapter(t *testing.T) {
	data := labelled(three, lengths...)
	base := tiny(t, true, true, nil)
	classifier := must(t, newJob(t, report.Files{Model: base, Dataset: data}, score, steps(2))).folder("model")
	for name, model := range map[string]fstest.MapFS{"language model": base, "classifier": classifier} {
		t.Run(name, func(t *testing.T) {
			files := report.Files{Model: model, Dataset: data}
			sets := []string{seqCls, "peft.init_lora_weights=false", steps(4), "training.save_steps=2"}
			h := must(t, newJob(t, files, sets...))
			adapter := h.folder("adapter")
			var cfg struct {
				Task    string   `json:"task_type"`
				Modules []string `json:"modules_to_save"`
			}
			if err := json.Unmarshal(adapter["adapter_config.json"].Data, &cfg); err != nil || cfg.Task != "SEQ_CLS" || !slices.Equal(cfg.Modules, []string{"classifier", "score"}) {
				t.Errorf("adapter_config.json: %+v, %v", cfg, err)
			}
			if x := values(t, adapter, "adapter_model.safetensors")["base_model.model."+scoreTable]; len(x) != 3*16 {
				t.Errorf("%d values of the head", len(x))
			}
			files.Adapter = adapter
			v := evaluateClasses(t, files)
			near(t, "continued", must(t, newJob(t, files, seqCls, "peft.init_lora_weights=false", steps(1), "training.per_device_train_batch_size=12")).losses(), []float64{v.Loss}, 1e-6)
			merged := must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: "merged"}},
				Files: files, Host: newHost(), Open: reference}).folder("")
			m := evaluateClasses(t, report.Files{Model: merged, Dataset: data})
			near(t, "merged", []float64{m.Loss, m.Accuracy, m.F1}, []float64{v.Loss, v.Accuracy, v.F1}, 1e-5)

			files.Adapter, files.Resume = nil, h.folder("checkpoint-2")
			sameFiles(t, must(t, newJob(t, files, sets...)), h, "adapter/")
		})
	}
}

// Accuracy and F1 follow from the logits by the definitions of scikit-learn's accuracy_score and f1_score(average="macro").
func TestScores(t *testing.T) {
	data := labelled(three, lengths...)
	model := must(t, newJob(t, report.Files{Model: tiny(t, true, true, nil), Dataset: data}, score, steps(8))).folder("model")
	files := report.Files{Model: model, Dataset: data}
	logits := classLogits(t, files, 4)
	var truth, said []int
	for i, line := range strings.Split(strings.TrimSpace(string(data["data.jsonl"].Data)), "\n") {
		var row struct{ Label string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		truth = append(truth, slices.Index([]string{"a", "b", "c"}, row.Label))
		l := logits[3*i : 3*i+3]
		said = append(said, slices.Index(l, slices.Max(l)))
	}
	right, sum, classes := 0.0, 0.0, 0.0
	for c := range 3 {
		tp, fp, fn := 0.0, 0.0, 0.0
		for i := range truth {
			switch {
			case truth[i] == c && said[i] == c:
				tp++
			case said[i] == c:
				fp++
			case truth[i] == c:
				fn++
			}
		}
		if right += tp; tp+fp+fn > 0 {
			classes++
			sum += tp / (tp + (fp+fn)/2)
		}
	}
	v := evaluateClasses(t, files)
	near(t, "accuracy and F1", []float64{v.Accuracy, v.F1}, []float64{right / 12, sum / classes}, 1e-12)
}

func TestClassificationRefused(t *testing.T) {
	base := tiny(t, true, false, nil)
	data := labelled(three, lengths...)
	classifier := must(t, newJob(t, report.Files{Model: base, Dataset: data}, score, steps(1))).folder("model")
	edited := func(old, new string) fstest.MapFS {
		m := maps.Clone(classifier)
		m["config.json"] = &fstest.MapFile{Data: []byte(strings.Replace(string(classifier["config.json"].Data), old, new, 1))}
		return m
	}
	for _, c := range []struct {
		name           string
		model, dataset fstest.MapFS
		sets           []string
		code           string
		parts          []string
	}{
		{"regression", edited("single_label_classification", "regression"), data, []string{full}, "model", []string{"problem_type", "regression"}},
		{"no label", base, rows(8), []string{score}, "data", []string{"line 1", "label"}},
		{"one class", base, lines(`{"input_ids": [1, 2], "label": "x"}`), []string{score}, "data", []string{`"x"`, "two classes"}},
		{"label of no class", classifier, lines(`{"input_ids": [1, 2], "label": "z"}`), []string{score}, "data", []string{"line 1", `"z"`, `"a" "b" "c"`}},
		{"number of no class", classifier, lines(`{"input_ids": [1, 2], "label": 3}`), []string{score}, "data", []string{"line 1", `"3"`}},
		{"a label that is none", base, lines(`{"input_ids": [1, 2], "label": 1.5}`), []string{score}, "data", []string{"line 1", "whole number"}},
		{"no head", base, data, []string{full, "dataset.format=classification"}, "data", []string{"classification", "score"}},
		{"lm_head of a classifier", classifier, data, []string{`trainable=["lm_head"]`}, "config", []string{"trainable[0]", "score"}},
		{"task", classifier, data, []string{lora}, "config", []string{"peft.task_type", "CAUSAL_LM"}},
		{"prompts", base, data, []string{score, "dataset.format=alpaca"}, "data", []string{"alpaca", "classification"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustFail(t, newJob(t, report.Files{Model: c.model, Dataset: c.dataset}, c.sets...), c.code, 2, c.parts...)
		})
	}
	mustFail(t, &job.Job{Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpGradients: "g", Trainable: []string{"score"}}},
		Files: report.Files{Model: base, Dataset: rows(8)}, Host: newHost(), Open: reference}, "config", 2, "--trainable[0]", "classification head")
	// Numbers are the classes themselves where the model has so many.
	v := evaluateClasses(t, report.Files{Model: classifier, Dataset: lines("{\"input_ids\": [1, 2], \"label\": 2}\n{\"input_ids\": [1, 2], \"label\": \"c\"}")})
	if v.Rows != 2 || v.Accuracy != 0 && v.Accuracy != 1 {
		t.Errorf("one row, given twice, is evaluated as %+v", v)
	}
}
