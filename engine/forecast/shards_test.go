package forecast

import (
	"fmt"
	"math"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/report"
)

// TestShardsTakeWhatTheFormulaSays: what a tab allocates of parameters, gradients and optimizer states is what
// plan.Sharding says of its strategy, but for alignment.
func TestShardsTakeWhatTheFormulaSays(t *testing.T) {
	model := `model={"init": "random", "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 172,
		"num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
		"tie_word_embeddings": true, "hidden_act": "silu"}}`
	for _, dtype := range []string{"float32", "bfloat16"} {
		for _, N := range []int{2, 4} {
			for _, by := range []fsdp.Strategy{fsdp.FullShard, fsdp.ShardGradOp, fsdp.HybridShard} {
				name := fmt.Sprintf("%s %d %s", by, N, dtype)
				cfg, err := config.ParseWithSets([]byte(`{"dataset": {"path": "rows.jsonl", "format": "tokens"}, "trainable": ["all"]}`), "run.json", []string{
					model, "precision.param_dtype=" + dtype, fmt.Sprintf(`fsdp={"world_size": %d, "slots": 4, "sharding_strategy": %q}`, N, by)})
				if err != nil {
					t.Fatal(err)
				}
				f, err := Plan(cfg, report.Files{Dataset: fstest.MapFS{"rows.jsonl": {Data: []byte(`{"input_ids": [1, 2, 3, 4, 5]}`)}}}, Conditions{Limits: device.DefaultLimits})
				if err != nil {
					t.Fatal(err)
				}
				found := by == fsdp.HybridShard && N == 2 // groups of one: the table leaves it out
				for _, row := range f.Sharding {
					if row.Strategy != string(by) {
						continue
					}
					found = true
					for class, want := range row.Bytes {
						if got := f.Bytes[class]; math.Abs(float64(got-want)) > 0.05*float64(want) {
							t.Errorf("%s: %s: %d bytes are planned and %d by the formula", name, class, got, want)
						}
					}
				}
				if !found {
					t.Errorf("%s: the comparison lacks it: %+v", name, f.Sharding)
				}
			}
		}
	}
}
