package rank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/fsdp"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/train"
)

// quietHost accepts messages and has no folders.
type quietHost struct{}

func (quietHost) Emit(...message.Envelope)   {}
func (quietHost) Control() message.Control   { return "" }
func (quietHost) Commit(string) error        { return nil }
func (quietHost) Remove(string) error        { return nil }
func (quietHost) Open(string) (fs.FS, error) { return nil, fs.ErrNotExist }
func (quietHost) Create(string) (io.WriteCloser, error) {
	return nil, errors.New("this host has no folders")
}

// run is a run over tabs of a small model whose head is tied to its embedding.
const run = `{
	"model": {"init": "random", "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
		"tie_word_embeddings": true, "hidden_act": "silu"}},
	"dataset": {"path": "rows.jsonl", "format": "tokens"},
	"training": {"per_device_train_batch_size": 2, "max_steps": 6, "learning_rate": 0.01},
	"trainable": ["all"],
	"fsdp": {"slots": 4, "sharding_strategy": "FULL_SHARD", "world_size": 3}
}`

// prepare reads the run with some settings changed.
func prepare(t *testing.T, sets ...string) (*config.Config, report.Files) {
	t.Helper()
	cfg, err := config.ParseWithSets([]byte(run), "run.json", sets)
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for i := range 23 {
		ids := make([]int, 5+i%9)
		for j := range ids {
			ids[j] = (i*7 + j*j*3 + 1) % 40
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids})
		rows.Write(append(line, '\n'))
	}
	return cfg, report.Files{Dataset: fstest.MapFS{"rows.jsonl": &fstest.MapFile{Data: []byte(rows.String())}}}
}

// newRank makes both sides of a rank that owns all shards, before the first step.
func newRank(t *testing.T, sets ...string) (*communicator, *computer) {
	t.Helper()
	cfg, files := prepare(t, sets...)
	described, _, err := NewRun("run", cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	dev := cpu.New()
	setup, err := replay.Prepare(cfg, files, dev.Limits())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(setup.Model.Close)
	loop, err := train.NewLoop(setup, cfg, dev, train.Options{Host: quietHost{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loop.Close)
	c, err := newCommunicator(loop, Room{Job: &message.RoomJob{}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(described)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.checkRun(fsdp.Welcome{Run: raw}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	d, err := newComputer(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { d.work(); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	if setup.Shared != nil {
		c.arrivals = &arrivals{c: c, wanted: map[int]*image{}}
	}
	c.worker = fsdp.NewWorker(c.run, c.table, c, c)
	for i := range c.table.Shards {
		c.Init(i)
	}
	return c, d
}

// await calls replies until done reports true.
func (c *communicator) await(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for !done() {
		select {
		case r := <-c.replies:
			r(c)
		case err := <-c.failed:
			t.Fatal(err)
		case <-deadline:
			t.Fatal("the computer does not reply")
		}
	}
}

// slotGradient is the loss of a slot of the first step and the bits of its gradient, parameter by parameter.
func slotGradient(t *testing.T, c *communicator, slot int) (loss float64, gradient []byte) {
	t.Helper()
	var segments []device.Bytes
	ready := false
	all := make([]int, c.table.Shards)
	for i := range all {
		all[i] = i
	}
	c.tasks <- func(d *computer) (reply, error) {
		d.own(all)
		r := fsdp.Ready{Work: fsdp.Work{Slot: slot}}
		g, err := d.computeSlot(&r, nil)
		return func(*communicator) { loss, segments, ready = r.Loss, g, true }, err
	}
	c.await(t, func() bool { return ready })
	last := c.places[len(c.places)-1]
	for _, b := range c.places.cut(segments, c.run.Reduce().Size(), 0, last.flat+last.n) {
		gradient = append(gradient, b.Go()...)
	}
	return loss, gradient
}

// sameGradient compares gradients of type d. In float32 they may differ by the rounding of a part: the reference device
// adds in float64, and the part of a tied embedding's gradient that is read and written back is rounded to float32.
func sameGradient(got, want []byte, d tensor.DType) bool {
	if d != tensor.F32 || len(got) != len(want) {
		return bytes.Equal(got, want)
	}
	x, y := make([]float32, len(got)/4), make([]float32, len(want)/4)
	if tensor.DecodeF32(x, got, d) != nil || tensor.DecodeF32(y, want, d) != nil {
		return false
	}
	largest, difference := 0.0, 0.0
	for i := range x {
		largest, difference = max(largest, math.Abs(float64(y[i]))), max(difference, math.Abs(float64(x[i])-float64(y[i])))
	}
	return difference <= 0x1p-23*largest
}

// A slot has the same loss and the same gradient, whether its parameters are gathered unit by unit or are all on the device.
// The tied head adds to the gradient of the embedding a second time.
func TestGatheredGradient(t *testing.T) {
	for _, reduce := range []string{"float32", "bfloat16"} {
		dtype := `precision.reduce_dtype="` + reduce + `"`
		whole, _ := newRank(t, `fsdp.sharding_strategy="NO_SHARD"`, dtype)
		for _, strategy := range []string{"FULL_SHARD", "SHARD_GRAD_OP"} {
			for _, checkpointing := range []string{"training.gradient_checkpointing=false", "training.gradient_checkpointing=true"} {
				shared, _ := newRank(t, `fsdp.sharding_strategy="`+strategy+`"`, dtype, checkpointing)
				for slot := range 2 {
					wantLoss, want := slotGradient(t, whole, slot)
					loss, got := slotGradient(t, shared, slot)
					if loss != wantLoss || !sameGradient(got, want, shared.run.Reduce()) {
						t.Errorf("%s, %s, %s, slot %d: loss %v and a gradient of %d bytes, want %v and the same bits of %d bytes", strategy, reduce, checkpointing, slot, loss, len(got), wantLoss, len(want))
					}
					if bytes.Count(want, []byte{0}) == len(want) {
						t.Errorf("slot %d has a gradient of zeros", slot)
					}
				}
			}
		}
	}
}

// TestTrainingSettingsInRooms: label smoothing, NEFTune and packed rows give a slot the same loss and gradient under every
// strategy, and others than without them.
func TestTrainingSettingsInRooms(t *testing.T) {
	for _, setting := range []string{"training.label_smoothing_factor=0.2", "training.neftune_noise_alpha=5", "dataset.packing=true"} {
		plain, _ := newRank(t, `fsdp.sharding_strategy="NO_SHARD"`)
		whole, _ := newRank(t, `fsdp.sharding_strategy="NO_SHARD"`, setting)
		shared, _ := newRank(t, setting)
		for slot := range 2 {
			plainLoss, _ := slotGradient(t, plain, slot)
			wantLoss, want := slotGradient(t, whole, slot)
			loss, got := slotGradient(t, shared, slot)
			if loss != wantLoss || !sameGradient(got, want, shared.run.Reduce()) {
				t.Errorf("%s, slot %d: loss %v under FULL_SHARD, %v under NO_SHARD", setting, slot, loss, wantLoss)
			}
			if loss == plainLoss {
				t.Errorf("%s, slot %d: the loss is %v with and without it", setting, slot, loss)
			}
		}
	}
}

// A computation that the room takes back ends with errForgotten, and the next one is right.
func TestForgottenSlot(t *testing.T) {
	c, _ := newRank(t)
	_, want := slotGradient(t, c, 0)
	stop, ready := make(chan struct{}), false
	close(stop)
	c.tasks <- func(d *computer) (reply, error) {
		_, err := d.computeSlot(&fsdp.Ready{}, stop)
		if !errors.Is(err, errForgotten) {
			t.Errorf("a slot that was taken back ends with %v", err)
		}
		return func(*communicator) { ready = true }, nil
	}
	c.await(t, func() bool { return ready })
	if _, got := slotGradient(t, c, 0); !bytes.Equal(got, want) {
		t.Error("after a slot that was taken back, the next gradient differs")
	}
}

// A rank refuses a room that trains another run.
func TestOtherRun(t *testing.T) {
	cfg, files := prepare(t)
	s, err := replay.Prepare(cfg, files, device.UnboundedLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Model.Close()
	for _, c := range []struct{ set, refused string }{
		{"", ""},
		{"training.max_steps=7", "7 steps"},
		{"fsdp.slots=5", "5 slots"},
		{"fsdp.world_size=2", "in 2 shards"},
		{`fsdp.sharding_strategy="SHARD_GRAD_OP"`, "SHARD_GRAD_OP"},
		{`fsdp.auto_wrap_policy="none"`, "wrapped by none"},
		{`trainable=["layers:first:1"]`, "other parameters"},
		{"training.eval_steps=2;dataset.validation_split=0.3", "evaluates"},
	} {
		other, files := prepare(t, strings.FieldsFunc(c.set, func(r rune) bool { return r == ';' })...)
		described, _, err := NewRun("run", other, files)
		if err != nil {
			t.Fatalf("%s: %v", c.set, err)
		}
		raw, err := json.Marshal(described)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = parseRun(raw, s, 6)
		if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v, want an error with %q", c.set, err, c.refused)
		}
	}
}

// The tokens that a room checks its tabs by are those that a tab counts.
func TestSlotTokens(t *testing.T)       { checkSlotTokens(t) }
func TestPackedSlotTokens(t *testing.T) { checkSlotTokens(t, "dataset.packing=true") }

func checkSlotTokens(t *testing.T, sets ...string) {
	sets = append(sets, "dataset.shuffle=true")
	cfg, files := prepare(t, sets...)
	_, tokens, err := NewRun("run", cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	_, d := newRank(t, sets...)
	for step := range 6 {
		rows := d.trainer.Rows(step)
		for k, micro := range rows {
			b, err := d.trainer.Collate(micro)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := tokens(uint64(step), k, k+1), b.Tokens; got != want {
				t.Errorf("step %d, slot %d: the room counts %d tokens, the tab %d", step, k, got, want)
			}
		}
	}
}

// places.cut takes any range of elements out of segments with gaps, and places.each covers it once.
func TestPlaces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var l plan.Layout
		var flat []byte // the elements without gaps
		var segments []device.Bytes
		for range 1 + random.IntN(4) {
			seg := plan.Segment{}
			var content []byte
			for range 1 + random.IntN(3) {
				n := 1 + random.IntN(9)
				seg.Params = append(seg.Params, &nn.Param{Shape: tensor.Of(n)})
				seg.Offsets = append(seg.Offsets, len(content)/2)
				for range n {
					b := []byte{byte(random.Uint32()), byte(random.Uint32())}
					content, flat = append(content, b...), append(flat, b...)
				}
				content = append(content, make([]byte, 2*random.IntN(4))...)
			}
			seg.Len = len(content) / 2
			l.Segments, segments = append(l.Segments, seg), append(segments, device.Heap(content))
		}
		ps, total := placesOf(l), len(flat)/2
		off := random.IntN(total)
		n := 1 + random.IntN(total-off)
		var got []byte
		for _, b := range ps.cut(segments, 2, off, n) {
			got = append(got, b.Go()...)
		}
		if !bytes.Equal(got, flat[2*off:2*(off+n)]) {
			t.Fatalf("elements %d to %d are %v, want %v", off, off+n, got, flat[2*off:2*(off+n)])
		}
		next := 0
		ps.each(off, n, func(at int, p place) error {
			if at != next {
				t.Fatalf("a run begins at %d after one that ends at %d", at, next)
			}
			next += p.n
			return nil
		})
		if next != n {
			t.Fatalf("runs of %d elements in all, want %d", next, n)
		}
	}
}

// The wire reads every segment as the device's rounding to its type.
func TestWire(t *testing.T) {
	dev := cpu.New()
	params := []*nn.Param{
		{Name: "a", Shape: tensor.Of(5, 3), Unit: "one", Trainable: true}, {Name: "b", Shape: tensor.Of(7), Unit: "one", Trainable: true},
		{Name: "c", Shape: tensor.Of(11), Unit: "two", Trainable: true},
	}
	mem, err := memory.New(dev, plan.NewLayout(params, dev.Limits()), true)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Free()
	random := rand.New(rand.NewPCG(3, 4))
	values := make([][]float32, len(mem.Layout.Segments))
	for i, seg := range mem.Layout.Segments {
		values[i] = make([]float32, seg.Len)
		for j := range values[i] {
			values[i][j] = float32(random.NormFloat64())
		}
		if err := mem.Import(i, plan.Gradient, 0, device.Heap(tensor.EncodeF32(nil, values[i], tensor.F32))); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		w, err := newWire(dev, mem, plan.Gradient, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.all()
		if err != nil {
			t.Fatal(err)
		}
		for i := range values {
			if want := tensor.EncodeF32(nil, values[i], d); !bytes.Equal(got[i].Go(), want) {
				t.Errorf("segment %d as %v differs from the rounded values", i, d)
			}
		}
		w.release()
	}
}
