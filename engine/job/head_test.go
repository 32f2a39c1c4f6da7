//go:build !js

package job_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/weights"
)

// onTop and between are added heads of the given settings.
func onTop(more string) string   { return `{"add": "fc", "at": "classify"` + more + `}` }
func between(more string) string { return `{"add": "fc", "at": "between"` + more + `}` }

func trainableOf(parts ...string) string { return "trainable=[" + strings.Join(parts, ", ") + "]" }

// withHead is a folder whose added head has random values only, so that no gradient is 0.
func withHead(t testing.TB, folder fstest.MapFS) fstest.MapFS {
	t.Helper()
	c, err := weights.OpenFile(folder, "head.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, specs := values(t, folder, "head.safetensors"), []weights.Spec(nil)
	for _, name := range c.Names() {
		s, _ := c.Tensor(name)
		specs = append(specs, weights.Spec{Name: name, Shape: s.Shape})
		for i := range x[name] {
			x[name][i] += 0.1 * float32((i*7+len(name))%11-5)
		}
	}
	moved := fstest.MapFS{}
	for n, f := range folder {
		moved[n] = f
	}
	moved["head.safetensors"] = &fstest.MapFile{Data: safetensors(t, specs, x, c.Files[0].Metadata)}
	return moved
}

// The gradients of an added head, and of the layers below it, agree with differences of the loss.
func TestAddedHeadGradients(t *testing.T) {
	for _, head := range []string{
		onTop(""), onTop(`, "sizes": [5], "activation": "gelu"`), onTop(`, "sizes": [7, 3], "activation": "tanh"`),
		between(""), between(`, "sizes": [5]`), between(`, "sizes": [4, 9], "activation": "relu"`),
	} {
		t.Run(head, func(t *testing.T) {
			data := labelled(three, lengths...)
			if strings.Contains(head, "between") {
				data = rows(8, 11, 9, 16)
			}
			base := report.Files{Model: tiny(t, true, true, nil), Dataset: data}
			model := withHead(t, must(t, newJob(t, base, trainableOf(head), steps(1))).folder("model"))
			files := report.Files{Model: model, Dataset: data}
			got := gradients(t, files, "all")
			own, below := map[string][]float32{}, map[string][]float32{}
			for name, g := range got {
				if strings.HasPrefix(name, "head.") {
					own[name] = g
				} else if strings.Contains(name, "norm") {
					below[name] = g
				}
			}
			if len(own) != len(values(t, model, "head.safetensors")) || len(below) != 5 {
				t.Errorf("gradients of %v", names(got))
			}
			same := func(name string) string { return name }
			evaluate := func(m fstest.MapFS) float64 { return loss(t, report.Files{Model: m, Dataset: data}) }
			differences(t, own, model, "head.safetensors", same, evaluate)
			differences(t, below, model, "model.safetensors", same, evaluate)
		})
	}
}

// An added head trains alone, with parts of the model or with an adapter. Its file has its description, it is read back, and a
// resumed run has the bits of one that was not interrupted.
func TestAddedHead(t *testing.T) {
	for _, c := range []struct {
		name, head, more string
		tied             bool
		sets             []string
	}{
		{"on top, alone", onTop(`, "sizes": [6]`), "", true, nil},
		{"on top, of an untied model", onTop(`, "sizes": [6, 5], "activation": "relu"`), "", false, nil},
		{"on top, with a block", onTop(""), `"layers:last:1"`, true, nil},
		{"on top, with all", onTop(`, "sizes": [3], "num_labels": 3`), `"all"`, true, nil},
		{"on top, beside LoRA", onTop(`, "sizes": [6]`), "", true, []string{lora}},
		{"between, alone", between(`, "sizes": [6]`), "", true, nil},
		{"between, with the head", between(""), `"lm_head"`, true, nil},
		{"between, beside LoRA and a norm", between(`, "sizes": [6], "activation": "tanh"`), `"norm"`, false, []string{lora}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := rows(8, 11, 9, 16)
			if strings.Contains(c.head, "classify") {
				data = labelled(three, lengths...)
			}
			parts := []string{c.head}
			if c.more != "" {
				parts = append(parts, c.more)
			}
			files := report.Files{Model: tiny(t, c.tied, true, nil), Dataset: data}
			sets := append(c.sets, trainableOf(parts...), steps(6), "training.save_steps=3")
			h := must(t, newJob(t, files, sets...))
			dir := "model"
			if c.sets != nil {
				dir = "adapter"
			}
			result := h.folder(dir)
			ck, err := weights.OpenFile(result, "head.safetensors")
			if err != nil {
				t.Fatal(err)
			}
			m := ck.Files[0].Metadata
			ck.Close()
			if m["kind"] != "fc" || !strings.Contains(c.head, `"at": "`+m["at"]) || m["activation"] == "" || m["order"] == "" || m["sizes"] == "" {
				t.Errorf("metadata %v", m)
			}
			evaluated := report.Files{Model: files.Model, Adapter: result, Dataset: data}
			if dir == "model" {
				evaluated.Model, evaluated.Adapter = result, nil
				var cfg struct {
					Head string   `json:"added_head"`
					Arch []string `json:"architectures"`
					Tied bool     `json:"tie_word_embeddings"`
				}
				if err := json.Unmarshal(result["config.json"].Data, &cfg); err != nil || cfg.Head != "head.safetensors" || cfg.Arch[0] != "LlamaForCausalLM" {
					t.Errorf("config.json: %+v, %v", cfg, err)
				}
				if x := values(t, result, "model.safetensors"); (x[lmHead] == nil) != cfg.Tied {
					t.Errorf("tied %v with the tensors %v", cfg.Tied, names(x))
				}
			}
			trained := loss(t, evaluated)
			again := evaluated
			if dir == "adapter" {
				again = files
				again.Adapter, again.Head = result, result
			}
			near(t, "continued", must(t, newJob(t, again, append(c.sets, trainableOf(parts...), steps(1), "training.per_device_train_batch_size=12")...)).losses(), []float64{trained}, 1e-6)
			if dir == "adapter" {
				evaluated.Adapter = result
				merged := must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: "merged"}},
					Files: evaluated, Host: newHost(), Open: reference}).folder("")
				near(t, "merged", []float64{loss(t, report.Files{Model: merged, Dataset: data})}, []float64{trained}, 1e-5)
			}
			resumed := files
			resumed.Resume = h.folder("checkpoint-3")
			r := must(t, newJob(t, resumed, sets...))
			sameFiles(t, r, h, dir+"/")
			sameFiles(t, r, h, "checkpoint-6/")
		})
	}
}

// A head between trunk and output head changes nothing at first: the first loss is the base model's.
func TestHeadBetweenStartsAsBase(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16)}
	h := must(t, newJob(t, files, trainableOf(between(`, "sizes": [6, 4]`)), steps(3)))
	near(t, "first loss", h.losses()[:1], []float64{loss(t, files)}, 1e-6)
	if slices.Equal(h.losses()[:1], h.losses()[2:]) {
		t.Error("it learns nothing")
	}
}

// A head starts from a file of any name, or from a folder.
func TestHeadInit(t *testing.T) {
	data := labelled(three, lengths...)
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: data}
	model := must(t, newJob(t, files, trainableOf(onTop(`, "sizes": [6]`)))).folder("model")
	want := []float64{loss(t, report.Files{Model: model, Dataset: data})}
	for name, init := range map[string]fstest.MapFS{"folder": model, "file": {"mine.safetensors": model["head.safetensors"]}} {
		files.Head = init
		set := trainableOf(onTop(`, "sizes": [6], "init": "x"`))
		near(t, name, must(t, newJob(t, files, set, steps(1), "training.per_device_train_batch_size=12")).losses(), want, 1e-6)
		mustFail(t, newJob(t, files, trainableOf(onTop(`, "sizes": [5], "init": "x"`))), "head", 2, "(6, 16)")
		mustFail(t, newJob(t, files, trainableOf(onTop(`, "sizes": [6], "activation": "tanh", "init": "x"`))), "head", 2, "tanh")
		mustFail(t, newJob(t, files, trainableOf(onTop(`, "sizes": [6], "num_labels": 2, "init": "x"`))), "data", 2, "3 different labels")
	}
}

func TestHeadRefused(t *testing.T) {
	data := labelled(three, lengths...)
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: data}
	mustFail(t, newJob(t, files, trainableOf(onTop(""), between(""))), "config", 2, "trainable[1]", "another added head")
	mustFail(t, newJob(t, files, trainableOf(onTop(""), `"score"`)), "config", 2, "trainable[1]", "classification head")
	must(t, newJob(t, files, trainableOf(onTop(""), onTop("")), steps(1))) // one head, named twice
	model := must(t, newJob(t, files, trainableOf(onTop("")), steps(1))).folder("model")
	mustFail(t, newJob(t, report.Files{Model: model, Dataset: data}, trainableOf(onTop(`, "sizes": [9]`))), "head", 2, "sizes")
	for key, value := range map[string]string{"at": "above", "activation": "swish", "sizes": "[-1]", "num_labels": "many", "kind": "conv"} {
		broken := fstest.MapFS{}
		for n, f := range model {
			broken[n] = f
		}
		c, err := weights.OpenFile(model, "head.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		var specs []weights.Spec
		for _, n := range c.Names() {
			s, _ := c.Tensor(n)
			specs = append(specs, weights.Spec{Name: n, Shape: s.Shape})
		}
		m := map[string]string{}
		for k, v := range c.Files[0].Metadata {
			if k != "format" {
				m[k] = v
			}
		}
		c.Close()
		m[key] = value
		broken["head.safetensors"] = &fstest.MapFile{Data: safetensors(t, specs, values(t, model, "head.safetensors"), m)}
		h := newHost()
		mustFail(t, &job.Job{Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto"}},
			Files: report.Files{Model: broken, Dataset: data}, Host: h, Open: reference}, "head", 2, "head.safetensors", fmt.Sprint(strings.Trim(value, "[]")))
	}
}
