//go:build !js

package job_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/report"
)

// stages is the setting unfreeze with these entries at these steps.
func stages(list ...any) string {
	var all []string
	for i := 0; i < len(list); i += 2 {
		all = append(all, fmt.Sprintf(`{"step": %v, "trainable": %v}`, list[i], list[i+1]))
	}
	return "unfreeze=[" + strings.Join(all, ", ") + "]"
}

// A run that unfreezes everything at once has the bits of full fine-tuning.
func TestUnfreezeAllAtOnce(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16)}
	want := must(t, newJob(t, files, full))
	got := must(t, newJob(t, files, stages(0, `["all"]`)))
	sameFiles(t, got, want, "model/")
	if !slices.Equal(got.losses(), want.losses()) || !slices.Equal(norms(got), norms(want)) {
		t.Errorf("losses %v and norms %v, want %v and %v", got.losses(), norms(got), want.losses(), norms(want))
	}
}

// Parameters that do not train yet keep their bits. Metrics and events name what trains.
func TestUnfreeze(t *testing.T) {
	model := tiny(t, true, true, nil)
	files := report.Files{Model: model, Dataset: rows(8, 11, 9, 16)}
	unfreeze := stages(0, `["norm"]`, 2, `["norm", "layers:last:1"]`, 4, `["all"]`)
	before := values(t, model, "model.safetensors")
	for n, frozen := range map[int]func(name string) bool{
		2: func(name string) bool { return name != lastNorm },
		4: func(name string) bool { return name != lastNorm && !strings.Contains(name, "layers.1.") },
		6: func(string) bool { return false },
	} {
		h := must(t, newJob(t, files, unfreeze, steps(n), "training.lr_scheduler_type=constant"))
		for name, x := range values(t, h.folder("model"), "model.safetensors") {
			if same := slices.Equal(x, before[name]); same != frozen(name) {
				t.Errorf("after %d steps %s is as it was: %v, want %v", n, name, same, frozen(name))
			}
		}
		if n < 6 {
			continue
		}
		var stage []int
		for _, s := range h.steps() {
			stage = append(stage, s.Stage)
		}
		all := h.summary(t).Trainable
		if s := h.steps(); !slices.Equal(stage, []int{1, 1, 2, 2, 3, 3}) || s[1].Trainable != 16 || s[2].Trainable <= 16 || s[5].Trainable != all {
			t.Errorf("stages %v; %d, %d and %d parameters of %d", stage, s[1].Trainable, s[2].Trainable, s[5].Trainable, all)
		}
		if e := h.events("unfrozen"); len(e) != 2 || e[0].Step != 2 || e[1].Step != 4 {
			t.Errorf("events %+v", e)
		}
		s := h.summary(t)
		for _, class := range []string{"weights", "gradients", "optimizer", "activations", "staging"} {
			if p, a := s.Planned[class], s.Allocated[class]; class != "staging" && p != a || a > p {
				t.Errorf("%s: planned %d bytes, allocated %d", class, p, a)
			}
		}
	}
}

// A run that is resumed before, at or after the start of a stage has the bits of one that was not interrupted.
func TestUnfreezeResume(t *testing.T) {
	for _, sets := range [][]string{
		{stages(0, `["norm"]`, 3, `["norm", "layers:last:1"]`, 4, `["all"]`)},
		{stages(0, `["lm_head"]`, 3, `["lm_head", "all"]`), "training.layer_lr_decay=0.5", `training.no_decay=["norm"]`},
		{lora, dropout, stages(2, `["norm"]`, 4, `["norm", "layers:first:1"]`)},
	} {
		files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16, 13)}
		sets = append(sets, steps(7), "training.save_steps=1", "training.save_total_limit=0", "training.per_device_train_batch_size=2")
		through := must(t, newJob(t, files, sets...))
		for _, from := range []int{2, 3, 4, 5} {
			files.Resume = through.folder(fmt.Sprintf("checkpoint-%d", from))
			resumed := must(t, newJob(t, files, sets...))
			sameFiles(t, resumed, through, "checkpoint-7/")
			if got, want := resumed.losses(), through.losses()[from:]; !slices.Equal(got, want) {
				t.Errorf("%v from %d: losses %v, want %v", sets, from, got, want)
			}
		}
	}
}

// A skipped step changes no parameter, whichever stage it began to train in: bias correction counts the updates of a tensor.
func TestUnfreezeSkips(t *testing.T) {
	run := func(border, poisoned int, data string) *host {
		j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: lines(data)}, stages(0, `["norm"]`, border, `["all"]`), "dataset.shuffle=false", steps(-1),
			"training.per_device_train_batch_size=1", "training.lr_scheduler_type=constant", "training.save_steps=100")
		dev := newSingle()
		dev.poison = func(step int) bool { return step == poisoned }
		j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
		return must(t, j)
	}
	const a, b, c = "{\"input_ids\": [1, 2, 3, 4]}\n", "{\"input_ids\": [5, 6, 7, 8]}\n", "{\"input_ids\": [9, 10, 11, 12]}\n"
	for name, skipped := range map[string]*host{
		"before the border": run(3, 2, a+b+c+a+c+b), "the last before it": run(3, 3, a+c+b+a+c+b),
		"the first after it": run(2, 3, a+c+b+a+c+b), "the second after it": run(2, 4, a+c+a+b+c+b),
	} {
		without := run(2, 0, a+c+a+c+b)
		sameFiles(t, skipped, without, "model/")
		if !bytes.Equal(skipped.files["checkpoint-6/optimizer.safetensors"], without.files["checkpoint-5/optimizer.safetensors"]) {
			t.Errorf("%s: the moments differ", name)
		}
	}
}

func TestUnfreezeRefused(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8)}
	f := mustFail(t, newJob(t, files, stages(0, `["norm"]`, 2, `["layers:last:1"]`)), "config", 2, "unfreeze[1].trainable", lastNorm)
	if f.Path != "unfreeze[1].trainable" {
		t.Errorf("the error is about %q", f.Path)
	}
	mustFail(t, newJob(t, files, stages(0, `["norm"]`, 2, `["norm", "layers:7"]`)), "config", 2, "unfreeze[1].trainable[1]", "layer 7")
}

// The block d below the top has the learning rate factor γ^d. The first update of Adam shows it, because it moves every parameter
// by the learning rate.
func TestLayerLRDecay(t *testing.T) {
	const lr, gamma = 1e-3, 0.5
	model := tiny(t, true, true, nil)
	before := values(t, model, "model.safetensors")
	h := must(t, newJob(t, report.Files{Model: model, Dataset: rows(8, 11, 9, 16)}, full, steps(1), fmt.Sprintf("training.learning_rate=%v", lr),
		"training.lr_scheduler_type=constant", "training.weight_decay=0", fmt.Sprintf("training.layer_lr_decay=%v", gamma)))
	for name, x := range values(t, h.folder("model"), "model.safetensors") {
		want := float64(lr)
		switch {
		case strings.Contains(name, "layers.0."):
			want *= gamma
		case name == embedding:
			want *= gamma * gamma
		}
		most := 0.0
		for i := range x {
			most = max(most, float64(x[i]-before[name][i]), float64(before[name][i]-x[i]))
		}
		near(t, name+" moved", []float64{most / want}, []float64{1}, 1e-3)
	}
}
