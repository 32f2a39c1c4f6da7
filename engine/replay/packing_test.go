package replay

import (
	"math"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/report"
)

// lossOf is the sum of the losses of one micro-batch.
func lossOf(t *testing.T, st *Stepper, b *data.Batch) float64 {
	t.Helper()
	loss, err := st.LossSum([]*data.Batch{b})
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// tokenLosses are the losses of each trained token of a row, by the line of its sample and its place in it.
func tokenLosses(t *testing.T, st *Stepper, row data.Sample) map[[2]int]float64 {
	t.Helper()
	parts := row.Parts
	if parts == nil {
		parts = []data.Part{{Line: int32(row.Line)}}
	}
	losses := map[[2]int]float64{}
	b := st.Setup.BatchOf([]data.Sample{row}, st.Setup.LengthFor(len(row.IDs)))
	targets := b.Targets
	for at, target := range targets {
		if target == data.Ignore {
			continue
		}
		b.Targets = slices.Repeat([]int32{data.Ignore}, len(targets))
		b.Targets[at] = target
		part := 0
		for part+1 < len(parts) && int(parts[part+1].At) <= at {
			part++
		}
		losses[[2]int{int(parts[part].Line), at - int(parts[part].At)}] = lossOf(t, st, b)
	}
	return losses
}

// gradients are the gradients of the sum of all rows' losses, by parameter.
func gradients(t *testing.T, st *Stepper) map[string][]float64 {
	t.Helper()
	if err := st.Run(st.ClearWork()); err != nil {
		t.Fatal(err)
	}
	if err := st.Setup.Batches(st.Setup.Train, func(_ int, b *data.Batch) error {
		p, l, err := st.Program(ProgramKey{T: b.T, Gradients: true})
		if err != nil {
			return err
		}
		return st.Run(st.BatchWork(l, b, 0), device.Work{Run: p.Executable})
	}); err != nil {
		t.Fatal(err)
	}
	all := map[string][]float64{}
	for _, seg := range st.Setup.Layout.Segments {
		for _, p := range seg.Params {
			at, err := st.Mem.Find(nn.GradOf{Param: p})
			if err != nil {
				t.Fatal(err)
			}
			all[p.Name] = slices.Clone(cpu.Floats(at.Buf)[at.Off:][:at.Len])
		}
	}
	return all
}

// In a packed row each token has the loss, and all rows together have the gradients, that the samples have in rows of their
// own. That holds for every family of models, every method that packs, activations that are computed again, and 16 bits.
func TestPackedEqualsAlone(t *testing.T) {
	const packed, narrow = "dataset.packing=true", "dataset.max_length=40"
	for _, c := range []struct {
		name string
		sets []string
	}{
		{"all weights", nil},
		{"a sliding window", []string{"model.config.architectures=[\"MistralForCausalLM\"]", "model.config.model_type=mistral", "model.config.sliding_window=5"}},
		{"layers without RoPE", []string{"model.config.architectures=[\"SmolLM3ForCausalLM\"]", "model.config.model_type=smollm3", "model.config.no_rope_layers=[1, 0]"}},
		{"heads that are normalised", []string{"model.config.architectures=[\"Qwen3ForCausalLM\"]", "model.config.model_type=qwen3", "model.config.head_dim=8"}},
		{"recomputed activations", []string{"training.gradient_checkpointing=true"}},
		{"bfloat16", []string{"precision.param_dtype=bfloat16"}},
		{"label smoothing", []string{"training.label_smoothing_factor=0.1"}},
		{"LoRA", []string{"trainable=[]", `peft={"peft_type": "LORA", "r": 4, "init_lora_weights": false, "target_modules": "all-linear"}`}},
		{"prefix tuning", []string{"trainable=[]", `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`}},
		{"LLaMA-Adapter", []string{"trainable=[]", `peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			alone := newStepper(t, append(c.sets, "training.per_device_train_batch_size=1")...)
			together := newStepper(t, append(c.sets, packed, narrow, "training.per_device_train_batch_size=2")...)
			rows := together.Setup.Train.Samples
			if len(rows) != 5 || len(alone.Setup.Train.Samples) != 12 {
				t.Fatalf("%d packed rows of %d, want 5 of 12", len(rows), len(alone.Setup.Train.Samples))
			}
			want, seen := map[[2]int]float64{}, 0
			for _, row := range alone.Setup.Train.Samples {
				for at, loss := range tokenLosses(t, alone, row) {
					want[at] = loss
				}
			}
			for _, row := range rows {
				for at, got := range tokenLosses(t, together, row) {
					if loss, ok := want[at]; !ok || math.Abs(got-loss) > 1e-5*loss || loss <= 0 {
						t.Errorf("line %d, token %d: loss %v, alone %v", at[0], at[1], got, loss)
					}
					seen++
				}
			}
			if seen != len(want) || seen != alone.Setup.Train.Stats.Trained {
				t.Errorf("%d tokens have losses, want %d", seen, len(want))
			}
			compareGradients(t, gradients(t, together), gradients(t, alone))
		})
	}
}

// compareGradients compares each tensor with a tolerance relative to its largest element.
func compareGradients(t *testing.T, got, want map[string][]float64) {
	t.Helper()
	nonzero := 0
	for name, g := range got {
		largest, off := 0.0, 0.0
		for i, w := range want[name] {
			largest, off = max(largest, math.Abs(w)), max(off, math.Abs(g[i]-w))
		}
		if len(g) != len(want[name]) || off > 1e-5*largest {
			t.Errorf("the gradient of %s differs by %v, its largest element is %v", name, off, largest)
		}
		if largest > 0 {
			nonzero++
		}
	}
	if nonzero == 0 || len(got) != len(want) {
		t.Errorf("%d gradients, %d of them not zero, want %d", len(got), nonzero, len(want))
	}
}

// What a packed row cannot compute as rows of one sample do is refused with the reason.
func TestPackingRefused(t *testing.T) {
	prefix := `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`
	mistral := []string{"dataset.packing=true", "model.config.architectures=[\"MistralForCausalLM\"]", "model.config.model_type=mistral", "trainable=[]"}
	for _, c := range []struct {
		name, want string // want "" is no refusal
		sets       []string
	}{
		{"a prefix that the window hides", "block 0 attends over a window of 9 positions", append(mistral, "model.config.sliding_window=9", prefix)},
		{"a prefix within the window", "", append(mistral, "model.config.sliding_window=64", prefix)},
		{"a classifier", "a classifier reads one class", []string{"dataset.packing=true", "dataset.format=auto", "model.config.architectures=[\"LlamaForSequenceClassification\"]"}},
		{"a head over classes", "a classifier reads one class", []string{"dataset.packing=true", "dataset.format=auto", `trainable=[{"add": "fc", "at": "classify", "num_labels": 2}]`}},
	} {
		cfg, err := config.ParseWithSets([]byte(run), "run.json", c.sets)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		s, err := Prepare(cfg, files(), cpu.New().Limits())
		if err == nil {
			s.Model.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), "dataset.packing: "+c.want) || report.Failure(err).Exit != report.ExitConfig) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A packed run says how full its rows are, packs the held-out rows too, and has a fingerprint that tells which samples share a row.
func TestPackedSetup(t *testing.T) {
	prepare := func(sets ...string) *Setup {
		cfg, err := config.ParseWithSets([]byte(run), "run.json", append(sets, "training.per_device_train_batch_size=2"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Prepare(cfg, files(), cpu.New().Limits())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Model.Close)
		return s
	}
	const packs, split = "dataset.packing=true", "dataset.validation_split=0.4"
	plain, packed := prepare(split), prepare(packs, split)
	if packed.Train.Unpack().Stats != plain.Train.Stats || packed.Valid.Unpack().Stats != plain.Valid.Stats || packed.Valid.Stats.Packed == 0 {
		t.Errorf("packed %+v and %+v, unpacked %+v and %+v", packed.Train.Stats, packed.Valid.Stats, plain.Train.Stats, plain.Valid.Stats)
	}
	found := slices.IndexFunc(packed.Model.Remarks, func(r message.Remark) bool { return r.Code == "rows_packed" })
	if found < 0 || slices.ContainsFunc(plain.Model.Remarks, func(r message.Remark) bool { return r.Code == "rows_packed" }) {
		t.Fatalf("remarks %v", packed.Model.Remarks)
	}
	if got := packed.Model.Remarks[found]; got.Data["n"] != plain.Train.Stats.Rows || got.Data["rows"] != len(packed.Train.Samples) {
		t.Errorf("%s", got.Message)
	}
	if plain.Fingerprint == packed.Fingerprint || packed.Fingerprint != prepare(packs, split).Fingerprint {
		t.Errorf("fingerprints %s and %s", plain.Fingerprint, packed.Fingerprint)
	}
	for _, other := range []string{"dataset.max_length=30", "training.seed=7"} {
		if prepare(packs, split, other).Fingerprint == packed.Fingerprint {
			t.Errorf("the fingerprint is the same with %s", other)
		}
	}
}
