package job_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/fsdp"
	"llamatab/engine/plan"
	"llamatab/engine/report"
)

// imagined is a run over a known model without files.
func imagined(t testing.TB, name string, sets ...string) (*config.Config, report.Files) {
	t.Helper()
	m, ok := plan.FindModel(name)
	if !ok {
		t.Fatalf("no model %q", name)
	}
	cfg, err := config.ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d", "max_length": 8}, "training": {"max_steps": 1}}`), "run.json", sets)
	if err != nil {
		t.Fatal(err)
	}
	files, err := forecast.Imagine(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, files
}

// forecast plans a run over a known model without files.
func forecastOf(t testing.TB, name string, c forecast.Conditions, sets ...string) *forecast.Forecast {
	t.Helper()
	cfg, files := imagined(t, name, sets...)
	if c.Limits == (device.Limits{}) {
		c.Limits = device.DefaultLimits
		c.Limits.MaxBuffer, c.Limits.MaxBinding = 1<<40, 1<<40
	}
	f, err := forecast.Plan(cfg, files, c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The decoder of every known model has the published number of parameters, and the plan of full fine-tuning has all of them.
func TestKnownModels(t *testing.T) {
	for _, m := range plan.Models {
		f := forecastOf(t, m.Name, forecast.Conditions{}, full)
		if f.Total != m.Parameters || f.Trainable != m.Parameters {
			t.Errorf("%s: %d parameters, %d of them trained, want %d", m.Name, f.Total, f.Trainable, m.Parameters)
		}
		// Segments are padded by less than an alignment a tensor.
		if w := f.Bytes["weights"]; w < 4*m.Parameters || w > 4*m.Parameters+1<<20 || f.Bytes["gradients"] != w || f.Bytes["optimizer"] != 2*w {
			t.Errorf("%s: bytes %v", m.Name, f.Bytes)
		}
	}
}

// The numbers of trained parameters are those of PEFT. LoRA: r·Σ(in+out), and with DoRA Σ out more. Prefix tuning: keys and values
// of T virtual tokens in each layer; LLaMA-Adapter: T hidden vectors and a gate; (IA)³: k, v and the input of down;
// prompt tuning: T hidden vectors in all.
func TestKnownAdapters(t *testing.T) {
	for _, c := range []struct {
		model string
		want  map[string]int64
	}{
		{"SmolLM2-135M", map[string]int64{
			"full": 134515008, "layers-last-2": 2 * 3540096, "head": 49152 * 576, "lora-qv-r8": 460800, "lora-all-r16": 2 * 2442240,
			"dora-qv-r8": 460800 + 30*(576+192), "prefix-20": 20 * 30 * 2 * 192, "llama-adapter-10": 30 * (10*576 + 1),
			"ia3": 30 * (192 + 192 + 1536), "prompt-20": 20 * 576,
		}},
		{"Llama-3.2-1B", map[string]int64{
			"full": 1235814400, "layers-last-2": 2 * 60821504, "head": 128256 * 2048, "lora-qv-r8": 851968, "lora-all-r16": 2 * 5636096,
			"dora-qv-r8": 851968 + 16*(2048+512), "prefix-20": 20 * 16 * 2 * 512, "llama-adapter-10": 16 * (10*2048 + 1),
			"ia3": 16 * (512 + 512 + 8192), "prompt-20": 20 * 2048,
		}},
	} {
		cfg, files := imagined(t, c.model, full)
		rows, err := forecast.Compare(cfg, files, forecast.Conditions{Limits: device.DefaultLimits})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			switch want, ok := c.want[row.Name]; {
			case row.Forecast == nil:
				t.Errorf("%s: %s is refused: %s", c.model, row.Name, row.Refused)
			case !ok || row.Forecast.Trainable != want:
				t.Errorf("%s: %s trains %d, want %d", c.model, row.Name, row.Forecast.Trainable, want)
			}
		}
	}
}

// The numbers for LoRA in the specification.
func TestKnownLoRA(t *testing.T) {
	const qv, all = `peft={"peft_type": "LORA", "r": 8}`, `peft={"peft_type": "LORA", "r": 8, "target_modules": "all-linear"}`
	for _, c := range []struct {
		model, set string
		want       int64
	}{
		{"SmolLM2-135M", qv, 460800}, {"SmolLM2-135M", all, 2442240}, {"Llama-3.2-1B", qv, 851968}, {"Llama-3.2-1B", all, 5636096},
	} {
		if f := forecastOf(t, c.model, forecast.Conditions{}, c.set); f.Trainable != c.want {
			t.Errorf("%s %s: %d parameters train, want %d", c.model, c.set, f.Trainable, c.want)
		}
	}
}

// The units of a plan add up to it, by kind of memory, and each unit has its own parameters.
func TestUnits(t *testing.T) {
	for _, sets := range [][]string{{full}, {lora}, {full, checkpointing + "true"}} {
		f := forecastOf(t, "SmolLM2-135M", forecast.Conditions{}, append(sets, "dataset.max_length=64")...)
		sum, names := map[string]int64{}, []string{}
		var trainable, total int64
		for _, u := range f.Units {
			names, trainable, total = append(names, u.Name), trainable+u.Trainable, total+u.Total
			for class, n := range u.Bytes {
				sum[class] += n
			}
		}
		if !maps.Equal(sum, f.Bytes) || trainable != f.Trainable || total != f.Total {
			t.Errorf("%v: units add up to %v, %d of %d parameters, the plan is %v", sets, sum, trainable, total, f.Bytes)
		}
		if len(names) != 34 || names[0] != "embed" || names[1] != "block 0" || names[31] != "head" || names[32] != "shared" || names[33] != "run" {
			t.Errorf("%v: units %v", sets, names)
		}
		if b := f.Units[7]; b.Total < 3540096 || b.Bytes["weights"] < 2*b.Total || len(sets) == 1 && b.Bytes["activations"] == 0 {
			t.Errorf("%v: a block has %+v", sets, b)
		}
		if f.Logits != 4*256*49152 {
			t.Errorf("%v: %d bytes of logits", sets, f.Logits)
		}
	}
}

// A run that does not fit is offered changes. With a change that is said to fit it fits, with the bytes that were forecast.
func TestChoices(t *testing.T) {
	const long = "dataset.max_length=1024"
	for _, c := range []struct {
		budget int64
		code   string // of the first that fits
		sets   []string
	}{
		{6e9, "checkpointing", []string{full, long}},
		{3.6e9, "micro_batch", []string{lora, long, checkpointing + "true", "training.per_device_train_batch_size=64"}},
		{3.0e9, "together", []string{full, long, "training.per_device_train_batch_size=16"}},
		{1.0e9, "fewer_layers", []string{full, "dataset.max_length=64"}},
		{1.0e9, "lora", []string{`trainable=["all", "norm"]`, "dataset.max_length=64"}},
	} {
		f := forecastOf(t, "SmolLM2-135M", forecast.Conditions{Budget: c.budget}, c.sets...)
		if f.Fits || f.Misfit == nil {
			t.Fatalf("%v: fits %d bytes with %v", c.sets, c.budget, f.Bytes)
		}
		first := ""
		for _, choice := range f.Choices {
			if choice.Fits && first == "" {
				first = choice.Code
			}
			if choice.Fits != (choice.Bytes <= c.budget) || choice.Bytes >= f.Bytes["total"] || choice.Text == "" {
				t.Errorf("%v: %+v", c.sets, choice)
			}
			name, sets := "SmolLM2-135M", slices.Clone(c.sets)
			for _, change := range choice.Changes {
				if sets = append(sets, change.Path+"="+string(change.Value)); change.Path == "model" {
					name = strings.Trim(string(change.Value), `"`)
				}
			}
			if again := forecastOf(t, name, forecast.Conditions{Budget: c.budget}, sets...); again.Bytes["total"] != choice.Bytes || again.Fits != choice.Fits {
				t.Errorf("%v: %s says %d bytes, they are %d", c.sets, choice.Text, choice.Bytes, again.Bytes["total"])
			}
		}
		if first != c.code {
			t.Errorf("%v: the first choice that fits is %q, want %q of %+v", c.sets, first, c.code, f.Choices)
		}
	}
}

// Under NO_SHARD a tab holds as much as a run in one tab, in every precision. Under sharding it holds less for trained parameters
// and the same for the rest.
func TestStrategies(t *testing.T) {
	for _, sets := range [][]string{{full}, {lora}, {full, "precision.param_dtype=bfloat16"}, {full, "precision.param_dtype=bfloat16", "precision.stochastic_rounding=true"}} {
		f := forecastOf(t, "SmolLM2-135M", forecast.Conditions{Tabs: 4}, sets...)
		if len(f.Sharding) != 4 {
			t.Fatalf("%v: %+v", sets, f.Sharding)
		}
		alone := f.Sharding[0]
		for class, n := range f.Bytes {
			if d := alone.Bytes[class] - n; d < -8 || d > 8 { // rounded once a class
				t.Errorf("%v: %s: %d bytes in %s, %d alone", sets, class, alone.Bytes[class], alone.Strategy, n)
			}
		}
		for _, s := range f.Sharding[1:] {
			if s.Bytes["activations"] != f.Bytes["activations"] || s.Bytes["optimizer"]*int64(s.Group)/f.Bytes["optimizer"] > 1 {
				t.Errorf("%v: %+v", sets, s)
			}
		}
	}
}

// On devices of 16 GB, with 1 row of 512 tokens, full fine-tuning of half a billion parameters fits one device. A billion
// parameters fit four devices that shard them, and no device alone.
func TestFourDevicesTrainABillion(t *testing.T) {
	for name, alone := range map[string]bool{"Qwen2.5-0.5B": true, "TinyLlama-1.1B": false, "Llama-3.2-1B": false} {
		f := forecastOf(t, name, forecast.Conditions{Tabs: 4, Budget: 16e9}, full, checkpointing+"true", "dataset.max_length=512", "training.per_device_train_batch_size=1")
		for _, s := range f.Sharding {
			by := fsdp.Strategy(s.Strategy)
			if want := alone || by == fsdp.FullShard; by != fsdp.ShardGradOp && by != fsdp.HybridShard && s.Fits != want {
				t.Errorf("%s: %s fits: %v with %d bytes", name, s.Strategy, s.Fits, s.Bytes["total"])
			}
		}
	}
	// No device of 80 GB trains 8 billion by itself; of LoRA it is done in a quarter of one.
	if f := forecastOf(t, "Llama-3.1-8B", forecast.Conditions{Budget: 80e9}, full, checkpointing+"true"); f.Fits {
		t.Errorf("8B fits: %v", f.Bytes)
	}
	if f := forecastOf(t, "Llama-3.1-8B", forecast.Conditions{Budget: 20e9}, lora, checkpointing+"true", "dataset.max_length=512"); !f.Fits {
		t.Errorf("LoRA on 8B does not fit: %v", f.Bytes)
	}
}

// The page plans again at every change of a setting: within 100 ms, in a browser.
func BenchmarkForecast(b *testing.B) {
	for _, name := range []string{"SmolLM2-135M", "Llama-3.1-8B"} {
		for _, method := range []string{full, lora} {
			b.Run(name+"/"+method[:4], func(b *testing.B) {
				for b.Loop() {
					forecastOf(b, name, forecast.Conditions{}, method, "dataset.max_length=512")
				}
			})
		}
	}
}
