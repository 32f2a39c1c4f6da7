package job_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"llamatab/engine/report"
)

var update = flag.Bool("update", false, "rewrite testdata/trajectories.json from the reference device")

// trajectory is a run's losses and gradient norms.
type trajectory struct {
	Loss     []float64 `json:"loss"`
	GradNorm []float64 `json:"grad_norm_before_clip"`
}

// Ten steps of a small model, with full fine-tuning and every adapter, have the losses and norms in the committed file. The
// reference device wrote it when its results agreed with torch and PEFT. So a change of the numbers, on any device, fails here
// without the large goldens.
func TestGoldenTrajectory(t *testing.T) {
	const file = "testdata/trajectories.json"
	want := map[string]trajectory{}
	if data, err := os.ReadFile(file); err == nil {
		err = json.Unmarshal(data, &want)
		if err != nil {
			t.Fatal(err)
		}
	} else if !*update {
		t.Fatal(err)
	}
	for name, sets := range map[string][]string{
		"full":            {full},
		"lora":            {lora, "peft.target_modules=all-linear"},
		"dora":            {lora, "peft.use_dora=true", "peft.target_modules=all-linear", dropout},
		"ia3":             {`peft={"peft_type": "IA3"}`},
		"prefix":          {`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true}`},
		"prompt":          {`peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}`},
		"adaption prompt": {`peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2}`},
		"cosine":          {lora, "training.lr_scheduler_type=cosine", "training.warmup_steps=2", "training.gradient_accumulation_steps=2", "training.per_device_train_batch_size=2"},
	} {
		j := newJob(t, report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16, 13)}, append(sets, steps(10))...)
		if *update {
			j.Open = reference
		}
		h := must(t, j)
		got := trajectory{h.losses(), norms(h)}
		if *update {
			want[name] = got
			continue
		}
		near(t, name+": losses", got.Loss, want[name].Loss, 2e-4)
		near(t, name+": gradient norms", got.GradNorm, want[name].GradNorm, 1e-3)
	}
	if *update {
		data, err := json.MarshalIndent(want, "", " ")
		if err == nil {
			err = os.MkdirAll("testdata", 0o755)
		}
		if err == nil {
			err = os.WriteFile(file, append(data, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
