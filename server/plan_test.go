package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/forecast"
	"llamatab/engine/message"
	memory "llamatab/engine/plan"
)

func TestPlanCommand(t *testing.T) {
	says := func(code int, args string, parts ...string) string {
		t.Helper()
		got, stdout, stderr := run(t, append([]string{"plan"}, strings.Fields(args)...)...)
		if got != code {
			t.Fatalf("plan %s: exit %d, want %d\n%s%s", args, got, code, stdout, stderr)
		}
		for _, p := range parts {
			if !strings.Contains(stdout+stderr, p) {
				t.Errorf("plan %s: does not say %q:\n%s%s", args, p, stdout, stderr)
			}
		}
		return stdout
	}
	says(0, "--models", "SmolLM2-135M", "1235814400", "meta-llama/Llama-3.1-8B")
	says(0, "--help", "--model", "--max-buffer", "--link")
	says(2, "", "--config or --model")
	says(2, "--model SmolLM2-153M", "the nearest known is SmolLM2-135M")
	says(2, "--model SmolLM2-135M --method lora-qv-r9", "the nearest is lora-qv-r8")
	says(2, "--model SmolLM2-135M --link slow", "--link")
	says(2, "--model SmolLM2-135M --set training.max_stepz=3", "training.max_steps")
	says(2, "--config x --model SmolLM2-135M", "either --config or --model")
	says(2, "--config x --batch 3", "--batch goes with --model")

	says(0, "--model SmolLM2-135M --memory 4GB", "134515008 parameters", "4 rows of 512 tokens", "full", "lora-qv-r8", "460800", "yes", "no")
	says(0, "--model SmolLM2-135M,llama-3.2-1b --markdown", "| lora-qv-r8 |", "| Llama-3.2-1B: trainable", "851,968")
	says(0, "--model Llama-3.2-1B --method full --memory 16GB --tabs 4 --tflops 1 --link wifi", "blocks 0–15", "NO_SHARD (DDP), does not fit",
		"HYBRID_SHARD of 2", "shared by both directions", "one of these makes it fit", "smaller model")

	var all []struct {
		Model   memory.Known
		Methods []forecast.Method
	}
	if err := json.Unmarshal([]byte(says(0, "--model stories260k --batch 2 --length 64 --json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Model.Parameters != 260032 || len(all[0].Methods) != len(forecast.Ways()) || all[0].Methods[0].Forecast.Trainable != 260032 {
		t.Errorf("%+v", all)
	}

	// A folder with a config.json is a model for plan, too.
	dir := t.TempDir()
	stories, _ := memory.FindModel("stories260k")
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("config.json", string(stories.Config))
	says(0, "--model "+dir+" --method full --length 64", "260032 of 260032 parameters train")
	write("data.jsonl", `{"input_ids": [1, 2, 3, 4]}`)
	run := write("run.json", fmt.Sprintf(`{"model": {"init": "random", "config": %s}, "dataset": {"path": "data.jsonl"}, "trainable": ["all"]}`, stories.Config))
	says(0, "--config "+run, "260032 of 260032 parameters train", "1 steps", "largest buffer")
	says(0, "--config "+run+" --memory-budget 1MB", "does not fit", "per_device_train_batch_size")
	// A remark has an English text, and a code from which the page makes its own.
	write("data.jsonl", `{"input_ids": [1, 2, 3, 4]}
{"input_ids": [1, 2, 3, 4]}`)
	var plan struct {
		Reason   string
		Misfit   message.Remark
		Warnings []string
		Remarks  []message.Remark
	}
	if err := json.Unmarshal([]byte(says(0, "--config "+run+" --memory-budget 1MB --json")), &plan); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plan.Reason, "976.6 KiB is the limit") || plan.Misfit.Message != plan.Reason || plan.Misfit.Data["limit_bytes"] != 1e6 ||
		len(plan.Warnings) != 1 || len(plan.Remarks) != 1 || plan.Remarks[0].Code != "rows_repeated" || plan.Remarks[0].Message != plan.Warnings[0] {
		t.Errorf("%+v", plan)
	}
}
