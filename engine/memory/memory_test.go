package memory_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/fsdp"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// quietHost accepts messages. A test that creates a file fails.
type quietHost struct{ report.Host }

func (quietHost) Emit(...message.Envelope) {}

const modelConfig = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
	"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 11, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
	"tie_word_embeddings": false, "hidden_act": "silu"}`

// folder is a model folder whose tensors have type d. Tensors that values lacks get random values, which are added to it.
func folder(t *testing.T, d tensor.DType, values map[string][]float32) fstest.MapFS {
	t.Helper()
	random := rand.New(rand.NewPCG(5, 6))
	shapes := map[string]tensor.Shape{"model.embed_tokens.weight": tensor.Of(11, 8), "model.norm.weight": tensor.Of(8), "lm_head.weight": tensor.Of(11, 8)}
	for i := range 2 {
		for name, shape := range map[string]tensor.Shape{
			"input_layernorm": tensor.Of(8), "post_attention_layernorm": tensor.Of(8),
			"self_attn.q_proj": tensor.Of(8, 8), "self_attn.k_proj": tensor.Of(4, 8), "self_attn.v_proj": tensor.Of(4, 8), "self_attn.o_proj": tensor.Of(8, 8),
			"mlp.gate_proj": tensor.Of(12, 8), "mlp.up_proj": tensor.Of(12, 8), "mlp.down_proj": tensor.Of(8, 12),
		} {
			shapes[fmt.Sprintf("model.layers.%d.%s.weight", i, name)] = shape
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		if shape := shapes[name]; values[name] == nil {
			x := make([]float32, shape.Size())
			for i := range x {
				x[i] = float32(random.NormFloat64())
			}
			if err := tensor.Round(x, d); err != nil {
				t.Fatal(err)
			}
			values[name] = x
		}
	}
	return fstest.MapFS{"config.json": {Data: []byte(modelConfig)}, "model.safetensors": {Data: safetensors(t, d, shapes, values)}}
}

func safetensors(t *testing.T, d tensor.DType, shapes map[string]tensor.Shape, values map[string][]float32) []byte {
	t.Helper()
	var specs []weights.Spec
	for name, shape := range shapes {
		specs = append(specs, weights.Spec{Name: name, DType: d, Shape: shape})
	}
	var file bytes.Buffer
	w, err := weights.NewWriter(&file, specs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		if err := w.WriteTensor(s.Name, func(w io.Writer) error {
			_, err := w.Write(tensor.EncodeF32(nil, values[s.Name], d))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// open opens a model folder and makes parameters trainable.
func open(t *testing.T, model fs.FS, trains func(p *nn.Param) bool) *pretrained.Model {
	t.Helper()
	m, err := pretrained.Open(report.Files{Model: model}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	for _, p := range m.Params() {
		p.Trainable = trains(p)
	}
	if err := m.CheckWeights(); err != nil {
		t.Fatal(err)
	}
	return m
}

// values reads a parameter back.
func values(t *testing.T, m *memory.Parameters, p *nn.Param) []float32 {
	t.Helper()
	var raw []byte
	if err := m.Stream(p, p.Shape, false, func(b []byte) error { raw = append(raw, b...); return nil }); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, len(raw)/4)
	if err := tensor.DecodeF32(x, raw, tensor.F32); err != nil {
		t.Fatal(err)
	}
	return x
}

func inBlocks(p *nn.Param) bool { return strings.Contains(p.Name, ".layers.") }

// asPrograms are the bytes of a parameter where programs read it.
func asPrograms(t *testing.T, dev device.Device, m *memory.Parameters, p *nn.Param) []byte {
	t.Helper()
	at, err := m.Find(p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := dev.Read(at.Buf, at.Off, at.Len)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What a file holds comes back from the device exactly, whether it trains or not, and takes the bytes of the plan.
func TestLoad(t *testing.T) {
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		for name, trains := range map[string]func(*nn.Param) bool{"none": func(*nn.Param) bool { return false }, "blocks": inBlocks, "all": func(*nn.Param) bool { return true }} {
			held := map[string][]float32{}
			model := open(t, folder(t, d, held), trains)
			dev := cpu.New()
			m, err := memory.New(dev, plan.NewLayout(model.Params(), dev.Limits()), true)
			if err != nil {
				t.Fatal(err)
			}
			var planned device.Usage
			for _, s := range m.Layout.Specs(true) {
				planned[s.Kind] += s.Bytes()
			}
			if dev.Usage() != planned {
				t.Errorf("%v, %s trains: %v allocated, %v planned", d, name, dev.Usage().Map(), planned.Map())
			}
			if err := m.Load(model, model.Params(), quietHost{}); err != nil {
				t.Fatal(err)
			}
			for _, p := range model.Params() {
				if got := values(t, m, p); !slices.Equal(got, held[p.Name]) {
					t.Errorf("%v, %s trains: %s differs from its file", d, name, p.Name)
				}
			}
			if m.Free(); dev.Usage().Total() != 0 {
				t.Errorf("%v, %s trains: %d bytes are left after Free", d, name, dev.Usage().Total())
			}
		}
	}
}

// A value that is not finite is an error that names the tensor and the element.
func TestLoadNonFinite(t *testing.T) {
	held := map[string][]float32{}
	folder(t, tensor.F32, held)
	const name = "model.layers.1.mlp.up_proj.weight"
	held[name][17] = float32(math.NaN())
	model := open(t, folder(t, tensor.F32, held), inBlocks)
	dev := cpu.New()
	m, err := memory.New(dev, plan.NewLayout(model.Params(), dev.Limits()), true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	err = m.Load(model, model.Params(), quietHost{})
	if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "element 17") {
		t.Errorf("the error is %v", err)
	}
}

// Programs read a rounded copy of a trained weight, which Refresh makes of the float32 master. Results come from the master.
func TestMaster(t *testing.T) {
	held := map[string][]float32{}
	model := open(t, folder(t, tensor.F32, held), inBlocks)
	for _, p := range model.Params() {
		if p.Trainable {
			p.DType = tensor.BF16
		}
	}
	dev := cpu.New()
	m, err := memory.New(dev, plan.NewLayout(model.Params(), dev.Limits()), true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	if err := m.Load(model, model.Params(), quietHost{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(); err != nil {
		t.Fatal(err)
	}
	for _, p := range model.Params() {
		if !p.Trainable {
			continue
		}
		got := asPrograms(t, dev, m, p)
		if !bytes.Equal(got, tensor.EncodeF32(nil, held[p.Name], tensor.BF16)) {
			t.Errorf("programs do not read %s rounded to bfloat16", p.Name)
		}
		if !slices.Equal(values(t, m, p), held[p.Name]) {
			t.Errorf("the master of %s is not what the file holds", p.Name)
		}
	}
}

// RoundFrozen rounds the frozen values that stay float32 on the device, and no others.
func TestRoundFrozen(t *testing.T) {
	held := map[string][]float32{}
	model := open(t, folder(t, tensor.F32, held), inBlocks)
	dev := cpu.New()
	m, err := memory.New(dev, plan.NewLayout(model.Params(), dev.Limits()), true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	m.RoundFrozen(tensor.BF16)
	if err := m.Load(model, model.Params(), quietHost{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range model.Params() {
		want := slices.Clone(held[p.Name])
		if !p.Trainable {
			if err := tensor.Round(want, tensor.BF16); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(values(t, m, p), want) {
			t.Errorf("%s (trains: %v) has other values", p.Name, p.Trainable)
		}
	}
}

// The shards of a run hold each trained element once, and AddWhole puts a parameter together again.
func TestLoadShard(t *testing.T) {
	held := map[string][]float32{}
	model := open(t, folder(t, tensor.F32, held), inBlocks)
	dev := cpu.New()
	shared, err := plan.NewShared(model.Params(), fsdp.FullShard, "transformer", 3)
	if err != nil {
		t.Fatal(err)
	}
	m, err := memory.New(dev, plan.NewSharedLayout(model.Params(), dev.Limits(), shared), true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	found := map[string][]float32{}
	count := map[string]int{}
	var trained []*nn.Param
	for _, seg := range m.Layout.Segments {
		for _, p := range seg.Params {
			trained = append(trained, p)
			found[p.Name] = make([]float32, p.Shape.Size())
		}
	}
	for i := range 3 {
		pieces := shared.Pieces(i, m.Layout)
		shard, err := memory.New(dev, plan.ShardLayout(pieces, dev.Limits()), true)
		if err != nil {
			t.Fatal(err)
		}
		defer shard.Free()
		if err := m.LoadShard(shard.PiecesOf(pieces), model, trained, quietHost{}); err != nil {
			t.Fatal(err)
		}
		for _, p := range pieces {
			copy(found[p.Of.Name][p.At:], values(t, shard, &p.Param))
			count[p.Of.Name] += p.Shape.Size()
		}
	}
	for _, p := range trained {
		if count[p.Name] != p.Shape.Size() || !slices.Equal(found[p.Name], held[p.Name]) {
			t.Errorf("the shards hold %d of the %d elements of %s, or other values", count[p.Name], p.Shape.Size(), p.Name)
		}
	}
	p := trained[0]
	m.ReadTrainedWith(func(p *nn.Param) ([]byte, error) { return tensor.EncodeF32(nil, found[p.Name], tensor.F32), nil })
	if err := m.AddWhole(p); err != nil {
		t.Fatal(err)
	}
	got := asPrograms(t, dev, m, p)
	if !bytes.Equal(got, tensor.EncodeF32(nil, held[p.Name], tensor.F32)) {
		t.Errorf("programs do not find the whole of %s", p.Name)
	}
}
