//go:build !js

package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/weights"
)

// Tolerances between the reference device and torch in float64. Both round the table of rotations to float32, each in its own way,
// and have weights and learning rates in float32.
const (
	lossTolerance   = 2e-6 // relative
	normTolerance   = 1e-5 // relative
	finalTolerance  = 1e-5 // of the distance that all tensors together moved
	logitsTolerance = 2e-5 // of logits of about 10
)

// scenario is a run of testdata/golden: its run.json, and what torch computed for it.
type scenario struct {
	dir  string // within files
	cfg  *config.Config
	want struct {
		Loss     []float64          `json:"loss_float64"`
		GradNorm []float64          `json:"grad_norm_float64"`
		Rate     []float64          `json:"learning_rate"`
		Tokens   []int              `json:"tokens"`
		Count    int64              `json:"trainable_parameters"`
		First    map[string]float64 `json:"first_gradient_norms"`
	}
	files fs.FS // all of testdata/golden
}

func openScenario(t *testing.T, files fs.FS, dir string) *scenario {
	t.Helper()
	s := &scenario{dir: dir, files: files}
	raw, err := fs.ReadFile(files, path.Join(dir, "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	golden, err := fs.ReadFile(files, path.Join(dir, "trajectory.json"))
	if err == nil {
		err = json.Unmarshal(golden, &s.want)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.cfg, err = config.Parse(raw, dir+"/run.json"); err != nil {
		t.Fatal(err)
	}
	return s
}

// at is the path of a file or folder in run.json.
func (s *scenario) at(name string) string { return path.Join(s.dir, name) }

// one is a folder with a single file.
func one(t *testing.T, files fs.FS, name string) fs.FS {
	t.Helper()
	data, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{path.Base(name): {Data: data}}
}

func TestReference(t *testing.T) {
	files := os.DirFS("../../testdata/golden")
	entries, err := fs.ReadDir(files, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		dir := path.Join("tiny", e.Name())
		if _, err := fs.Stat(files, path.Join(dir, "run.json")); err != nil {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			s := openScenario(t, files, dir)
			in := report.Files{Model: sub(t, files, s.at(s.cfg.Model.Path)), Dataset: one(t, files, s.at(s.cfg.Dataset.Path))}
			if s.cfg.InitAdapter != nil {
				in.Adapter = sub(t, files, s.at(*s.cfg.InitAdapter))
			}
			for _, part := range s.cfg.Trainable {
				if part.Head != nil {
					in.Head = one(t, files, s.at(*part.Head.Init))
				}
			}
			raw, err := json.Marshal(s.cfg)
			if err != nil {
				t.Fatal(err)
			}
			h := newHost()
			if err := job.Run(context.Background(), &job.Job{Job: message.Job{Command: message.Train, Config: raw}, Files: in, Host: h, Open: exact}); err != nil {
				t.Fatal(err)
			}
			var rates []float64
			var tokens []int
			for _, m := range h.steps() {
				rates, tokens = append(rates, m.LearningRate), append(tokens, m.Tokens)
			}
			near(t, "losses", h.losses(), s.want.Loss, lossTolerance)
			worst := 0.0
			for i, loss := range h.losses() {
				worst = max(worst, math.Abs(loss-s.want.Loss[i]))
			}
			t.Logf("losses within %.2g", worst)
			near(t, "gradient norms", norms(h), s.want.GradNorm, normTolerance)
			near(t, "learning rates", rates, s.want.Rate, 1e-9)
			if !slices.Equal(tokens, s.want.Tokens) {
				t.Errorf("counted %v tokens, want %v", tokens, s.want.Tokens)
			}
			if n := h.summary(t).Trainable; n != s.want.Count {
				t.Errorf("%d parameters train, want %d", n, s.want.Count)
			}
			if _, err := fs.Stat(files, s.at("final.safetensors")); err == nil {
				s.finals(t, h, in)
				s.logits(t, h, in)
			}
			s.rows(t, in)
			s.gradients(t, in)
			s.greedy(t, in)
		})
	}
}

// finals compares the trained tensors, by how far they moved.
func (s *scenario) finals(t *testing.T, h *host, in report.Files) {
	t.Helper()
	result, file := h.folder("model"), "model.safetensors"
	if s.cfg.PEFT != nil {
		result, file = h.folder("adapter"), "adapter_model.safetensors"
	}
	got, want := numbers(t, result, file), numbers(t, sub(t, s.files, s.dir), "final.safetensors")
	start := numbers(t, in.Model, "model.safetensors")
	if s.cfg.PEFT != nil {
		for _, file := range []string{"adapter_model.safetensors", "prefix_encoder.safetensors"} {
			for name, x := range numbers(t, in.Adapter, file) {
				start[name] = x
			}
		}
		for dir := range h.folder("") {
			if before, ok := strings.CutSuffix(dir, "/prefix_encoder.safetensors"); ok {
				for name, x := range numbers(t, h.folder(before), "prefix_encoder.safetensors") {
					got[name] = x
				}
			}
		}
	}
	for name, x := range numbers(t, result, "head.safetensors") {
		got[name] = x
	}
	if in.Head != nil {
		for name, x := range numbers(t, in.Head, "head.safetensors") {
			start[name] = x
		}
	}
	apart, moved := 0.0, 0.0
	for name, w := range want {
		g, ok := got[name]
		for _, beside := range []string{name, strings.ReplaceAll(name, "_proj.", "_proj.base_layer.")} { // the base's in an adapter
			for _, prefix := range []string{"base_model.", "base_model.model."} { // of prompt learning, and of all else
				if x, found := got[prefix+beside]; found {
					g, ok = x, true
				}
			}
		}
		if !ok || len(g) != len(w) {
			t.Errorf("%s is missing or has another shape", name)
			continue
		}
		from, ok := start[name]
		if !ok { // a tensor of its own where the base has one for two, or the base's in an adapter
			from = start[strings.NewReplacer("base_model.model.", "", ".base_layer", "", "lm_head", "model.embed_tokens").Replace(name)]
		}
		for i := range w {
			apart += (g[i] - w[i]) * (g[i] - w[i])
			moved += (w[i] - from[i]) * (w[i] - from[i])
		}
	}
	t.Logf("final tensors within %.2g of the distance moved", math.Sqrt(apart/moved))
	if !(apart <= finalTolerance*finalTolerance*moved) {
		t.Errorf("final tensors are off by %.2g of the distance moved", math.Sqrt(apart/moved))
	}
	if s.cfg.PEFT != nil && len(s.cfg.Trainable) == 0 && len(s.cfg.Unfreeze) == 0 {
		for name := range got {
			if _, ok := want[name]; !ok && !strings.HasSuffix(name, ".base_layer.weight") {
				t.Errorf("%s was saved, and PEFT saves no such tensor", name)
			}
		}
	}
}

// numbers are all tensors of a file, none where there is no such file.
func numbers(t *testing.T, fsys fs.FS, file string) map[string][]float64 {
	t.Helper()
	all := map[string][]float64{}
	if _, err := fs.Stat(fsys, file); err != nil {
		return all
	}
	c, err := weights.OpenFile(fsys, file)
	if err != nil {
		t.Fatal(err)
	}
	names := c.Names()
	c.Close()
	for _, name := range names {
		all[name] = tensorOf(t, fsys, file, name)
	}
	return all
}

// logits evaluates what was saved, which reads it again, on rows that were not trained on.
func (s *scenario) logits(t *testing.T, h *host, in report.Files) {
	t.Helper()
	probe := "tiny/data/probe.jsonl"
	format := "tokens"
	if s.cfg.Dataset.Format == "classification" {
		probe, format = "tiny/data/probe_classes.jsonl", "classification"
	}
	files := report.Files{Model: in.Model, Dataset: one(t, s.files, probe)}
	if s.cfg.PEFT != nil {
		files.Adapter = h.folder("adapter")
	} else {
		files.Model = h.folder("model")
	}
	e := must(t, &job.Job{
		Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: format, DumpLogits: "logits.safetensors"}},
		Files: files, Host: newHost(), Open: exact,
	})
	got, want := tensorOf(t, e.folder(""), "logits.safetensors", "logits"), tensorOf(t, s.files, path.Join(s.dir, "logits.safetensors"), "logits")
	if len(got) != len(want) {
		t.Fatalf("%d logits, want %d", len(got), len(want))
	}
	worst := 0.0
	for i, w := range want {
		if w != 0 { // what stands behind the end of a row
			worst = max(worst, math.Abs(got[i]-w))
		}
	}
	t.Logf("logits within %.2g", worst)
	if !(worst <= logitsTolerance) {
		t.Errorf("logits of what was saved are off by %.3g", worst)
	}
}

// gradients evaluates the rows of the first step and compares the norm of every tensor's gradient: of the adapter's, or
// of the base's that train. The samples of packed rows are evaluated in rows of their own.
func (s *scenario) gradients(t *testing.T, in report.Files) {
	t.Helper()
	hybrid := s.cfg.PEFT != nil && len(s.cfg.Trainable) > 0
	if hybrid || in.Head != nil || len(s.cfg.Unfreeze) > 0 || strings.HasPrefix(path.Base(s.dir), "prefix_projection") {
		return // eval knows no such choice of tensors
	}
	if s.cfg.Training.LabelSmoothing > 0 {
		return // eval has the plain loss
	}
	if s.chats() && s.cfg.Dataset.Template != config.ModelTemplate {
		return // eval has the model's own chat template
	}
	rows := s.cfg.Training.BatchSize * s.cfg.Training.Accumulation
	raw, err := fs.ReadFile(s.files, s.at(s.cfg.Dataset.Path))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.SplitAfter(string(raw), "\n")
	first := strings.Join(all[:rows], "")
	if s.cfg.Dataset.Packing {
		ds, err := data.Load(bytes.NewReader(raw), "rows.jsonl", data.Options{Format: s.cfg.Dataset.Format, MaxLength: *s.cfg.Dataset.MaxLength})
		if err != nil {
			t.Fatal(err)
		}
		first = ""
		for _, row := range ds.Pack(false, 0).Samples[:rows] {
			for _, line := range row.Lines() {
				first += all[line-1]
			}
		}
	}
	var trainable []string
	for _, part := range s.cfg.Trainable {
		trainable = append(trainable, part.Select)
	}
	e := must(t, &job.Job{
		Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{
			Format: s.cfg.Dataset.Format, BatchSize: 2, DumpGradients: "gradients.safetensors", Trainable: trainable,
		}},
		Files: report.Files{Model: in.Model, Adapter: in.Adapter, Dataset: lines(first)}, Host: newHost(), Open: exact,
	})
	got := numbers(t, e.folder(""), "gradients.safetensors")
	if len(got) != len(s.want.First) {
		t.Errorf("%d gradients, want %d", len(got), len(s.want.First))
	}
	for name, want := range s.want.First {
		sum := 0.0
		for _, v := range got[name] {
			sum += v * v
		}
		if !(math.Abs(math.Sqrt(sum)-want) <= normTolerance*want) {
			t.Errorf("the gradient of %s has norm %.9g, want %.9g", name, math.Sqrt(sum), want)
		}
	}
}

// chats tells whether the run trains on conversations.
func (s *scenario) chats() bool {
	return s.cfg.Dataset.Format == "messages" || s.cfg.Dataset.Format == "sharegpt"
}

// rows compares the token ids of a run on conversations, and which of them are trained, with those of the reference, whose
// templates are no Jinja. The samples of packed rows are compared one by one.
func (s *scenario) rows(t *testing.T, in report.Files) {
	t.Helper()
	if !s.chats() {
		return
	}
	raw, err := fs.ReadFile(s.files, s.at("rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	setup, err := replay.Prepare(s.cfg, in, device.UnboundedLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer setup.Model.Close()
	got := map[int]string{} // by the line in the file
	for _, sample := range setup.Train.Samples {
		parts := sample.Parts
		if parts == nil {
			parts = []data.Part{{Line: int32(sample.Line)}}
		}
		for i, p := range parts {
			end := len(sample.IDs)
			if i+1 < len(parts) {
				end = int(parts[i+1].At)
			}
			ids, trained := sample.IDs[p.At:end], ""
			for i, label := range sample.Labels[p.At:end] {
				switch label {
				case data.Ignore:
					trained += "0"
				case ids[i]:
					trained += "1"
				default:
					t.Errorf("line %d: label %d of the token %d", p.Line, label, ids[i])
				}
			}
			got[int(p.Line)] = fmt.Sprint(ids, " ", trained)
		}
	}
	want := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(got) != len(want) {
		t.Errorf("%d conversations, want %d", len(got), len(want))
	}
	for i, line := range want {
		var row struct {
			IDs     []int32 `json:"input_ids"`
			Trained string
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if w := fmt.Sprint(row.IDs, " ", row.Trained); got[i+1] != w {
			t.Errorf("the conversation in line %d:\n got %s\nwant %s", i+1, got[i+1], w)
		}
	}
}

// greedy continues a text with the adapter that the run starts from.
func (s *scenario) greedy(t *testing.T, in report.Files) {
	t.Helper()
	data, err := fs.ReadFile(s.files, path.Join(s.dir, "greedy.json"))
	if err != nil || in.Head != nil {
		return // nothing that continues texts, or not without a run's own layers
	}
	var want struct {
		Prompt   string
		Messages json.RawMessage
		IDs      []int `json:"output_ids"`
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	h := newHost()
	must(t, &job.Job{
		Job:   message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: want.Prompt, Messages: want.Messages, MaxNewTokens: 24, TopP: 1}},
		Files: report.Files{Model: in.Model, Adapter: in.Adapter}, Host: h, Open: exact,
	})
	var got struct {
		IDs []int `json:"output_ids"`
	}
	for _, m := range h.sent {
		if m.Result != nil {
			if err := json.Unmarshal(m.Result, &got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got.IDs, want.IDs) {
		t.Errorf("continues with %v, want %v", got.IDs, want.IDs)
	}
}
