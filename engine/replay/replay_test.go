package replay

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/report"
)

// quietHost accepts messages. A test that creates a file fails.
type quietHost struct{ report.Host }

func (quietHost) Emit(...message.Envelope) {}

const run = `{
	"model": {"init": "random", "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
		"tie_word_embeddings": true, "hidden_act": "silu"}},
	"dataset": {"path": "rows.jsonl", "format": "tokens"},
	"training": {"per_device_train_batch_size": 3, "max_steps": 4, "learning_rate": 0.01},
	"trainable": ["all"]
}`

// files is a dataset of twelve rows of 4 to 26 tokens.
func files() report.Files {
	var rows strings.Builder
	for i := range 12 {
		ids := make([]int, 4+2*i)
		for j := range ids {
			ids[j] = (i*7 + j*j*3 + 1) % 40
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids})
		rows.Write(append(line, '\n'))
	}
	return report.Files{Dataset: fstest.MapFS{"rows.jsonl": &fstest.MapFile{Data: []byte(rows.String())}}}
}

// newStepper makes the stepper of the run, with some settings changed, on the reference device. Its weights are loaded.
func newStepper(t *testing.T, sets ...string) *Stepper {
	t.Helper()
	cfg, err := config.ParseWithSets([]byte(run), "run.json", sets)
	if err != nil {
		t.Fatal(err)
	}
	dev := cpu.New()
	s, err := Prepare(cfg, files(), dev.Limits())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Model.Close)
	mem, err := memory.New(dev, s.Layout, true)
	if err != nil {
		t.Fatal(err)
	}
	st, err := NewStepper(s, dev, mem, quietHost{}, nil)
	if err == nil {
		err = st.Build(quietHost{})
	}
	if err == nil {
		err = st.BuildUpdate()
	}
	if err == nil {
		err = mem.Load(s.Model, s.Model.Params(), quietHost{})
	}
	if err == nil {
		err = st.Reset(optim.FirstLossScale)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A stepper allocates what its setup has planned. The read-back buffers and the dimensions of launches belong to WebGPU: the
// reference device has neither.
func TestMemoryPlan(t *testing.T) {
	for _, sets := range [][]string{nil, {"training.gradient_checkpointing=true"}, {`peft={"peft_type": "LORA", "r": 4}`, "trainable=[]"}} {
		st := newStepper(t, sets...)
		planned, allocated := st.Setup.Memory.Usage, st.Dev.Usage()
		for kind, n := range allocated {
			if n > planned[kind] || kind < int(device.Staging) && n != planned[kind] {
				t.Errorf("%v: %d bytes of kind %d allocated, %d planned", sets, n, kind, planned[kind])
			}
		}
	}
}

// The losses of rows add up to the same sum in batches of any composition, whatever their padding.
func TestLossSum(t *testing.T) {
	st := newStepper(t)
	s := st.Setup
	sum := func(groups ...[]data.Sample) float64 {
		var batches []*data.Batch
		for _, rows := range groups {
			longest := 0
			for _, r := range rows {
				longest = max(longest, len(r.IDs))
			}
			batches = append(batches, s.BatchOf(rows, s.LengthFor(longest)))
		}
		loss, err := st.LossSum(batches)
		if err != nil {
			t.Fatal(err)
		}
		return loss
	}
	rows := s.Train.Samples[:6]
	together, alone := sum(rows[:3], rows[3:]), sum(rows[:1], rows[1:2], rows[2:3], rows[3:4], rows[4:5], rows[5:])
	mixed := sum([]data.Sample{rows[5], rows[0]}, []data.Sample{rows[2], rows[4], rows[1]}, rows[3:4])
	if math.Abs(together-alone) > 1e-5*together || math.Abs(together-mixed) > 1e-5*together || together <= 0 {
		t.Errorf("sums of losses %v, %v and %v", together, alone, mixed)
	}
}

// The loss and the gradient norm of a step do not depend on how its rows are split into micro-batches.
func TestAccumulation(t *testing.T) {
	states := make([]optim.State, 2)
	for i, groups := range [][][]int{{{0, 1, 2}, {3, 4, 5}}, {{5, 1}, {3, 0, 4}, {2}}} {
		st := newStepper(t)
		s := st.Setup
		var batches []*data.Batch
		tokens := 0
		for _, rows := range groups {
			samples, err := s.Train.Pick(rows)
			if err != nil {
				t.Fatal(err)
			}
			b := s.BatchOf(samples, s.Longest())
			batches, tokens = append(batches, b), tokens+b.Tokens
		}
		pending, err := st.Submit(batches, StepInput{Scalars: []optim.Scalars{{LR: 0.01, Tokens: tokens, Step: 1, Beta1: 0.9, Beta2: 0.999}}})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := pending.Wait()
		if err == nil {
			states[i], err = optim.DecodeState(raw[:4*optim.NumState])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a, b := states[0], states[1]
	if !a.Applied || !b.Applied || math.Abs(a.LossSum-b.LossSum) > 1e-5*a.LossSum || math.Abs(a.Norm-b.Norm) > 1e-5*a.Norm || a.Norm == 0 {
		t.Errorf("the steps are %+v and %+v", a, b)
	}
}

// A text that is read token by token has the logits of the same text read at once, and their cross-entropy is the loss that a
// training batch has.
func TestText(t *testing.T) {
	st := newStepper(t)
	row := st.Setup.Train.Samples[5]
	loss, err := st.LossSum([]*data.Batch{st.Setup.BatchOf([]data.Sample{row}, st.Setup.LengthFor(len(row.IDs)))})
	if err != nil {
		t.Fatal(err)
	}
	s, err := st.Setup.ForText(len(row.IDs))
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := NewStepper(s, st.Dev, st.Mem, quietHost{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Free()
	var ids []int
	for _, id := range row.IDs {
		ids = append(ids, int(id))
	}
	read := func(groups ...[]int) (logits [][]float64) {
		text, err := NewText(decoder)
		if err != nil {
			t.Fatal(err)
		}
		defer text.Free()
		for _, g := range groups {
			l, err := text.Read(g)
			if err != nil {
				t.Fatal(err)
			}
			logits = append(logits, l)
		}
		return logits
	}
	each := read(slices.Collect(slices.Chunk(ids, 1))...)
	if once := read(ids); !slices.Equal(once[0], each[len(each)-1]) {
		t.Error("the logits of a text depend on how it is split")
	}
	sum := 0.0
	for i, next := range ids[1:] {
		total := 0.0
		for _, l := range each[i] {
			total += math.Exp(l)
		}
		sum += math.Log(total) - each[i][next]
	}
	if math.Abs(sum-loss) > 1e-4*loss {
		t.Errorf("the cross-entropy of the logits is %v, the loss %v", sum, loss)
	}
}

// The inspector finds nothing in a good micro-batch, and in a bad one the first tensor with a value that is not finite.
func TestInspector(t *testing.T) {
	st := newStepper(t)
	b, err := st.Setup.BatchFrom(st.Setup.Train, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := st.Inspect(ProgramKey{T: b.T, Gradients: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Free()
	first, err := p.Run(b, 1)
	if err != nil || first != nil {
		t.Fatalf("a good micro-batch: %v, %v", first, err)
	}
	const name = "model.layers.1.mlp.up_proj"
	for _, param := range st.Setup.Model.Params() {
		if param.Name == name+".weight" {
			at, err := st.Mem.Find(param)
			if err != nil {
				t.Fatal(err)
			}
			cpu.Floats(at.Buf)[at.Off+7] = math.Inf(1)
		}
	}
	if first, err = p.Run(b, 1); err != nil || first == nil {
		t.Fatalf("a bad micro-batch: %v, %v", first, err)
	}
	if tensor, unit := NameOf(*first); tensor != "the output of "+name || unit != "block 1" {
		t.Errorf("the first tensor that is not finite is %s of %s", tensor, unit)
	}
}

// Row lengths are rounded up, to few lengths, and never above the longest row.
func TestBucket(t *testing.T) {
	const longest = 1000
	lengths := map[int]bool{}
	for T := 1; T <= longest; T++ {
		b := bucket(T, longest)
		if b < T || b > longest || b != longest && (b%8 != 0 || float64(b-T) >= max(8, float64(T)/8)) || b < bucket(T-1, longest) {
			t.Fatalf("%d tokens are padded to %d", T, b)
		}
		lengths[b] = true
	}
	if len(lengths) > 8*7 {
		t.Errorf("%d lengths", len(lengths))
	}
}

// The seed of dropout masks depends on the run's seed, the step and the micro-batch.
func TestMaskSeed(t *testing.T) {
	seen := map[uint64]string{}
	for seed := range uint64(3) {
		for step := range 20 {
			for micro := range 5 {
				at := fmt.Sprint(seed, step, micro)
				if before, ok := seen[MaskSeed(seed, step, micro)]; ok {
					t.Errorf("%s and %s have one seed", before, at)
				}
				seen[MaskSeed(seed, step, micro)] = at
			}
		}
	}
	if first, again := MaskSeed(1, 2, 3), MaskSeed(1, 2, 3); first != again {
		t.Errorf("the seed of one micro-batch is %d and then %d", first, again)
	}
}

// Sampling follows temperature, top k and top p, and repeats with its seed.
func TestTokenSampler(t *testing.T) {
	logits := []float64{1, 3, 3, 2, -5}
	count := func(g message.GenerateJob) (n [5]int) {
		s := NewTokenSampler(&g)
		for range 4000 {
			id, err := s.Pick(logits)
			if err != nil {
				t.Fatal(err)
			}
			n[id]++
		}
		return n
	}
	if n := count(message.GenerateJob{TopP: 1}); n != [5]int{1: 4000} {
		t.Errorf("temperature 0 picks %v, want the lower of the two highest", n)
	}
	n := count(message.GenerateJob{Temperature: 1, TopP: 1, Seed: 5})
	total := math.Exp(1) + 2*math.Exp(3) + math.Exp(2) + math.Exp(-5)
	for id, l := range logits {
		if p := math.Exp(l) / total; math.Abs(float64(n[id])/4000-p) > 0.03 {
			t.Errorf("token %d of probability %.3f is picked %d times of 4000", id, p, n[id])
		}
	}
	if n != count(message.GenerateJob{Temperature: 1, TopP: 1, Seed: 5}) || n == count(message.GenerateJob{Temperature: 1, TopP: 1, Seed: 6}) {
		t.Error("the picks are not a function of the seed")
	}
	if n := count(message.GenerateJob{Temperature: 1, TopP: 1, TopK: 3}); n[0] > 0 || n[4] > 0 || n[3] == 0 {
		t.Errorf("top_k 3 picks %v", n)
	}
	if n := count(message.GenerateJob{Temperature: 1, TopP: 0.5}); n[0] > 0 || n[3] > 0 || n[4] > 0 || n[1] == 0 || n[2] == 0 {
		t.Errorf("top_p 0.5 picks %v", n)
	}
	if _, err := NewTokenSampler(&message.GenerateJob{TopP: 1}).Pick([]float64{1, math.NaN()}); err == nil {
		t.Error("a logit that is not a number is picked")
	}
}
