package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/server/servertest"
)

// TestRandomModel trains a model from random weights and then an adapter over it, and evaluates and generates with both.
func TestRandomModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var rows strings.Builder
	for i := range 16 {
		ids := make([]int, 6+i%5)
		for j := range ids {
			ids[j] = 1 + (i+j)%7
		}
		row, _ := json.Marshal(map[string]any{"input_ids": ids})
		rows.Write(append(row, '\n'))
	}
	data := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(data, []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	dataset := map[string]any{"path": data, "shuffle": false}
	training := map[string]any{"learning_rate": 1e-2, "lr_scheduler_type": "constant", "max_steps": 12}
	base := servertest.Train(t, map[string]any{
		"model": map[string]any{"init": "random", "config": map[string]any{
			"architectures": []string{"LlamaForCausalLM"}, "vocab_size": 11, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
			"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10, "attention_bias": true, "max_position_embeddings": 32,
		}},
		"dataset": dataset, "trainable": []string{"all"}, "training": training,
	})
	if first, last := base.Losses[0], base.Losses[len(base.Losses)-1]; !(last < first-0.3) {
		t.Errorf("losses %v", base.Losses)
	}
	model := filepath.Join(base.Dir, "model")
	adapter := servertest.Train(t, map[string]any{
		"model": model, "dataset": dataset, "training": training,
		"peft": map[string]any{"peft_type": "LORA", "r": 3, "target_modules": "all-linear", "use_rslora": true},
	})
	loss := func(args ...string) float64 {
		out := filepath.Join(dir, "eval.json")
		servertest.Run(t, "", append(args, "--dataset", data, "--out", out)...)
		var e struct{ Loss float64 }
		raw, err := os.ReadFile(out)
		if err == nil {
			err = json.Unmarshal(raw, &e)
		}
		if err != nil {
			t.Fatal(err)
		}
		return e.Loss
	}
	before, after := loss("eval", "--model", model), loss("eval", "--model", model, "--adapter", filepath.Join(adapter.Dir, "adapter"))
	if !(after < before) {
		t.Errorf("loss %v without the adapter, %v with it", before, after)
	}
}
