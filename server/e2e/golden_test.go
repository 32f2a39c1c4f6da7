package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/testfiles"
	"llamatab/server/servertest"
)

// These tests compare runs of the built program with what transformers, PEFT and torch computed (../shared/golden). The
// tolerances are those of that folder's README.

func TestGoldenTraining(t *testing.T) {
	t.Parallel()
	golden := func(path string) string { return testfiles.Shared(t, "golden/"+path) }
	rows := servertest.TokensFile(t, servertest.IDs(t, golden("train_batches.safetensors"), "input_ids"), 64)
	for _, c := range []struct {
		name           string
		change         func(map[string]any)
		result         string
		final, initial string
	}{
		{"full_finetune", func(c map[string]any) { c["trainable"] = []string{"all"} },
			"model/model.safetensors", golden("full_finetune/final.safetensors"), testfiles.Shared(t, "models/stories260k/model.safetensors")},
		{"lora_qv_r8", func(c map[string]any) {
			c["peft"] = map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": []string{"v_proj", "q_proj"}}
			c["init_adapter"] = golden("lora_qv_r8/adapter_init")
		}, "adapter/adapter_model.safetensors", golden("lora_qv_r8/adapter_final/adapter_model.safetensors"), golden("lora_qv_r8/adapter_init/adapter_model.safetensors")},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := servertest.GoldenConfig(t, rows)
			c.change(cfg)
			r := servertest.Train(t, cfg)
			var want struct {
				Loss []float64 `json:"loss"`
				Norm []float64 `json:"grad_norm_before_clip"`
			}
			data, err := os.ReadFile(golden(c.name + "/trajectory.json"))
			if err == nil {
				err = json.Unmarshal(data, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Losses) != len(want.Loss) {
				t.Fatalf("%d steps, want %d", len(r.Losses), len(want.Loss))
			}
			for i := range want.Loss {
				if math.Abs(r.Losses[i]-want.Loss[i]) > 2e-4 || math.Abs(r.Norms[i]-want.Norm[i]) > 1e-3*want.Norm[i] {
					t.Errorf("step %d: loss %v and norm %v, want %v and %v", i+1, r.Losses[i], r.Norms[i], want.Loss[i], want.Norm[i])
				}
			}
			d := servertest.Distance(t, servertest.Tensors(t, filepath.Join(r.Dir, c.result)), servertest.Tensors(t, c.final), servertest.Tensors(t, c.initial))
			t.Logf("final tensors within %.2g of the distance moved", d)
			if d > 5e-3 {
				t.Errorf("final tensors are off by %v of the distance moved", d)
			}
			planned, allocated := r.Summary["planned_bytes"].(map[string]any), r.Summary["allocated_bytes"].(map[string]any)
			for class, p := range planned {
				if a := allocated[class].(float64); math.Abs(a-p.(float64)) > 0.05*p.(float64) {
					t.Errorf("%s: planned %v bytes, allocated %v", class, p, a)
				}
			}
			if c.name == "lora_qv_r8" {
				sameAdapterConfig(t, filepath.Join(r.Dir, "adapter/adapter_config.json"), golden("lora_qv_r8/adapter_final/adapter_config.json"))
			}
		})
	}
}

func sameAdapterConfig(t *testing.T, got, want string) {
	t.Helper()
	read := func(path string) map[string]any {
		var m map[string]any
		data, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		if list, ok := m["target_modules"].([]any); ok {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
		return m
	}
	if g, w := read(got), read(want); !reflect.DeepEqual(g, w) {
		t.Errorf("adapter_config.json is\n%v\nwant\n%v", g, w)
	}
}

func TestGoldenForward(t *testing.T) {
	t.Parallel()
	file := testfiles.Shared(t, "golden/forward_stories.safetensors")
	want := servertest.Tensors(t, file)
	rows := servertest.TokensFile(t, servertest.IDs(t, file, "input_ids"), 64)
	for _, model := range []string{"stories260k", "stories260k-sharded"} {
		out := t.TempDir()
		at := func(name string) string { return filepath.Join(out, name) }
		servertest.Run(t, "", "eval", "--model", testfiles.Shared(t, "models/"+model), "--dataset", rows, "--format", "tokens",
			"--dump-logits", at("logits.safetensors"), "--dump-gradients", at("gradients.safetensors"), "--out", at("eval.json"))
		var eval struct {
			Loss   float64 `json:"loss"`
			Tokens int     `json:"tokens"`
			Rows   int     `json:"rows"`
		}
		data, err := os.ReadFile(at("eval.json"))
		if err == nil {
			err = json.Unmarshal(data, &eval)
		}
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(eval.Loss-float64(want["loss"][0])) > 2e-5 || eval.Tokens != 252 || eval.Rows != 4 {
			t.Errorf("%s: %+v, want loss %v", model, eval, want["loss"][0])
		}
		logits := servertest.Tensors(t, at("logits.safetensors"))["logits"]
		if len(logits) != len(want["logits"]) {
			t.Fatalf("%d logits, want %d", len(logits), len(want["logits"]))
		}
		worst := 0.0
		for i, l := range logits {
			worst = max(worst, math.Abs(float64(l-want["logits"][i])))
		}
		t.Logf("%s: logits within %.2g", model, worst)
		if worst > 5e-4 {
			t.Errorf("%s: logits are off by %v", model, worst)
		}
		gradients := servertest.Tensors(t, at("gradients.safetensors"))
		for name, w := range want {
			if param, ok := strings.CutPrefix(name, "grad."); ok {
				one := func(x []float32) map[string][]float32 { return map[string][]float32{param: x} }
				if d := servertest.Distance(t, one(gradients[param]), one(w), nil); d > 1e-3 {
					t.Errorf("%s: gradient of %s is off by %v", model, param, d)
				}
			}
		}
	}
	// The copy of the weights in bfloat16 has larger tolerances, as its weights are rounded.
	out := filepath.Join(t.TempDir(), "eval.json")
	servertest.Run(t, "", "eval", "--model", testfiles.Shared(t, "models/stories260k-bf16"), "--dataset", rows, "--out", out)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var eval struct{ Loss float64 }
	if err := json.Unmarshal(data, &eval); err != nil || math.Abs(eval.Loss-float64(want["loss"][0])) > 2e-2 {
		t.Errorf("bf16: %s, want about %v", data, want["loss"][0])
	}
}

func TestGoldenGreedy(t *testing.T) {
	t.Parallel()
	var cases []struct {
		Prompt    string    `json:"prompt"`
		PromptIDs []int     `json:"prompt_ids"`
		OutputIDs []int     `json:"output_ids"`
		Margins   []float64 `json:"top2_margin"`
	}
	data, err := os.ReadFile(testfiles.Shared(t, "golden/greedy_base.json"))
	if err == nil {
		err = json.Unmarshal(data, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		var got struct {
			PromptIDs []int `json:"prompt_ids"`
			OutputIDs []int `json:"output_ids"`
			Text      string
		}
		out := servertest.Run(t, "", "generate", "--model", testfiles.Shared(t, "models/stories260k"), "--prompt", c.Prompt, "--json",
			"--max-new-tokens", fmt.Sprint(len(c.OutputIDs)-len(c.PromptIDs)))
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.PromptIDs, c.PromptIDs) {
			t.Fatalf("%q is %v, want %v", c.Prompt, got.PromptIDs, c.PromptIDs)
		}
		for i, margin := range c.Margins {
			if margin < 2e-3 {
				break // the two likeliest tokens are as good as equal, and rounding decides
			}
			if at := len(c.PromptIDs) + i; at >= len(got.OutputIDs) || got.OutputIDs[at] != c.OutputIDs[at] {
				t.Fatalf("%q: token %d differs: %v, want %v", c.Prompt, i, got.OutputIDs, c.OutputIDs)
			}
		}
	}
}
