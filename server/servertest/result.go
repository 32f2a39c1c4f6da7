package servertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"llamatab/engine/message"
	"llamatab/engine/testfiles"
)

// Result is the output of a training run.
type Result struct {
	Dir     string
	Losses  []float64
	Norms   []float64
	Summary map[string]any
	Took    time.Duration // of the whole program
}

// Train runs a config with the built program.
func Train(t *testing.T, config map[string]any, extra ...string) Result {
	t.Helper()
	dir := t.TempDir()
	data, _ := json.Marshal(config)
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	r := Result{Dir: filepath.Join(dir, "out")}
	began := time.Now()
	Run(t, "", append([]string{"train", "--config", file, "--out", r.Dir}, extra...)...)
	r.Took = time.Since(began)
	r.Read(t)
	return r
}

// Read reads metrics.jsonl and summary.json of r.Dir.
func (r *Result) Read(t *testing.T) {
	t.Helper()
	metrics, err := os.ReadFile(filepath.Join(r.Dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(metrics)), "\n") {
		var m struct {
			Step     int     `json:"step"`
			Loss     float64 `json:"loss"`
			GradNorm float64 `json:"grad_norm"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("metrics.jsonl: %v", err)
		}
		r.Losses, r.Norms = append(r.Losses, m.Loss), append(r.Norms, m.GradNorm)
		if m.Step != len(r.Losses) {
			t.Fatalf("metrics.jsonl: line %d is step %d", len(r.Losses), m.Step)
		}
	}
	summary, err := os.ReadFile(filepath.Join(r.Dir, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(summary, &r.Summary); err != nil {
		t.Fatal(err)
	}
}

// GoldenConfig is the part of run.json that all golden runs on the model of ../shared have in common.
func GoldenConfig(t *testing.T, rows string) map[string]any {
	return tokensConfig(testfiles.Shared(t, "models/stories260k"), rows, 1e-3)
}

// TinyModel is the folder of the committed model of three blocks with random weights, whose tokens are characters.
func TinyModel(t *testing.T) string {
	return filepath.Join(testfiles.Repository(t), "testdata/golden/tiny/model")
}

// TinyRows is a committed file of 80 rows of 20 tokens each, for TinyModel.
func TinyRows(t *testing.T) string {
	return filepath.Join(testfiles.Repository(t), "testdata/golden/tiny/data/plain.jsonl")
}

// TinyConfig is a run of 20 steps of four rows on the committed model.
func TinyConfig(t *testing.T) map[string]any { return tokensConfig(TinyModel(t), TinyRows(t), 2e-3) }

func tokensConfig(model, rows string, learningRate float64) map[string]any {
	return map[string]any{
		"model":   model,
		"dataset": map[string]any{"path": rows, "format": "tokens", "shuffle": false},
		"training": map[string]any{
			"learning_rate": learningRate, "lr_scheduler_type": "constant", "weight_decay": 0.01, "max_grad_norm": 1.0,
			"per_device_train_batch_size": 4, "max_steps": 20,
		},
	}
}

// Codes are the codes of a run's events, in order. Events before the start, of tabs that join, are left out.
func Codes(t *testing.T, out string) (all []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e message.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("events.jsonl: %v", err)
		}
		if all = append(all, e.Code); e.Code == "started" {
			all = nil
		}
	}
	return all
}

// SameRun compares the results and the metrics of two runs over tabs, bit for bit.
func SameRun(t *testing.T, got, want string) {
	t.Helper()
	for _, dir := range []string{"model", "adapter"} {
		files, _ := filepath.Glob(filepath.Join(want, dir, "*"))
		for _, name := range files {
			a, err1 := os.ReadFile(name)
			b, err2 := os.ReadFile(filepath.Join(got, dir, filepath.Base(name)))
			if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
				t.Errorf("%s/%s has other bits (%v, %v)", dir, filepath.Base(name), err1, err2)
			}
		}
	}
	a, b := Steps(t, got), Steps(t, want)
	if len(a) != len(b) {
		t.Fatalf("metrics.jsonl has %d lines, want %d", len(a), len(b))
	}
	for i := range a {
		x, y := a[i], b[i]
		if x.Step != i+1 || x.Loss != y.Loss || x.GradNorm != y.GradNorm || x.LearningRate != y.LearningRate || x.Tokens != y.Tokens ||
			x.NumInputTokensSeen != y.NumInputTokensSeen || x.Epoch != y.Epoch || !reflect.DeepEqual(evaluation(x), evaluation(y)) {
			t.Errorf("line %d of metrics.jsonl is %+v, want %+v", i+1, x, y)
		}
	}
}

// Steps reads metrics.jsonl.
func Steps(t *testing.T, out string) (all []message.Step) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var s message.Step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("metrics.jsonl: %v", err)
		}
		all = append(all, s)
	}
	return all
}

// evaluation is the part of a step's line about held-out rows: loss, perplexity, accuracy and F1.
func evaluation(s message.Step) [4]*message.Float {
	return [4]*message.Float{s.EvalLoss, s.Perplexity, s.EvalAccuracy, s.EvalF1}
}

// Strategies are the sharding strategies.
var Strategies = []string{"NO_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD", "FULL_SHARD"}

// WriteFile writes a text file.
func WriteFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// Lines reads a file of JSON lines.
func Lines[T any](t *testing.T, name string) (all []T) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v in %s", name, err, s.Text())
		}
		all = append(all, v)
	}
	return all
}
