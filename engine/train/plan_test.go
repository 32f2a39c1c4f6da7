package train_test

import (
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/plan"
	"llamatab/engine/train"
)

// forecast plans a run over a known model that is not there, with one row for each length.
func forecast(t testing.TB, name string, lengths []int, sets ...string) *train.Forecast {
	t.Helper()
	m, ok := plan.FindModel(name)
	if !ok {
		t.Fatalf("no model %q", name)
	}
	files, err := train.Imagine(m, lengths)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "training": {"max_steps": 1}}`), "run.json", sets)
	if err != nil {
		t.Fatal(err)
	}
	f, err := train.Plan(cfg, files, device.DefaultLimits, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The decoder of every known model has as many parameters as are published, and the plan of training it holds them all.
func TestKnownModels(t *testing.T) {
	for _, m := range plan.Models {
		f := forecast(t, m.Name, []int{8}, full)
		if f.Total != m.Parameters || f.Trainable != m.Parameters {
			t.Errorf("%s: %d parameters, %d of them trained, want %d", m.Name, f.Total, f.Trainable, m.Parameters)
		}
		// Segments are padded by less than an alignment a tensor.
		if w := f.Bytes["weights"]; w < 4*m.Parameters || w > 4*m.Parameters+1<<20 || f.Bytes["gradients"] != w || f.Bytes["optimizer"] != 2*w {
			t.Errorf("%s: bytes %v", m.Name, f.Bytes)
		}
	}
}

// The counts and the files of adapters are those of PEFT: r·Σ(in+out), as in the table of specifications.
func TestKnownAdapters(t *testing.T) {
	const qv, all = `peft={"peft_type": "LORA", "r": 8}`, `peft={"peft_type": "LORA", "r": 8, "target_modules": "all-linear"}`
	for _, c := range []struct {
		model, set string
		want       int64
	}{
		{"SmolLM2-135M", qv, 460800}, {"SmolLM2-135M", all, 2442240}, {"Llama-3.2-1B", qv, 851968}, {"Llama-3.2-1B", all, 5636096},
	} {
		if f := forecast(t, c.model, []int{8}, c.set); f.Trainable != c.want {
			t.Errorf("%s %s: %d parameters train, want %d", c.model, c.set, f.Trainable, c.want)
		}
	}
}
