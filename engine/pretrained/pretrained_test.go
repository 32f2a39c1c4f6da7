package pretrained

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/testfiles"
	"llamatab/engine/weights"
)

// folderHost keeps the files of a result.
type folderHost struct {
	report.Host
	files fstest.MapFS
}

type folderFile struct {
	bytes.Buffer
	close func([]byte)
}

func (f *folderFile) Close() error { f.close(f.Bytes()); return nil }

func (h *folderHost) Create(path string) (io.WriteCloser, error) {
	return &folderFile{close: func(b []byte) { h.files[path] = &fstest.MapFile{Data: b} }}, nil
}

// numbered are values of parameters that a test can tell apart: element i of the k-th parameter is k + i/1024.
type numbered map[*nn.Param]int

func (v numbered) of(p *nn.Param) []float32 {
	x := make([]float32, p.Shape.Size())
	for i := range x {
		x[i] = float32(v[p]) + float32(i)/1024
	}
	return x
}

func (v numbered) Stream(key any, _ tensor.Shape, _ bool, write func([]byte) error) error {
	return write(tensor.EncodeF32(nil, v.of(key.(*nn.Param)), tensor.F32))
}

func (v numbered) Compute(peft.Tensor) (tensor.Shape, []byte, error) { panic("nothing is computed") }

// number gives each parameter that trains a number from first on.
func number(m *Model, first int) numbered {
	v := numbered{}
	for _, p := range m.Params() {
		if p.Trainable {
			v[p] = first + len(v)
		}
	}
	return v
}

// tiny is the small committed Llama.
func tiny(t *testing.T) fs.FS {
	return os.DirFS(filepath.Join(testfiles.Repository(t), "testdata", "golden", "tiny", "model"))
}

func open(t *testing.T, files report.Files) *Model {
	t.Helper()
	m, err := Open(files, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// lora adds a LoRA of rank 2 to the query projections, to be trained.
func lora(t *testing.T, m *Model, chosen ParamSet) {
	t.Helper()
	cfg, _, err := config.ParseAdapterConfig([]byte(`{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}`), "peft")
	if err == nil {
		err = m.Adapt(cfg, chosen)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// source reads the first values of a parameter from its source.
func source(t *testing.T, m *Model, p *nn.Param) []float32 {
	t.Helper()
	src := m.Sources()(p)
	if src.File == nil {
		x, err := m.FirstValues(src.Adapter, p)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	at, ok := src.File.Tensor(src.Name)
	if !ok {
		t.Fatalf("the source of %s has no tensor %q", p.Name, src.Name)
	}
	h, err := src.File.ReadF32(at)
	if err != nil {
		t.Fatal(err)
	}
	return h.Data
}

// A model that is written and opened again has the trained values in float32, and all others as the base has them.
func TestWriteModel(t *testing.T) {
	m := open(t, report.Files{Model: tiny(t)})
	for _, p := range m.Params() {
		p.Trainable = strings.Contains(p.Name, "layers.1.mlp")
	}
	v := number(m, 100)
	if len(v) != 3 {
		t.Fatalf("%d parameters train, want the three projections of an MLP", len(v))
	}
	host := &folderHost{files: fstest.MapFS{}}
	if err := (Writer{Host: host, Values: v}).Trained("out", m); err != nil {
		t.Fatal(err)
	}
	folder, err := fs.Sub(host.files, "out")
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, report.Files{Model: folder})
	if err := again.CheckWeights(); err != nil {
		t.Fatal(err)
	}
	params := m.Params()
	for i, p := range again.Params() {
		want := source(t, m, params[i])
		if params[i].Trainable {
			want = v.of(params[i])
		}
		if p.Name != params[i].Name || !slices.Equal(source(t, again, p), want) {
			t.Errorf("%s has other values after it was written", p.Name)
		}
	}
	var before, after map[string]any
	raw, err := fs.ReadFile(tiny(t), "config.json")
	if err != nil || json.Unmarshal(raw, &before) != nil || json.Unmarshal(again.Config, &after) != nil {
		t.Fatal("config.json is not JSON")
	}
	for key, value := range before {
		if fmt.Sprint(after[key]) != fmt.Sprint(value) {
			t.Errorf("config.json has %s %v, the base has %v", key, after[key], value)
		}
	}
	size, err := m.ResultBytes()
	if err != nil || size != int64(len(host.files["out/model.safetensors"].Data)) {
		t.Errorf("a result of %d bytes was promised, %d were written: %v", size, len(host.files["out/model.safetensors"].Data), err)
	}
}

// An adapter that is written is read again by a model that is compared with it, and by a run that starts from it.
func TestWriteAdapter(t *testing.T) {
	m := open(t, report.Files{Model: tiny(t)})
	lora(t, m, nil)
	v := number(m, 1)
	host := &folderHost{files: fstest.MapFS{}}
	if err := (Writer{Host: host, Values: v}).Adapter("out", m); err != nil {
		t.Fatal(err)
	}
	folder, err := fs.Sub(host.files, "out")
	if err != nil {
		t.Fatal(err)
	}
	compared := open(t, report.Files{Model: tiny(t)})
	if err := compared.AddCompared("mine", folder); err != nil {
		t.Fatal(err)
	}
	started := open(t, report.Files{Model: tiny(t), Adapter: folder})
	lora(t, started, nil)
	for _, again := range []*Model{compared, started} {
		adapter := again.Adapters[0]
		tensors := adapter.Method.Tensors()
		if len(tensors) != len(v) || len(tensors) == 0 {
			t.Fatalf("the adapter has %d tensors, %d were written", len(tensors), len(v))
		}
		for i, x := range tensors {
			if want := m.AdapterTensors()[i]; x.Key != want.Key || !slices.Equal(source(t, again, x.Param), v.of(want.Param)) {
				t.Errorf("%s has other values after it was written", x.Key)
			}
		}
	}
	size, err := m.ResultBytes()
	if err != nil || size != int64(len(host.files["out/"+adapterFile].Data)) {
		t.Errorf("a result of %d bytes was promised, %d were written: %v", size, len(host.files["out/"+adapterFile].Data), err)
	}
}

// While a checkpoint is in use, its trained values are the source. After that the first values are again.
func TestUseCheckpoint(t *testing.T) {
	m := open(t, report.Files{Model: tiny(t)})
	lora(t, m, nil)
	v := number(m, 50)
	first := map[*nn.Param][]float32{}
	for p := range v {
		first[p] = source(t, m, p)
	}
	host := &folderHost{files: fstest.MapFS{}}
	if err := (Writer{Host: host, Values: v}).Adapter("checkpoint-3", m); err != nil {
		t.Fatal(err)
	}
	checkpoint, err := fs.Sub(host.files, "checkpoint-3")
	if err != nil {
		t.Fatal(err)
	}
	back, err := m.UseCheckpoint(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	for p := range v {
		if !slices.Equal(source(t, m, p), v.of(p)) {
			t.Errorf("%s is not read from the checkpoint", p.Name)
		}
	}
	back()
	for p := range v {
		if !slices.Equal(source(t, m, p), first[p]) {
			t.Errorf("%s has not its first values again", p.Name)
		}
	}
}

// CheckWeights names each tensor of a folder that does not fit config.json.
func TestCheckWeights(t *testing.T) {
	m := open(t, report.Files{Model: tiny(t)})
	specs, content := []weights.Spec{}, map[string][]byte{}
	for _, name := range m.Base.Names() {
		at, _ := m.Base.Tensor(name)
		h, err := m.Base.ReadF32(at)
		if err != nil {
			t.Fatal(err)
		}
		spec := weights.Spec{Name: name, DType: tensor.F32, Shape: at.Shape}
		switch name {
		case "model.norm.weight":
			continue // is missing
		case "model.layers.2.mlp.down_proj.weight":
			spec.Shape = tensor.Of(at.Shape[1], at.Shape[0])
		case "model.layers.0.self_attn.q_proj.weight":
			spec.Name = "model.layers.0.self_attn.query.weight"
		}
		specs, content[spec.Name] = append(specs, spec), tensor.EncodeF32(nil, h.Data, tensor.F32)
	}
	host := &folderHost{files: fstest.MapFS{"config.json": {Data: m.Config}}}
	o := Writer{Host: host}
	if err := o.File("model.safetensors", func(w io.Writer) error {
		return o.Tensors(w, specs, nil, func(name string, w io.Writer) error { _, err := w.Write(content[name]); return err })
	}); err != nil {
		t.Fatal(err)
	}
	err := open(t, report.Files{Model: host.files}).CheckWeights()
	if err == nil {
		t.Fatal("the weights are taken")
	}
	for _, want := range []string{`"model.norm.weight" is missing`, `"model.layers.2.mlp.down_proj.weight" has shape`, `"model.layers.0.self_attn.q_proj.weight" is missing`, `"model.layers.0.self_attn.query.weight" is not part`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s: %v", want, err)
		}
	}
}

// The entries of trainable name sets of parameters. An entry that names none is an error with names that are near.
func TestChoose(t *testing.T) {
	m := open(t, report.Files{Model: tiny(t)})
	for _, c := range []struct {
		entries []string
		names   []string // parts of names: each is in some chosen name, and each chosen name has one of them
		fails   string
	}{
		{entries: []string{"embed_tokens"}, names: []string{"model.embed_tokens.weight"}},
		{entries: []string{"norm", "layers:last:1"}, names: []string{"model.norm.weight", "model.layers.2."}},
		{entries: []string{`regex:mlp\.up_proj`}, names: []string{"layers.0.mlp.up_proj.weight", "layers.1.mlp.up_proj.weight", "layers.2.mlp.up_proj.weight"}},
		{entries: []string{"layers:0", "layers:2"}, names: []string{"layers.0.", "layers.2."}},
		{entries: []string{"regex:mlp.upp_proj"}, fails: "mlp.up_proj"},
		{entries: []string{"layers:7"}, fails: "7"},
		{entries: []string{"score"}, fails: "no classification head"},
	} {
		parts, err := config.ParseParts(c.entries, "trainable")
		if err != nil {
			t.Fatalf("%v: %v", c.entries, err)
		}
		set, err := Choose(m.Decoder, parts, "trainable")
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%v: the error is %v, want %q in it", c.entries, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c.entries, err)
		}
		found := map[string]bool{}
		for p := range set {
			i := slices.IndexFunc(c.names, func(name string) bool { return strings.Contains(p.Name, name) })
			if i < 0 {
				t.Errorf("%v chooses %s", c.entries, p.Name)
				continue
			}
			found[c.names[i]] = true
		}
		if len(found) != len(c.names) {
			t.Errorf("%v chooses only %v of %v", c.entries, found, c.names)
		}
	}
}

// A tied file that holds the head under both names with other values is a model with two matrices, and a remark tells it.
func TestTiedHeadDiffers(t *testing.T) {
	base := open(t, report.Files{Model: tiny(t)})
	specs, content := []weights.Spec{}, map[string][]byte{}
	for _, name := range append(base.Base.Names(), lmHeadWeight) {
		at, ok := base.Base.Tensor(name)
		if !ok {
			at, _ = base.Base.Tensor(base.Decoder.Embedding.Name)
		}
		h, err := base.Base.ReadF32(at)
		if err != nil {
			t.Fatal(err)
		}
		if name == lmHeadWeight {
			h.Data[3]++
		}
		specs, content[name] = append(specs, weights.Spec{Name: name, DType: tensor.F32, Shape: at.Shape}), tensor.EncodeF32(nil, h.Data, tensor.F32)
	}
	host := &folderHost{files: fstest.MapFS{"config.json": {Data: base.Config}}}
	o := Writer{Host: host}
	if err := o.File("model.safetensors", func(w io.Writer) error {
		return o.Tensors(w, specs, nil, func(name string, w io.Writer) error { _, err := w.Write(content[name]); return err })
	}); err != nil {
		t.Fatal(err)
	}
	m := open(t, report.Files{Model: host.files})
	if err := m.CheckWeights(); err != nil {
		t.Fatal(err)
	}
	if m.Decoder.Tied || !slices.ContainsFunc(m.Remarks, func(r message.Remark) bool { return r.Code == "tied_head_differs" }) {
		t.Errorf("the model is tied: %v, its remarks are %v", m.Decoder.Tied, m.Remarks)
	}
	if slices.Equal(source(t, m, m.Decoder.Head.Weight), source(t, m, m.Decoder.Embedding)) {
		t.Error("the head has the embedding's values")
	}
}
