package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/peft"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// gainConfig are the settings of a made-up method: y = g ⊙ (W·x + b), with a factor for each output of every query
// projection.
type gainConfig struct {
	Start float64 `json:"gain_start"`
}

type gain struct{ g *nn.Param }

func (a gain) Project(t *graph.Tape, _ *nn.Input, l *nn.Linear, x graph.Var) graph.Var {
	return op.ScaleColumns(t, l.Plain(t, x), a.g.Var(t))
}

// The registrations are all that the program is told about the made-up method and the made-up format.
func init() {
	peft.Register(peft.Descriptor{
		Type: &config.PEFTType{
			Name: "GAIN", Place: 1000,
			New: func() any { return &gainConfig{Start: 1} },
			Settings: []message.Setting{{Key: "base_model_name_or_path"}, {Key: "revision"}, {Key: "task_type"},
				{Key: "gain_start", Name: message.Both("First gain", "初始增益"), Help: message.Both("The factor to start from.", "起始因子。")}},
			Rules: func(p *config.PEFT, at func(string) string) []config.Rule {
				return []config.Rule{config.Within(at("gain_start"), p.Own.(*gainConfig).Start, 0, 2)}
			},
			Variants: []config.Variant{{Name: "GAIN", Title: message.Both("Gain", "增益"), Place: 1000, About: message.Both("scales queries", "缩放查询"), Main: []string{"gain_start"}}},
			Examples: []config.Example{{Name: "gain-q", Place: 1000, Trains: "a factor for each query", Title: message.Both("gains of queries", "查询的增益"), Rate: 1e-2,
				Key: "peft", Value: func(int) any { return map[string]any{"peft_type": "GAIN"} }}},
		},
		Mark: ".gain_",
		Make: func(d *nn.Decoder, cfg *config.PEFT, _ peft.Context) (*peft.Method, error) {
			m := &peft.Method{Patch: &nn.Patch{Linears: map[*nn.Linear]nn.Adapter{}}}
			for i := range d.Blocks {
				q := d.Blocks[i].Q
				g := &nn.Param{Name: peft.Prefix + q.Path + ".gain_g", Shape: tensor.Of(q.Out, 1), Unit: q.Weight.Unit, Trainable: true,
					Init: nn.Init{Kind: nn.Constant, Scale: cfg.Own.(*gainConfig).Start}}
				m.Patch.Linears[q] = gain{g}
				m.Own(g)
			}
			return m, nil
		},
	})
	data.Register(data.Format{
		Config: config.Format{Name: "questions", Place: 1000, Title: message.Both("questions", "问答"), Columns: []string{"question", "answer"}},
		Turn:   1000,
		Detect: func(r *data.Record) bool { return r.Has("question") },
		Rows: func(r *data.Record, e *data.Encoder) error {
			question, err := r.String("question")
			if err != nil {
				return err
			}
			answer, err := r.String("answer")
			if err != nil {
				return err
			}
			return e.Pair(question, answer)
		},
	})
}

// runAlone runs a command of the program that starts no browser.
func runAlone(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), assetsVariable+"="+t.TempDir())
	out, _ := c.CombinedOutput() // the exit code says what went wrong
	return c.ProcessState.ExitCode(), string(out)
}

// A method is one registration: its configuration is checked and described, its adapters are read and written, and it
// stands in help, plans and the table of methods.
func TestRegisteredMethod(t *testing.T) {
	parse := func(keys string) (*config.Config, error) {
		return config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "GAIN"`+keys+`}}`), "run.json")
	}
	cfg, err := parse("")
	if err != nil || cfg.PEFT.Own.(*gainConfig).Start != 1 {
		t.Fatalf("defaults: %+v, %v", cfg, err)
	}
	for keys, want := range map[string]string{
		`, "gain_start": 3`: "peft.gain_start: is 3", `, "gain_stard": 1`: "the nearest known key is peft.gain_start", `, "target_modules": ["q_proj"]`: "peft.target_modules: unknown key",
	} {
		if _, err := parse(keys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
	if _, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "GAIM"}}`), ""); err == nil || !strings.Contains(err.Error(), "GAIN") {
		t.Errorf("an unknown method: %v", err)
	}
	about := config.Describe()
	at := slices.IndexFunc(about.Methods, func(m message.Method) bool { return m.Value == "GAIN" })
	if at < 0 || about.Methods[at].Refused != "" || about.Methods[at].Settings[3].Name.Zh != "初始增益" || !strings.Contains(string(about.Methods[at].Defaults), `"gain_start":1`) {
		t.Errorf("described as %+v", about.Methods)
	}
	if !slices.ContainsFunc(about.Examples, func(o message.Option) bool { return o.Value == "gain-q" && o.Title.En == "gains of queries" }) {
		t.Error("its example is not described")
	}
	if path, ok := peft.AdaptedModule(peft.Prefix + "model.layers.0.self_attn.q_proj.gain_g"); !ok || path != "model.layers.0.self_attn.q_proj" {
		t.Errorf("its key belongs to %q", path)
	}
	if code, said := runAlone(t, "plan", "--model", "stories260k"); code != 0 || !strings.Contains(said, "gain-q") || !strings.Contains(said, "a factor for each query") {
		t.Errorf("plan says, with exit %d:\n%s", code, said)
	}
	if code, said := runAlone(t, "plan", "--model", "stories260k", "--method", "gain-q"); code != 0 || !strings.Contains(said, "320") { // 5 blocks of 64 queries
		t.Errorf("plan --method says, with exit %d:\n%s", code, said)
	}
}

// The reader of adapter files takes the made-up method's folder, and says what is wrong with a key that is not its own.
func TestRegisteredMethodReadsAdapters(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "GAIN", "gain_start": 1.5}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.PEFT.AdapterConfig()
	if err != nil {
		t.Fatal(err)
	}
	write("adapter_config.json", text)
	write("rows.jsonl", []byte(`{"input_ids": [1, 2, 3]}`))
	model, err := filepath.Abs("../testdata/golden/tiny/model")
	if err != nil {
		t.Fatal(err)
	}
	run, err := json.Marshal(map[string]any{"model": model, "dataset": map[string]any{"path": filepath.Join(dir, "rows.jsonl"), "format": "tokens"},
		"peft": json.RawMessage(text), "init_adapter": dir})
	if err != nil {
		t.Fatal(err)
	}
	write("run.json", run)
	for name, want := range map[string]int{"gain_g": 0, "gain_h": 2} {
		var specs []weights.Spec
		for _, layer := range []string{"0", "1", "2"} {
			specs = append(specs, weights.Spec{Name: peft.Prefix + "model.layers." + layer + ".self_attn.q_proj." + name, Shape: tensor.Of(24, 1)})
		}
		var file bytes.Buffer
		w, err := weights.NewWriter(&file, specs, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range w.Order() {
			err = errors.Join(err, w.WriteF32(s.Name, make([]float32, 24)))
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		write("adapter_model.safetensors", file.Bytes())
		code, said := runAlone(t, "plan", "--config", filepath.Join(dir, "run.json"))
		if code != want || want == 0 && !strings.Contains(said, "72 of") || want != 0 && !strings.Contains(said, "gain_h") {
			t.Errorf("%s: exit %d, want %d:\n%s", name, code, want, said)
		}
	}
}

// letters is a tokenizer of one token a byte.
type letters struct{}

func (letters) Encode(text string, _ bool) ([]int, error) {
	ids, _, err := letters{}.EncodeOffsets(text)
	return ids, err
}

func (letters) Token(id int) (string, bool) { return string(rune(id)), true }

func (letters) EncodeOffsets(text string) (ids []int, offsets [][2]int, err error) {
	for i, c := range []byte(text) {
		ids, offsets = append(ids, int(c)), append(offsets, [2]int{i, i + 1})
	}
	return ids, offsets, nil
}

func (letters) BOS() (int, bool) { return 0, false }
func (letters) EOS() (int, bool) { return 0, false }

// A format is one registration: it is accepted by name with its columns, found by the first row, described, and named in
// help and errors.
func TestRegisteredFormat(t *testing.T) {
	const base = `{"model": "m", "trainable": ["all"], "dataset": {"path": "d", "format": `
	if _, err := config.Parse([]byte(base+`"questions", "columns": {"answer": "reply"}}}`), ""); err != nil {
		t.Error(err)
	}
	for rest, want := range map[string]string{`"question"}}`: "questions", `"questions", "columns": {"text": "x"}}}`: `its columns are "question" or "answer"`} {
		if _, err := config.Parse([]byte(base+rest), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rest, err, want)
		}
	}
	options := config.Describe().Choices["dataset.format"]
	if o := options[len(options)-1]; o.Value != "questions" || o.Refused != "" || o.Title.Zh != "问答" {
		t.Errorf("described as %+v", o)
	}
	for _, format := range []string{"auto", "questions"} {
		d, err := data.Load(strings.NewReader(`{"question": "ab", "answer": "c"}`), "d.jsonl", data.Options{Format: format, Tokenizer: letters{}})
		if err != nil || d.Format != "questions" || d.Stats.Trained == 0 {
			t.Errorf("%s: %+v, %v", format, d, err)
		}
	}
	if code, said := runAlone(t, "eval", "--help"); code != 0 || !strings.Contains(said, "questions") {
		t.Errorf("eval --help says, with exit %d:\n%s", code, said)
	}
}
