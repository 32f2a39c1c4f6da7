package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"llamatab/server/servertest"
)

// A run that is stopped and resumed ends with the same bits as an uninterrupted run. So does a second run of the same
// run.json.
func TestResumeBitForBit(t *testing.T) {
	t.Parallel()
	cfg := servertest.TinyConfig(t)
	cfg["peft"] = map[string]any{"peft_type": "LORA", "r": 4, "lora_dropout": 0.1, "target_modules": "all-linear"}
	cfg["training"].(map[string]any)["max_steps"] = 6
	whole := servertest.Train(t, cfg, "--set", "training.save_steps=3")
	// run.json records the chosen kernel variants, which the same bits depend on.
	var resolved map[string]any
	data, err := os.ReadFile(filepath.Join(whole.Dir, "checkpoint-3/run.json"))
	if err == nil {
		err = json.Unmarshal(data, &resolved)
	}
	if err != nil {
		t.Fatal(err)
	}
	resolved["training"].(map[string]any)["resume_from_checkpoint"] = filepath.Join(whole.Dir, "checkpoint-3")
	data, _ = json.Marshal(resolved)
	file := filepath.Join(t.TempDir(), "run.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "out")
	servertest.Run(t, "", "train", "--config", file, "--out", again)
	for _, name := range []string{"adapter/adapter_model.safetensors", "checkpoint-6/optimizer.safetensors"} {
		a, err1 := os.ReadFile(filepath.Join(whole.Dir, name))
		b, err2 := os.ReadFile(filepath.Join(again, name))
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("%s differs after resuming (%v, %v)", name, err1, err2)
		}
	}
}
