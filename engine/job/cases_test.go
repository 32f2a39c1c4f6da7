//go:build !js

package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/tokenizer"
)

// A folderCase is a case of ../shared/cases: files of a kind that users have, with the right result.
type folderCase struct {
	Model struct {
		Base    string         `json:"base"`
		Config  map[string]any `json:"config"`
		Drop    []string       `json:"drop"`
		Remove  []string       `json:"remove"`
		Overlay bool           `json:"overlay"`
	} `json:"model"`
	Command []string `json:"command"`
	Want    struct {
		Exit    int                  `json:"exit"`
		OrSays  string               `json:"or_says"`
		Says    string               `json:"says"`
		Logits  string               `json:"logits"`
		Every   int                  `json:"every"`
		Within  float64              `json:"within"`
		JSON    map[string][]int     `json:"json"`
		Metrics map[string][]float64 `json:"metrics"`
		Same    string               `json:"same_loss_as"`
	} `json:"want"`

	files fs.FS // the case's folder
}

// TestCases runs each case of ../shared/cases on the reference device.
func TestCases(t *testing.T) {
	shared := goldens(t)
	entries, err := fs.ReadDir(shared, "cases")
	if err != nil {
		t.Skip("needs ../shared/cases: files as people bring them, with what is right for them")
	}
	for _, e := range entries {
		raw, err := fs.ReadFile(shared, path.Join("cases", e.Name(), "case.json"))
		if err != nil {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			c := folderCase{files: sub(t, shared, path.Join("cases", e.Name()))}
			if err := json.Unmarshal(raw, &c); err != nil {
				t.Fatal(err)
			}
			c.run(t, c.model(t, shared))
		})
	}
}

// model is the case's model folder: its base with the case's changes.
func (c *folderCase) model(t *testing.T, shared fs.FS) fstest.MapFS {
	t.Helper()
	m := inMemory(t, sub(t, shared, c.Model.Base))
	for _, name := range c.Model.Remove {
		delete(m, name)
	}
	var keys map[string]any
	if err := json.Unmarshal(m["config.json"].Data, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range c.Model.Drop {
		delete(keys, key)
	}
	maps.Copy(keys, c.Model.Config)
	raw, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	m["config.json"] = &fstest.MapFile{Data: raw}
	if c.Model.Overlay {
		maps.Copy(m, inMemory(t, sub(t, c.files, "model")))
	}
	return m
}

// inMemory reads the files of a folder into memory.
func inMemory(t *testing.T, fsys fs.FS) fstest.MapFS {
	t.Helper()
	m := fstest.MapFS{}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		data, err := fs.ReadFile(fsys, e.Name())
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = &fstest.MapFile{Data: data}
	}
	return m
}

// option is the value of the option --name in the case's command, "" if it is not there.
func (c *folderCase) option(name string) string {
	if i := slices.Index(c.Command, "--"+name); i >= 0 && i+1 < len(c.Command) {
		return c.Command[i+1]
	}
	return ""
}

// job is the job of the case's command. model takes the place of {model}.
func (c *folderCase) job(t *testing.T, model fs.FS) (*job.Job, error) {
	t.Helper()
	j := &job.Job{Files: report.Files{Model: model}, Host: newHost(), Open: exact}
	switch c.Command[0] {
	case "eval":
		j.Job = message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpLogits: "logits.safetensors"}}
		name := path.Base(c.option("dataset"))
		j.Files.Dataset = fstest.MapFS{name: inMemory(t, c.files)[name]}
		if c.option("adapter") != "" {
			j.Files.Adapter = sub(t, c.files, path.Base(c.option("adapter")))
		}
	case "generate":
		j.Job = message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: c.option("prompt"), MaxNewTokens: 4, TopP: 1}}
	case "train":
		raw, err := fs.ReadFile(c.files, "run.json")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("{model}", "model", "{case}/", "").Replace(string(raw))
		cfg, err := config.ParseWithSets([]byte(text), "run.json", nil)
		if err != nil {
			return nil, err
		}
		if raw, err = json.Marshal(cfg); err != nil {
			t.Fatal(err)
		}
		j.Job = message.Job{Command: message.Train, Config: raw}
		j.Files.Dataset = fstest.MapFS{"data.jsonl": inMemory(t, c.files)["data.jsonl"]}
	default:
		t.Fatalf("the command %q", c.Command[0])
	}
	return j, nil
}

// checkSameLoss evaluates the dataset that the case names and compares the loss and the counted tokens with those that h received.
func (c *folderCase) checkSameLoss(t *testing.T, model fs.FS, h *host) {
	t.Helper()
	other := *c
	other.Command = slices.Clone(c.Command)
	other.Command[slices.Index(other.Command, "--dataset")+1] = c.Want.Same
	j, err := other.job(t, model)
	if err == nil {
		err = job.Run(context.Background(), j)
	}
	if err != nil {
		t.Fatal(err)
	}
	var got, want struct {
		Loss   float64 `json:"loss"`
		Tokens int     `json:"tokens"`
	}
	for into, from := range map[any]*host{&got: h, &want: j.Host.(*host)} {
		for _, m := range from.sent {
			if m.Result != nil {
				if err := json.Unmarshal(m.Result, into); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if got != want || want.Tokens == 0 {
		t.Errorf("%+v, want %+v as for %s", got, want, c.Want.Same)
	}
}

// run runs the case's command and compares the result with the right one.
func (c *folderCase) run(t *testing.T, model fs.FS) {
	j, err := c.job(t, model)
	var h *host
	if err == nil {
		h = j.Host.(*host)
		err = job.Run(context.Background(), j)
	}
	said := messagesOf(h, err)
	if c.Want.Says != "" && !regexp.MustCompile(c.Want.Says).MatchString(said) {
		t.Errorf("said %q, want what matches %q", said, c.Want.Says)
	}
	if (err != nil) != (c.Want.Exit != 0) {
		if c.Want.OrSays != "" && regexp.MustCompile(c.Want.OrSays).MatchString(said) {
			return
		}
		t.Fatalf("error %v, want the exit status %d", err, c.Want.Exit)
	}
	if c.Want.Logits != "" {
		c.checkLogits(t, h.folder(""))
	}
	if c.Want.Same != "" {
		c.checkSameLoss(t, model, h)
	}
	for key, want := range c.Want.JSON {
		var result map[string]json.RawMessage
		var got []int
		for _, m := range h.sent {
			if m.Result != nil {
				if err := json.Unmarshal(m.Result, &result); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := json.Unmarshal(result[key], &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is %s, want %v", key, result[key], want)
		}
	}
	for column, want := range c.Want.Metrics {
		if column != "learning_rate" {
			t.Fatalf("the column %q", column)
		}
		var got []float64
		for _, s := range h.steps() {
			got = append(got, float64(s.LearningRate))
		}
		near(t, column, got, want, 1e-9)
	}
}

// messagesOf is all messages for the person: the error with its advice, and the remarks.
func messagesOf(h *host, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	var failure *report.Error
	if errors.As(err, &failure) {
		fmt.Fprintln(&b, failure.Next)
	}
	if h != nil {
		for _, m := range h.sent {
			if m.Event != nil {
				fmt.Fprintln(&b, m.Event.Message)
			}
		}
	}
	return b.String()
}

// checkLogits compares the dumped logits with those of the case, at every n-th token of the vocabulary and all real positions.
func (c *folderCase) checkLogits(t *testing.T, out fs.FS) {
	t.Helper()
	rows := c.rows(t)
	longest := 0
	for _, r := range rows {
		longest = max(longest, r)
	}
	got := tensorOf(t, out, "logits.safetensors", "logits")
	want := tensorOf(t, c.files, c.Want.Logits, "logits")
	V := len(got) / (len(rows) * longest)
	kept := len(want) / (len(rows) * longest)
	worst := 0.0
	for i, n := range rows {
		for p := range n {
			for k := range kept {
				g, w := got[(i*longest+p)*V+k*c.Want.Every], want[(i*longest+p)*kept+k]
				worst = max(worst, math.Abs(g-w))
				if math.IsNaN(g) {
					worst = math.Inf(1)
				}
			}
		}
	}
	if worst > c.Want.Within {
		t.Errorf("logits differ by %.3g, want at most %v", worst, c.Want.Within)
	}
}

// rows are the lengths of the dataset's rows.
func (c *folderCase) rows(t *testing.T) (lengths []int) {
	t.Helper()
	raw, err := fs.ReadFile(c.files, path.Base(c.option("dataset")))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var row struct {
			IDs []int `json:"input_ids"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, len(row.IDs))
	}
	return lengths
}

// TestUserModels evaluates the model folders of ../shared/cases/told: each gives the loss that its README names.
func TestUserModels(t *testing.T) {
	shared := goldens(t)
	if _, err := fs.Stat(shared, "cases/told"); err != nil {
		t.Skip("needs ../shared/cases/told: files as people bring them, with what is right for them")
	}
	for _, c := range []struct {
		folder, model string
		loss          float64
		remark        string // the message for the person
	}{
		{"weights-refused-although-valid", "position-ids-i64", 12.793390, "position_ids"},
		{"weights-refused-although-valid", "norm-f64", 12.793390, "F64"},
		{"weights-refused-although-valid", "bool-mask", 12.793390, "self_attn.bias"},
		{"weights-refused-although-valid", "cos-cached", 12.793390, "cos_cached"},
		{"weights-refused-although-valid", "tied-lm-head-only", 12.793390, "lm_head.weight only"},
		{"weights-refused-although-valid", "metadata-null", 12.793390, ""},
		{"model-config-refused-although-valid", "no-architectures", 12.793390, ""},
		{"model-config-refused-although-valid", "inner-architecture", 12.793390, ""},
		{"model-config-refused-although-valid", "swish", 12.793390, ""},
		{"model-config-refused-although-valid", "attention-dropout", 12.793390, ""},
		{"model-config-refused-although-valid", "qwen2-attention-bias", 13.270706, ""},
		{"tied-head-differs", "model", 13.006849, "not tied"},
		{"stray-single-beside-shards", "model", 21.661731, "side by side"},
		{"double-bos-eos", "model", 12.502423, "none is added a second time"},
	} {
		t.Run(c.folder+"/"+c.model, func(t *testing.T) {
			files := sub(t, shared, path.Join("cases/told", c.folder))
			j := &job.Job{
				Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto"}},
				Files: report.Files{Model: inMemory(t, sub(t, files, c.model)), Dataset: fstest.MapFS{"data.jsonl": inMemory(t, files)["data.jsonl"]}},
				Host:  newHost(), Open: exact,
			}
			h := must(t, j)
			near(t, "loss", []float64{lossOf(t, h)}, []float64{c.loss}, 2e-6)
			if said := messagesOf(h, nil); !strings.Contains(said, c.remark) || c.remark == "" && said != "" {
				t.Errorf("said %q, want %q", said, c.remark)
			}
		})
	}
}

// TestUserAdapters evaluates the adapters of ../shared/cases/told with their model.
func TestUserAdapters(t *testing.T) {
	shared := goldens(t)
	if _, err := fs.Stat(shared, "cases/told"); err != nil {
		t.Skip("needs ../shared/cases/told: files as people bring them, with what is right for them")
	}
	for _, c := range []struct {
		folder, adapter string
		loss            float64 // 0: refused
		says            string
	}{
		{"adapter-key-spellings", "default-in-keys", 13.100497, "default"},
		{"adapter-key-spellings", "inner-model", 13.100497, "base_model.model.model"},
		{"adapter-key-spellings", "no-prefix", 13.100497, "base_model.model.model"},
		{"adapter-key-spellings", "mlx", 13.100497, "MLX"},
		{"adapter-key-spellings", "modules-to-save-default", 7.134999, "modules_to_save.default"}, // with the head that it brings, by a forward in numpy
		{"adapter-with-embeddings", "embed-unchanged", 13.100497, "repeats"},
		{"adapter-with-embeddings", "embed-changed", 15.438367, "takes its place"},
		{"adapter-with-embeddings", "vocabulary-resized", 0, "vocabulary of 516 tokens, the model has 512"},
		{"adapter-config-refused-although-valid", "eva", 13.100497, ""},
		{"adapter-config-refused-although-valid", "orthogonal", 13.100497, ""},
		{"adapter-config-refused-although-valid", "eva-config-unused", 13.100497, ""},
		{"adapter-config-refused-although-valid", "loftq-config-unused", 13.100497, ""},
		{"adapter-config-refused-although-valid", "fan-in-fan-out", 13.100497, ""},
		{"adapter-config-refused-although-valid", "layers-pattern-empty-string", 13.056683, ""},
		{"adapter-config-refused-although-valid", "layers-to-transform-empty", 13.100497, ""},
		{"adapter-config-refused-although-valid", "layers-pattern-alone", 13.100497, ""},
		{"adapter-config-refused-although-valid", "alpha-negative", 12.803141, ""},
		{"adapter-config-refused-although-valid", "modules-to-save-absent", 13.100497, ""},
	} {
		t.Run(c.folder+"/"+c.adapter, func(t *testing.T) {
			files := sub(t, shared, path.Join("cases/told", c.folder))
			j := &job.Job{
				Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto"}},
				Files: report.Files{
					Model: sub(t, files, "model"), Adapter: sub(t, files, c.adapter), Dataset: fstest.MapFS{"data.jsonl": inMemory(t, files)["data.jsonl"]},
				},
				Host: newHost(), Open: exact,
			}
			if c.loss == 0 {
				mustFail(t, j, "adapter", 2, c.says)
				return
			}
			h := must(t, j)
			near(t, "loss", []float64{lossOf(t, h)}, []float64{c.loss}, 2e-6)
			if said := messagesOf(h, nil); !strings.Contains(said, c.says) || c.says == "" && said != "" {
				t.Errorf("said %q, want %q", said, c.says)
			}
		})
	}
}

// lossOf is the loss in eval.json.
func lossOf(t *testing.T, h *host) float64 {
	t.Helper()
	for _, m := range h.sent {
		if m.Result != nil {
			var r struct{ Loss float64 }
			if err := json.Unmarshal(m.Result, &r); err != nil {
				t.Fatal(err)
			}
			return r.Loss
		}
	}
	t.Fatal("no result")
	return 0
}

// TestUserStreams continues the prompts of ../shared/cases/told/stream-byte-tokens: the pieces of text, put together, are
// the new text, whole and without a part of the prompt.
func TestUserStreams(t *testing.T) {
	shared := goldens(t)
	if _, err := fs.Stat(shared, "cases/told"); err != nil {
		t.Skip("needs ../shared/cases/told: files as people bring them, with what is right for them")
	}
	for prompt, want := range map[string]string{"Hi": "🦙", "깰": " a cat"} {
		j := &job.Job{
			Job:   message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: prompt, MaxNewTokens: 12, TopP: 1}},
			Files: report.Files{Model: sub(t, shared, "cases/told/stream-byte-tokens/model")},
			Host:  newHost(), Open: exact,
		}
		streamed := ""
		for _, m := range must(t, j).sent {
			if m.Token != nil {
				streamed += m.Token.Text
			}
		}
		if streamed != want {
			t.Errorf("after %q: %q, want %q", prompt, streamed, want)
		}
	}
}

// TestUserTokens encodes a text with an added token that only the files beside tokenizer.json name.
func TestUserTokens(t *testing.T) {
	shared := goldens(t)
	if _, err := fs.Stat(shared, "cases/told"); err != nil {
		t.Skip("needs ../shared/cases/told: files as people bring them, with what is right for them")
	}
	for _, model := range []string{"model", "model-legacy"} {
		tok, err := tokenizer.Open(sub(t, shared, "cases/told/added-tokens-only-in-config/"+model))
		if err != nil {
			t.Fatal(err)
		}
		ids, err := tok.EncodeOnce("hi <|x|> yo")
		if want := []int{1, 270, 417, 410, 512}; err != nil || len(ids) < 6 || !slices.Equal(ids[:5], want) {
			t.Errorf("%s: %v, %v, want %v and more", model, ids, err, want)
		}
	}
}
