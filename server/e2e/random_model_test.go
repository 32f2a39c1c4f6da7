package e2e

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/server/servertest"
)

// packedEqualsAlone trains an adapter with all 16 rows in each step, first in rows of their own and then in 5 packed rows: each
// step has the loss of the same tokens, and the norm of the same gradient.
func packedEqualsAlone(t *testing.T, model, data string) {
	run := func(rows int, dataset map[string]any) servertest.Result {
		dataset["path"], dataset["shuffle"], dataset["max_length"] = data, false, 32
		return servertest.Train(t, map[string]any{
			"model": model, "dataset": dataset, "peft": map[string]any{"peft_type": "LORA", "r": 3, "target_modules": "all-linear", "init_lora_weights": false},
			"training": map[string]any{"learning_rate": 1e-3, "lr_scheduler_type": "constant", "max_steps": 4, "per_device_train_batch_size": rows},
		})
	}
	alone, packed := run(16, map[string]any{}), run(5, map[string]any{"packing": true})
	if len(alone.Losses) != 4 || len(packed.Losses) != 4 {
		t.Fatalf("%d and %d steps, want 4", len(alone.Losses), len(packed.Losses))
	}
	loss, norm := 0.0, 0.0
	for i, w := range alone.Losses {
		loss, norm = max(loss, math.Abs(packed.Losses[i]-w)), max(norm, math.Abs(packed.Norms[i]/alone.Norms[i]-1))
	}
	t.Logf("packed losses within %.2g of those of rows alone, gradient norms within %.2g relative", loss, norm)
	if !(loss <= 1e-5 && norm <= 1e-4) {
		t.Errorf("losses are off by %v, gradient norms by %v relative", loss, norm)
	}
}

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
	t.Run("packed", func(t *testing.T) { packedEqualsAlone(t, model, data) })
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
