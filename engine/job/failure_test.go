//go:build !js

package job_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/job"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
)

func TestBadInput(t *testing.T) {
	const victim = "model.layers.1.mlp.up_proj.weight"
	good, data := tiny(t, true, false, nil), rows(8, 8)
	edited := func(old, new string) fstest.MapFS {
		m := tiny(t, true, false, nil)
		m["config.json"].Data = bytes.Replace(m["config.json"].Data, []byte(old), []byte(new), 1)
		return m
	}
	set := func(v float64) func(string, tensor.Shape, []float32) tensor.Shape {
		return func(name string, s tensor.Shape, x []float32) tensor.Shape {
			if name == victim {
				x[3] = float32(v)
			}
			return s
		}
	}
	truncated := tiny(t, true, false, nil)
	truncated["model.safetensors"].Data = truncated["model.safetensors"].Data[:5000]
	for _, c := range []struct {
		name           string
		model, dataset fstest.MapFS
		code           string
		exit           int
		parts          []string
	}{
		{"NaN in the weights", tiny(t, true, false, set(math.NaN())), data, "weights", 1, []string{victim, "element 3", "finite"}},
		{"infinity in the weights", tiny(t, true, false, set(math.Inf(-1))), data, "weights", 1, []string{victim, "element 3", "finite"}},
		{"truncated weights", truncated, data, "model", 2, []string{"model.safetensors"}},
		{"wrong shape", tiny(t, true, false, func(name string, s tensor.Shape, _ []float32) tensor.Shape {
			if name == victim {
				return tensor.Of(10, 32)
			}
			return s
		}), data, "model", 2, []string{victim, "(10, 32)", "(20, 16)"}},
		{"weights of another shape of model", edited(`"num_hidden_layers": 2`, `"num_hidden_layers": 3`), data, "model", 2, []string{"model.layers.2.", "missing"}},
		{"weights left over", edited(`"num_hidden_layers": 2`, `"num_hidden_layers": 1`), data, "model", 2, []string{victim, "not part of"}},
		{"unknown architecture", edited("LlamaForCausalLM", "MambaForCausalLM"), data, "model", 2, []string{"MambaForCausalLM"}},
		{"no weights", fstest.MapFS{"config.json": good["config.json"]}, data, "model", 2, []string{"model.safetensors"}},
		{"no config", fstest.MapFS{"model.safetensors": good["model.safetensors"]}, data, "model", 2, []string{"config.json"}},
		{"no dataset", good, nil, "data", 2, []string{"no dataset"}},
		{"empty dataset", good, lines(""), "data", 2, []string{"data.jsonl", "no rows"}},
		{"one token", good, rows(1), "data", 2, []string{"data.jsonl", "nothing to train on"}},
		{"no trained token", good, lines(`{"input_ids": [1, 2], "labels": [-100, -100]}`), "data", 2, []string{"nothing to train on"}},
		{"row longer than the context", good, rows(8, 33), "data", 2, []string{"line 2", "33", "32"}},
		{"id outside the vocabulary", good, lines(`{"input_ids": [1, 37]}`), "data", 2, []string{"line 1", "id 37", "37"}},
		{"text without a tokenizer", good, lines(`{"text": "hello"}`), "data", 2, []string{"line 1", "tokenizer"}},
		{"not JSON", good, lines("{\"input_ids\": [1, 2]}\n{"), "data", 2, []string{"line 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := report.Files{Model: c.model}
			if c.dataset != nil {
				files.Dataset = c.dataset
			}
			mustFail(t, newJob(t, files, full), c.code, c.exit, c.parts...)
		})
	}
}

func TestBadAdapterAndResume(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}
	h := must(t, newJob(t, files, lora, "training.save_steps=2", steps(4)))
	adapter, checkpoint := h.folder("adapter"), h.folder("checkpoint-2")
	without := func(m fstest.MapFS, name string) fstest.MapFS {
		c := fstest.MapFS{}
		for n, f := range m {
			if n != name {
				c[n] = f
			}
		}
		return c
	}
	const tensors = "adapter_model.safetensors"
	pickled := without(adapter, tensors)
	pickled["adapter_model.bin"] = &fstest.MapFile{Data: []byte("x")}
	for _, c := range []struct {
		name            string
		adapter, resume fstest.MapFS
		sets            []string
		code            string
		parts           []string
	}{
		{"adapter of another rank", adapter, nil, []string{"peft.r=5"}, "adapter", []string{"init_adapter", "r"}},
		{"adapter without tensors", without(adapter, tensors), nil, nil, "adapter", []string{tensors}},
		{"pickled adapter", pickled, nil, nil, "adapter", []string{"pickled", "safe_serialization"}},
		{"adapter without configuration", without(adapter, "adapter_config.json"), nil, nil, "adapter", []string{"adapter_config.json"}},
		{"resume with another seed", nil, checkpoint, []string{"training.seed=7"}, "resume", []string{"seed", "7", "42"}},
		{"resume of a finished run", nil, checkpoint, []string{steps(2)}, "resume", []string{"2 steps", "ends at 2"}},
		{"resume without optimizer", nil, without(checkpoint, "optimizer.safetensors"), nil, "resume", []string{"optimizer.safetensors"}},
		{"resume without state", nil, without(checkpoint, "trainer_state.json"), nil, "resume", []string{"trainer_state.json"}},
		{"no such module", nil, nil, []string{`peft.target_modules=["query"]`}, "peft", []string{"query", "model.layers.0.self_attn.q_proj"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := files
			if c.adapter != nil {
				f.Adapter = c.adapter
			}
			if c.resume != nil {
				f.Resume = c.resume
			}
			mustFail(t, newJob(t, f, append([]string{lora, steps(4)}, c.sets...)...), c.code, 2, c.parts...)
		})
	}
}

// Steps that are not finite change nothing, and each is reported.
func TestNonfiniteStep(t *testing.T) {
	files := report.Files{Model: tiny(t, false, false, nil), Dataset: rows(8, 8, 8, 8)}
	poisoned := func(sets ...string) *job.Job {
		j := newJob(t, files, append(sets, full, steps(3))...)
		dev := newSingle()
		dev.poison = func(int) bool { return true }
		j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
		return j
	}
	h := must(t, poisoned())
	events := h.events("nonfinite_step_skipped")
	if len(events) != 3 || events[0].Step != 1 || events[0].Data["rows"] == nil {
		t.Errorf("%d events of 3: %+v", len(events), events)
	}
	before, after := files.Model.(fstest.MapFS)["model.safetensors"].Data, h.files["model/model.safetensors"]
	if !bytes.Equal(before, after) {
		t.Error("a step that was not finite changed the weights")
	}
	mustFail(t, poisoned("training.on_nonfinite=stop"), "nonfinite", 1, "step 1")
}

// A skipped step changes neither the weights nor the moments nor the number of updates in their bias correction.
func TestSkippedStepChangesNothing(t *testing.T) {
	run := func(poison func(int) bool, data string) *host {
		j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: lines(data)}, full, "dataset.shuffle=false", steps(-1),
			"training.per_device_train_batch_size=1", "training.lr_scheduler_type=constant", "training.save_steps=100")
		dev := newSingle()
		dev.poison = poison
		j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
		return must(t, j)
	}
	const a, b, c = "{\"input_ids\": [1, 2, 3, 4]}\n", "{\"input_ids\": [5, 6, 7, 8]}\n", "{\"input_ids\": [9, 10, 11, 12]}\n"
	skipped := run(func(step int) bool { return step == 2 }, a+b+c+a)
	without := run(nil, a+c+a)
	sameFiles(t, skipped, without, "model/")
	if !bytes.Equal(skipped.files["checkpoint-4/optimizer.safetensors"], without.files["checkpoint-3/optimizer.safetensors"]) {
		t.Error("the moments differ")
	}
	got := slices.Delete(skipped.losses(), 1, 2)
	if !slices.Equal(got, without.losses()) {
		t.Errorf("losses %v, want %v", got, without.losses())
	}
}

// A run that does not fit is refused before anything is allocated, and the advice makes it fit.
func TestDoesNotFit(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(32, 32, 32, 32)}
	planned := must(t, newJob(t, files, full)).summary(t).Planned["total"]

	j := newJob(t, files, full)
	j.Budget = planned - 1
	j.Open = func(device.Limits) (device.Device, error) { return nil, errors.New("opened in vain") }
	f := mustFail(t, j, "does_not_fit", 1, "memory", "too much")
	if len(f.Choices) == 0 || !f.Choices[0].Fits || f.Choices[0].Text != f.Next {
		t.Errorf("choices %+v", f.Choices)
	}
	if !strings.Contains(f.Next, "training.gradient_checkpointing true") {
		t.Errorf("advice %q", f.Next)
	}
	j = newJob(t, files, full, checkpointing+"true")
	j.Budget = planned - 1
	must(t, j)

	limits := device.DefaultLimits
	limits.MaxBuffer = 2048
	dev := &single{Device: cpu.WithLimits(limits)}
	j = newJob(t, files, full)
	j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
	mustFail(t, j, "does_not_fit", 1, "one buffer")
	if dev.peak != 0 {
		t.Errorf("%d bytes were allocated", dev.peak)
	}
}

func TestNoAdapter(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8)}, full)
	j.Open = func(device.Limits) (device.Device, error) { return nil, errors.New("no WebGPU here") }
	mustFail(t, j, "no_adapter", 3, "no WebGPU here")
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8)}, full)
	if err := job.Run(ctx, j); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if h := j.Host.(*host); len(h.files) > 0 || h.sent[len(h.sent)-1].Failed == nil {
		t.Error("a cancelled run left files, or did not say that it failed")
	}
}

// Without room for a checkpoint the oldest one is removed. The last one stays, and the run goes on and reports once how many bytes
// it needs.
func TestNoRoom(t *testing.T) {
	for room, want := range map[int]string{2: "[checkpoint-5 checkpoint-6]", 1: "[checkpoint-1]", 0: "[]"} {
		h := newHost()
		saved := func() (all []string) {
			for name := range h.files {
				if dir, file, _ := strings.Cut(name, "/"); file == "trainer_state.json" {
					all = append(all, dir)
				}
			}
			slices.Sort(all)
			return all
		}
		h.refuse = func(path string) error {
			if strings.HasPrefix(path, "checkpoint-") && len(saved()) >= room {
				return &report.NoRoom{Bytes: 1234, Err: errors.New("the quota is exceeded")}
			}
			return nil
		}
		j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}, lora, steps(6), "training.save_steps=1")
		j.Host = h
		if err := job.Run(context.Background(), j); err != nil {
			t.Fatalf("room for %d: %v", room, err)
		}
		told := 0
		for _, m := range h.sent {
			if m.Event != nil && m.Event.Code == "storage_full" {
				if told++; m.Event.Data["bytes"] != int64(1234) {
					t.Errorf("the event says %v", m.Event.Data)
				}
			}
			if m.Done != nil && len(m.Done.Files) != 1+len(saved()) {
				t.Errorf("room for %d: the run says that it left %v", room, m.Done.Files)
			}
		}
		if got := fmt.Sprint(saved()); got != want || told != map[bool]int{true: 0, false: 1}[room == 2] {
			t.Errorf("room for %d: there are %s, told %d times, want %s", room, got, told, want)
		}
		if len(h.folder("adapter")) == 0 {
			t.Errorf("room for %d: the result is not there", room)
		}
	}
}
