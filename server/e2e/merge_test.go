package e2e

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"llamatab/server/servertest"
)

// A model with an attached adapter and the merged model have the same loss.
func TestMergedEqualsAttached(t *testing.T) {
	t.Parallel()
	model, rows, out := servertest.TinyModel(t), servertest.TinyRows(t), t.TempDir()
	cfg := servertest.TinyConfig(t)
	cfg["peft"] = map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": []string{"v_proj", "q_proj"}}
	adapter := filepath.Join(servertest.Train(t, cfg).Dir, "adapter")
	merged := filepath.Join(out, "merged")
	servertest.Run(t, "", "export", "--model", model, "--adapter", adapter, "--format", "merged", "--out", merged)
	loss := func(args ...string) float64 {
		file := filepath.Join(out, "eval.json")
		servertest.Run(t, "", append(args, "--dataset", rows, "--out", file)...)
		var e struct{ Loss float64 }
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &e)
		}
		if err != nil {
			t.Fatal(err)
		}
		return e.Loss
	}
	a, b, base := loss("eval", "--model", model, "--adapter", adapter), loss("eval", "--model", merged), loss("eval", "--model", model)
	if math.Abs(a-b) > 2e-5 || math.Abs(a-base) < 1e-3 {
		t.Errorf("attached %v, merged %v, base %v", a, b, base)
	}
}
