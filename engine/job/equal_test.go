//go:build !js

package job_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// One micro-batch of 4 rows gives the same step as four of 1 row, although the 4 rows are padded.
func TestMicroBatches(t *testing.T) {
	for _, method := range []string{full, lora} {
		files := report.Files{Model: tiny(t, false, true, nil), Dataset: rows(8, 16, 8, 16, 3, 24, 2, 31)}
		one := must(t, newJob(t, files, method))
		four := must(t, newJob(t, files, method, "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4"))
		near(t, method+" losses", four.losses(), one.losses(), 1e-5)
		near(t, method+" gradient norms", norms(four), norms(one), 1e-4)
		for i, s := range one.steps() {
			if f := four.steps()[i]; s.Tokens != f.Tokens || s.NumInputTokensSeen != f.NumInputTokensSeen {
				t.Errorf("step %d: %d tokens of %d, want %d of %d", s.Step, f.Tokens, f.NumInputTokensSeen, s.Tokens, s.NumInputTokensSeen)
			}
		}
	}
}

// The last step of an epoch takes the rows that remain.
func TestEpochs(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11, 12, 13)}
	h := must(t, newJob(t, files, lora, steps(-1), "training.num_train_epochs=2"))
	var tokens []int
	for _, s := range h.steps() {
		tokens = append(tokens, s.Tokens)
	}
	if len(tokens) != 4 || tokens[0]+tokens[1] != 63-6 || tokens[2]+tokens[3] != 63-6 {
		t.Errorf("tokens %v, want 57 in each of two epochs of two steps", tokens)
	}
	if e := h.steps()[3].Epoch; e != 2 {
		t.Errorf("epoch %v after the last step", e)
	}
}

// The loss is the same with the adapter attached, merged into the base, and read back from its own folder.
func TestAdapterRoundTrips(t *testing.T) {
	for _, c := range []struct {
		name string
		tied bool
		sets []string
	}{
		{"q and v", true, nil},
		{"all linears", true, []string{"peft.target_modules=all-linear", "peft.use_rslora=true"}},
		{"embedding and head, tied", true, []string{`peft.target_modules=["embed_tokens", "lm_head", "down_proj"]`}},
		{"embedding alone, tied", true, []string{`peft.target_modules=["embed_tokens"]`}},
		{"embedding and head, untied", false, []string{`peft.target_modules=["embed_tokens", "lm_head"]`}},
		{"biases", false, []string{"peft.bias=lora_only"}},
		{"head saved whole, tied", true, []string{`peft.modules_to_save=["lm_head"]`}},
		{"own ranks", true, []string{`peft.rank_pattern={"v_proj": 2}`, `peft.alpha_pattern={"layers.1.self_attn.v_proj": 3}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := rows(8, 11, 9, 16)
			files := report.Files{Model: tiny(t, c.tied, true, nil), Dataset: data}
			sets := append([]string{lora, "peft.init_lora_weights=false", steps(4)}, c.sets...)
			adapter := must(t, newJob(t, files, sets...)).folder("adapter")
			attached := evaluate(t, files.Model, adapter, data)
			if base := evaluate(t, files.Model, nil, data); math.Abs(attached-base) < 1e-3 {
				t.Errorf("loss %v with the adapter, %v without", attached, base)
			}

			files.Adapter = adapter
			export := func(format string) *host {
				return must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: format}},
					Files: files, Host: newHost(), Open: reference})
			}
			near(t, "merged", []float64{evaluate(t, export("merged").folder(""), nil, data)}, []float64{attached}, 1e-5)
			if got := evaluate(t, files.Model, export("peft").folder(""), data); got != attached {
				t.Errorf("exported as PEFT: loss %v, want %v", got, attached)
			}
			near(t, "continued", must(t, newJob(t, files, append(sets, steps(1))...)).losses(), []float64{attached}, 1e-6)
		})
	}
}

// A new adapter changes nothing.
func TestNewAdapterIsBase(t *testing.T) {
	data := rows(8, 11, 9, 16)
	for _, sets := range [][]string{
		{"peft.target_modules=all-linear"},
		{`peft.target_modules=["embed_tokens", "lm_head", "q_proj"]`},
		{"peft.init_lora_weights=gaussian"},
		{`peft.modules_to_save=["embed_tokens"]`},
	} {
		files := report.Files{Model: tiny(t, true, true, nil), Dataset: data}
		first := must(t, newJob(t, files, append([]string{lora, steps(1)}, sets...)...)).losses()
		near(t, sets[0], first, []float64{evaluate(t, files.Model, nil, data)}, 1e-6)
	}
}

// Training an adapter does not change the base model's weights on the device.
func TestFrozenBase(t *testing.T) {
	base := tiny(t, true, true, nil)
	dev := newSingle()
	j := newJob(t, report.Files{Model: base, Dataset: rows(8, 11, 9, 16)}, lora, "peft.target_modules=all-linear")
	j.Open = func(device.Limits) (device.Device, error) { return dev, nil }
	must(t, j)
	c, err := weights.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	byLabel := map[string]device.Buffer{}
	for _, b := range dev.bufs {
		byLabel[b.Spec().Label] = b
	}
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		want, err := c.ReadF32(x)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := byLabel[name]
		if !ok {
			t.Errorf("%s has no buffer of its own", name)
			continue
		}
		for i, v := range cpu.Floats(b) {
			if float32(v) != want.Data[i] {
				t.Errorf("%s[%d] is %v, was %v", name, i, v, want.Data[i])
				break
			}
		}
	}
	if u := dev.Usage().Total(); u != 0 {
		t.Errorf("%d bytes were not given back", u)
	}
}

// A base model in bfloat16 computes the same as its values in float32.
func TestBF16Base(t *testing.T) {
	rounded := func(_ string, s tensor.Shape, x []float32) tensor.Shape {
		for i, v := range x {
			x[i] = tensor.F32FromBF16(tensor.BF16FromF32(v))
		}
		return s
	}
	wide := tiny(t, true, false, rounded)
	narrow := halved(t, wide)
	for _, method := range []string{lora, full} {
		data := rows(8, 11, 9, 16)
		a := must(t, newJob(t, report.Files{Model: wide, Dataset: data}, method))
		b := must(t, newJob(t, report.Files{Model: narrow, Dataset: data}, method))
		if !slices.Equal(a.losses(), b.losses()) {
			t.Errorf("%s: losses %v from bfloat16, %v from float32", method, b.losses(), a.losses())
		}
		sb, sa := b.summary(t).Allocated["weights"], a.summary(t).Allocated["weights"]
		if method == lora && sb >= sa {
			t.Errorf("the frozen bfloat16 base takes %d bytes, as float32 %d", sb, sa)
		}
	}
}

// For every way of training and every precision, the losses are near those in float32, and have the same bits when all blocks are
// checkpointed.
func TestEveryWay(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil)}
	for name, way := range settings(t, 2) {
		t.Run(name, func(t *testing.T) {
			files.Dataset = rowsFor(name, 8, 11, 9, 12)
			run := func(sets ...string) *host {
				return must(t, inHalf(newJob(t, files, append(slices.Concat(way, sets), steps(2), "training.save_steps=2")...)))
			}
			wide := run()
			for mode, sets := range map[string][]string{"float32": nil, "bfloat16": {bfloat16}, "float16": {float16}, "without masters": {bfloat16, stochastic}} {
				plain, again := run(sets...), run(append(sets, checkpointing+"true")...)
				near(t, mode, plain.losses(), wide.losses(), 2e-2)
				if got, want := again.losses(), plain.losses(); !slices.Equal(got, want) {
					t.Errorf("%s: losses %v with blocks computed again, want %v", mode, got, want)
				}
				for name, data := range plain.files {
					if strings.HasSuffix(name, ".safetensors") && string(again.files[name]) != string(data) {
						t.Errorf("%s: %s differs with blocks computed again", mode, name)
					}
				}
			}
		})
	}
}
