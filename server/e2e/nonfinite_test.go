package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/message"
	"llamatab/engine/model"
	_ "llamatab/engine/model/llama"
	"llamatab/engine/nn"
	"llamatab/engine/weights"
	"llamatab/server/servertest"
)

const fragileConfig = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 37, "hidden_size": 16, "intermediate_size": 20,
	"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 32,
	"rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": false}`

// fragileModel writes a model of random weights that fails for token 36 only. The embedding of that token is finite, but
// the output of the MLP of block 1 is not, as only that token has a value in the last channel.
func fragileModel(t *testing.T, dir string) {
	t.Helper()
	const H, rare = 16, 36
	d, err := model.New([]byte(fragileConfig))
	if err != nil {
		t.Fatal(err)
	}
	var specs []weights.Spec
	values := map[string][]float32{}
	for _, p := range d.Params() {
		x := make([]float32, p.Shape.Size())
		nn.Init{Kind: nn.Normal, Scale: 0.25}.Fill(x, 7, p.Name)
		column := func(v float32) {
			for i := H - 1; i < len(x); i += H {
				x[i] = v
			}
		}
		switch {
		case strings.Contains(p.Name, "norm"):
			for i := range x {
				x[i]++
			}
		case strings.Contains(p.Name, "embed_tokens"):
			column(0)
			x[rare*H+H-1] = 1
		case strings.Contains(p.Name, "layers.1.mlp.gate_proj"), strings.Contains(p.Name, "layers.1.mlp.up_proj"):
			column(1e30)
		case strings.Contains(p.Name, "o_proj"), strings.Contains(p.Name, "down_proj"):
			clear(x[(H-1)*len(x)/H:])
		default:
			column(0)
		}
		specs, values[p.Name] = append(specs, weights.Spec{Name: p.Name, Shape: p.Shape}), x
	}
	servertest.WriteFile(t, filepath.Join(dir, "config.json"), fragileConfig)
	writeWeights(t, dir, specs, func(w *weights.Writer, s weights.Spec) error { return w.WriteF32(s.Name, values[s.Name]) })
}

// writeWeights writes the model.safetensors of a folder; write writes one tensor.
func writeWeights(t *testing.T, dir string, specs []weights.Spec, write func(*weights.Writer, weights.Spec) error) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := weights.NewWriter(f, specs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		if err := write(w, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A corrupted row, a batch that overflows and a learning rate of a thousand are handled as the run's policies say, and
// events.jsonl reports them.
func TestNonfiniteAndBadRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fragileModel(t, dir)
	rows := []string{"1, 2, 3, 4", "5, 6, 7, 8, 9", "9, 10, 11", "13, 14, 15, 16", "3, 36, 5, 6", "7, 8, 9, 1", "2, 4, 6, 8", "2, 5, 8, 11"}
	var data strings.Builder
	for i, r := range rows {
		if i == 2 {
			data.WriteString("{\"input_ids\": [1, 2\n") // line 3: the rare token is on line 6
		}
		fmt.Fprintf(&data, "{\"input_ids\": [%s]}\n", r)
	}
	servertest.WriteFile(t, filepath.Join(dir, "data.jsonl"), data.String())
	servertest.WriteFile(t, filepath.Join(dir, "run.json"), `{"model": ".", "dataset": {"path": "data.jsonl", "shuffle": false},
		"peft": {"peft_type": "LORA", "r": 4}, "training": {"per_device_train_batch_size": 4, "max_steps": 5, "learning_rate": 1e-3}}`)
	run := func(name string, sets ...string) (events []message.Event, steps []message.Step, errs string, code int) {
		t.Helper()
		out := filepath.Join(dir, name)
		args := []string{"train", "--config", filepath.Join(dir, "run.json"), "--out", out}
		for _, s := range sets {
			args = append(args, "--set", s)
		}
		_, errs, code = servertest.Try(t, "", args...)
		if _, err := os.Stat(filepath.Join(out, "events.jsonl")); err == nil {
			events, steps = servertest.Lines[message.Event](t, filepath.Join(out, "events.jsonl")), servertest.Lines[message.Step](t, filepath.Join(out, "metrics.jsonl"))
		}
		return events, steps, errs, code
	}
	codes := func(events []message.Event) (all []string) {
		for _, e := range events {
			all = append(all, e.Code)
		}
		return all
	}

	if _, _, errs, code := run("corrupted"); code != 2 || !strings.Contains(errs, "line 3") {
		t.Errorf("a corrupted row: exit %d\n%s", code, errs)
	}

	events, steps, errs, code := run("rollback", "dataset.on_bad_row=skip", "training.on_nonfinite=rollback")
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	at := func(code string) message.Event {
		t.Helper()
		i := slices.Index(codes(events), code)
		if i < 0 {
			t.Fatalf("no %s among %v\n%s", code, codes(events), errs)
		}
		return events[i]
	}
	if e := at("bad_row_skipped"); e.Data["line"] != 3.0 {
		t.Errorf("bad_row_skipped: %+v", e)
	}
	bad := at("nonfinite_step_skipped")
	if bad.Step != 2 || bad.Data["tensor"] != "the output of swiglu in block 1" || fmt.Sprint(bad.Data["bad_lines"]) != "[6]" {
		t.Errorf("nonfinite_step_skipped: %+v", bad)
	}
	if e := at("rolled_back"); e.Data["to"] != 0.0 || e.Data["learning_rate_factor"] != 0.5 {
		t.Errorf("rolled_back: %+v", e)
	}
	for i, s := range steps {
		if s.Step != i+1 || s.LearningRate > 0.5e-3 || len(s.Units) != 2 || s.GPUBytes == 0 {
			t.Errorf("line %d of metrics.jsonl: %+v", i+1, s)
		}
	}
	if len(steps) != 5 {
		t.Errorf("%d lines of metrics.jsonl", len(steps))
	}

	events, _, errs, code = run("wild", "dataset.on_bad_row=skip", "training.learning_rate=1e3", "training.on_spike=stop",
		`model={"init": "random", "config": `+fragileConfig+`}`, "peft=null", `trainable=["all"]`)
	if e := at("loss_spike"); code != 1 || e.Step != 2 || !strings.Contains(errs, "loss_spike") {
		t.Errorf("a learning rate of 1e3: exit %d, event %+v\n%s", code, e, errs)
	}
}
