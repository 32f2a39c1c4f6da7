package job_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/report"
)

const checkpointing = "training.gradient_checkpointing="

// A run has the same bits whichever blocks are checkpointed.
func TestCheckpointing(t *testing.T) {
	for name, sets := range map[string][]string{
		"full":              {full},
		"lora with dropout": {lora, dropout, "peft.target_modules=all-linear"},
		"accumulation":      {lora, dropout, "training.per_device_train_batch_size=2", "training.gradient_accumulation_steps=2"},
	} {
		t.Run(name, func(t *testing.T) {
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16, 13)}
			run := func(blocks string) *host {
				return must(t, newJob(t, files, append(slices.Clone(sets), checkpointing+blocks, "training.save_steps=4")...))
			}
			off := run("false")
			for _, blocks := range []string{"true", "1", `"auto"`} {
				on := run(blocks)
				if got, want := on.losses(), off.losses(); !slices.Equal(got, want) {
					t.Errorf("%s: losses %v, want %v", blocks, got, want)
				}
				for name, data := range off.files {
					if !namesSettings(name) && string(on.files[name]) != string(data) {
						t.Errorf("%s: %s differs", blocks, name)
					}
				}
				if p, a := on.summary(t).Planned["activations"], on.summary(t).Allocated["activations"]; p != a {
					t.Errorf("%s: planned %d bytes of activations, allocated %d", blocks, p, a)
				}
			}
		})
	}
}

// layered is a run's settings for a random model of so many blocks.
func layered(layers int) string {
	cfg := fmt.Sprintf(tinyConfig, false, true)
	return `model={"init": "random", "config": ` + strings.Replace(cfg, `"num_hidden_layers": 2`, fmt.Sprintf(`"num_hidden_layers": %d`, layers), 1) + `}`
}

// planned is the forecast of a run's bytes.
func planned(t testing.TB, budget int64, sets ...string) *forecast.Forecast {
	t.Helper()
	files := report.Files{Dataset: rows(8, 31, 17, 9)}
	j := newJob(t, files, sets...)
	cfg, err := config.Parse(j.Config, "run.json")
	if err != nil {
		t.Fatal(err)
	}
	f, err := forecast.Plan(cfg, files, forecast.Conditions{Limits: device.DefaultLimits, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A checkpointed block needs the memory of its input: 4 rows of 31 tokens of 16 numbers. A block that is not checkpointed needs
// about twelve times that.
func TestCheckpointingMemory(t *testing.T) {
	const input = 4 * 31 * 16 * 4
	grows := func(blocks string, sets ...string) float64 {
		at := func(layers int) int64 {
			return planned(t, 0, append(sets, layered(layers), checkpointing+blocks)...).Bytes["activations"]
		}
		return float64(at(12)-at(4)) / 8 / input
	}
	for _, sets := range [][]string{{full}, {lora, dropout}} {
		if n := grows("true", sets...); n < 0.9 || n > 1.1 {
			t.Errorf("%v: a checkpointed block takes %.2f times its input", sets, n)
		}
		if n := grows("false", sets...); n < 5 {
			t.Errorf("%v: a block takes %.2f times its input", sets, n)
		}
	}
	all, some, none := planned(t, 0, full, layered(8), checkpointing+"true"), planned(t, 0, full, layered(8), checkpointing+"3"), planned(t, 0, full, layered(8))
	if a, s, n := all.Bytes["activations"], some.Bytes["activations"], none.Bytes["activations"]; !(a < s && s < n) || all.Recomputed != 8 || some.Recomputed != 3 {
		t.Errorf("%d bytes with all, %d with some, %d without", a, s, n)
	}
}

// "auto" checkpoints as few blocks as the budget needs, reports how many, and fails if all blocks are too few.
func TestCheckpointingAuto(t *testing.T) {
	sets := []string{full, layered(8), checkpointing + `"auto"`}
	none, all := planned(t, 0, sets...), planned(t, 0, full, layered(8), checkpointing+"true")
	if none.Recomputed != 0 {
		t.Errorf("%d blocks without a budget", none.Recomputed)
	}
	budget := (none.Bytes["total"] + all.Bytes["total"]) / 2
	f := planned(t, budget, sets...)
	if f.Recomputed < 1 || f.Recomputed > 7 || f.Bytes["total"] > budget || !f.Fits {
		t.Errorf("%d blocks and %d bytes for a budget of %d", f.Recomputed, f.Bytes["total"], budget)
	}
	if fewer := planned(t, 0, full, layered(8), fmt.Sprintf("%s%d", checkpointing, f.Recomputed-1)); fewer.Bytes["total"] <= budget {
		t.Errorf("%d blocks would do", fewer.Recomputed)
	}
	if f := planned(t, all.Bytes["total"]-1, sets...); f.Fits || f.Recomputed != 8 {
		t.Errorf("%d blocks fit below what all need", f.Recomputed)
	}
	j := newJob(t, report.Files{Dataset: rows(8, 31, 17, 9)}, sets...)
	j.Budget = budget
	h := must(t, j)
	for _, m := range h.sent {
		if want := fmt.Sprintf(`"gradient_checkpointing": %d`, f.Recomputed); m.Config != nil && !strings.Contains(string(m.Config), want) {
			t.Errorf("run.json does not say %s", want)
		}
	}
}
