package train

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// The files of a PEFT folder.
const (
	adapterConfig = "adapter_config.json"
	adapterFile   = "adapter_model.safetensors"
)

// attached is a method made for a model, with the files that its values come from.
type attached struct {
	name   string // among others, for people
	method *peft.Method
	cfg    *config.PEFT
	files  map[string]*weights.Checkpoint // by name; nil where it starts fresh
	// beside are tensors of the base that trained although their modules are adapted, under their keys in the adapter's file.
	beside []peft.Tensor
}

// tensors lists what the files hold.
func (a *attached) tensors() []peft.Tensor { return slices.Concat(a.method.Tensors(), a.beside) }

// saved lists what the files of the adapter in use hold.
func (m *Model) saved() []peft.Tensor { return m.attached.tensors() }

// ofBase is what PEFT puts between the path of an adapted module and the names of its own tensors.
const ofBase = ".base_layer"

// keepBeside makes a tensor of an adapted module one that trains and is saved with the adapter.
func (a *attached) keepBeside(p *nn.Param) {
	p.Trainable = true
	module := moduleOf(p)
	a.beside = append(a.beside, peft.Tensor{Key: a.method.Prefix + module + ofBase + p.Name[len(module):], Param: p})
}

// adaptedModules are the modules that an adapter's file has tensors of a method for.
func adaptedModules(fsys fs.FS) map[string]bool {
	modules := map[string]bool{}
	if fsys == nil {
		return modules
	}
	c, err := weights.OpenFile(fsys, adapterFile)
	if err != nil {
		return modules // whoever loads it says so
	}
	defer c.Close()
	for _, name := range c.Names() {
		if path, ok := peft.AdaptedModule(name); ok {
			modules[path] = true
		}
	}
	return modules
}

// file is where t's values come from, nil where they start fresh.
func (a *attached) file(t peft.Tensor) *weights.Checkpoint {
	if t.File == "" {
		return a.files[adapterFile]
	}
	return a.files[t.File]
}

func (a *attached) close() {
	for _, c := range a.files {
		c.Close()
	}
}

// newAdapter makes the method of cfg for the model. tableOnly: of a projected prefix only the projection's output is there.
func (m *Model) newAdapter(cfg *config.PEFT, tableOnly bool) (*attached, error) {
	const hint = "Compare target_modules with the model's module names and init_adapter with peft."
	c := peft.Context{Seed: m.seed, TableOnly: tableOnly}
	if m.Tokenizer != nil {
		c.Encode = func(text string) ([]int, error) { return m.Tokenizer.Encode(text, true) }
	}
	method, err := peft.New(m.Decoder, cfg, c)
	if err != nil {
		return nil, report.Fail("peft", report.ExitConfig, hint, fmt.Errorf("peft: %w", err))
	}
	if v := method.Patch.Virtual; v >= m.Decoder.MaxPositions {
		return nil, report.Fail("peft", report.ExitConfig, "Take fewer virtual tokens.",
			fmt.Errorf("peft: num_virtual_tokens is %d, and the model's context of %d must hold them and a text", v, m.Decoder.MaxPositions))
	}
	return &attached{method: method, cfg: cfg}, nil
}

// attach adds the adapter that cfg describes, to be trained.
func (m *Model) attach(cfg *config.PEFT) error {
	a, err := m.newAdapter(cfg, false)
	if err == nil {
		m.stack = append(m.stack, a)
		m.use(a)
	}
	return err
}

// use has the decoder compute with an adapter, nil for the base model alone.
func (m *Model) use(a *attached) {
	m.attached, m.Decoder.Patch, m.Method, m.PEFT = a, nil, nil, nil
	if a != nil {
		m.Decoder.Patch, m.Method, m.PEFT = a.method.Patch, a.method, a.cfg
	}
}

// openAdapter reads adapter_config.json of a PEFT folder.
func (m *Model) openAdapter(fsys fs.FS) (*config.PEFT, error) {
	const hint = "Choose a folder that holds adapter_config.json and adapter_model.safetensors, as Hugging Face PEFT writes them."
	data, err := readSmall(fsys, adapterConfig)
	if err != nil {
		return nil, report.Fail("adapter", report.ExitConfig, hint, fmt.Errorf("adapter: %w", err))
	}
	cfg, dropped, err := config.ParseAdapterConfig(data, adapterConfig)
	for _, key := range dropped {
		m.Remarks = append(m.Remarks, message.NewRemark("key_ignored", "{file}: unknown key {key} ignored", "file", adapterConfig, "key", key))
	}
	return cfg, report.Fail("adapter", report.ExitConfig, hint, err)
}

// loadFolder puts the adapter of a PEFT folder on the stack, to be used as it is.
func (m *Model) loadFolder(name string, fsys fs.FS) (*attached, error) {
	cfg, err := m.openAdapter(fsys)
	if err != nil {
		return nil, err
	}
	if err := m.ownHead(fsys); err != nil {
		return nil, err
	}
	if n, names := scoreOf(fsys); cfg.TaskType == config.SeqCls && n > 0 && m.Decoder.Classes == 0 {
		m.addScore(n)
		m.Classes = names
	}
	_, err = fs.Stat(fsys, peft.EncoderFile)
	a, err := m.newAdapter(cfg, errors.Is(err, fs.ErrNotExist))
	if err != nil {
		return nil, err
	}
	a.name = name
	m.stack = append(m.stack, a)
	return a, m.load(a, fsys, true)
}

// stackFolder is loadFolder for one adapter among several.
func (m *Model) stackFolder(name string, fsys fs.FS) error {
	if _, err := fs.Stat(fsys, headFile); err == nil {
		return report.Fail("adapter", report.ExitConfig, stackHint, fmt.Errorf("%s: it brings layers of its own (%s), and other adapters need the base as it was", name, headFile))
	}
	a, err := m.loadFolder(name, fsys)
	if err != nil {
		return report.Fail("adapter", report.ExitConfig, "Choose adapters of this model.", fmt.Errorf("%s: %w", name, err))
	}
	if init := a.method.MovesBase(); init != "" {
		return report.Fail("adapter", report.ExitConfig, stackHint, fmt.Errorf("%s: %s takes a part out of the base's weights, and other adapters need the base as it was", name, init))
	}
	base := m.Decoder.Params()
	for _, t := range a.tensors() {
		if slices.Contains(base, t.Param) {
			return report.Fail("adapter", report.ExitConfig, stackHint, fmt.Errorf("%s: it brings base modules of its own (%s), and other adapters need the base as it was", name, t.Key))
		}
	}
	return nil
}

// load opens the files of a PEFT folder as the first values of an adapter. Unless complete, it may lack tensors of the
// base that are saved with it: these then start as the base has them.
func (m *Model) load(a *attached, fsys fs.FS, complete bool) error {
	const hint = "The adapter belongs to another model or another configuration."
	bad := func(err error) error {
		return report.Fail("adapter", report.ExitConfig, hint, fmt.Errorf("adapter: %w", err))
	}
	a.files = map[string]*weights.Checkpoint{}
	names := []string{adapterFile}
	for _, t := range a.method.Tensors() {
		if t.File != "" && t.File != names[len(names)-1] {
			names = append(names, t.File)
		}
	}
	for _, name := range names {
		c, err := weights.OpenFile(fsys, name)
		if _, missing := fs.Stat(fsys, name); errors.Is(missing, fs.ErrNotExist) {
			if name == peft.EncoderFile {
				err = fmt.Errorf("%s is missing: PEFT saves what the projection gave and not the projection, so training cannot go on from it", name)
			} else if _, e := fs.Stat(fsys, "adapter_model.bin"); e == nil {
				err = errors.New("adapter_model.bin is pickled, and unpickling can run any code hidden in it: save the adapter with safe_serialization=True")
			}
		}
		if err != nil {
			return bad(err)
		}
		a.files[name] = c
	}
	var wrong []string
	known := map[string]bool{} // by file and key
	for _, t := range a.tensors() {
		known[t.File+"\n"+t.Key] = true
	}
	base := m.Decoder.Params()
	for _, p := range base {
		module := moduleOf(p)
		if key := a.method.Prefix + module + ofBase + p.Name[len(module):]; !known["\n"+key] && p != m.Decoder.Embedding && p != m.Decoder.Head.Weight {
			if _, ok := a.files[adapterFile].Tensor(key); ok {
				a.keepBeside(p)
				known["\n"+key] = true
			}
		}
	}
	for _, t := range a.tensors() {
		if t.Param == nil {
			continue // what it is computed from is there
		}
		lost := a.method.LosesBiases() && strings.HasSuffix(t.Key, ofBase+".bias") // PEFT 0.13 trains these and saves none
		if _, ok := a.file(t).Tensor(t.Key); !ok && (!complete || lost) && slices.Contains(base, t.Param) {
			continue
		}
		if msg := mismatch(a.file(t), t.Key, t.Param.FileShape()); msg != "" {
			wrong = append(wrong, msg)
		}
	}
	for _, file := range names {
		for _, name := range a.files[file].Names() {
			switch {
			case known[strings.TrimPrefix(file, adapterFile)+"\n"+name]:
			case strings.HasSuffix(name, "embed_tokens.base_layer.weight"), strings.HasSuffix(name, "lm_head.base_layer.weight"):
				// PEFT adds the untrained matrices of adapted embeddings by itself.
				m.Remarks = append(m.Remarks, message.NewRemark("weight_repeated", "adapter: {tensor} repeats a weight of the base model and is left out", "tensor", name))
			default:
				wrong = append(wrong, fmt.Sprintf("%q is not part of this adapter", name))
			}
		}
	}
	if wrong != nil {
		return bad(fmt.Errorf("its files do not fit its configuration and this model: %s", list(wrong)))
	}
	return nil
}

// first makes the first values of a parameter that no file holds: what the method makes them from, or its distribution.
func (m *Model) first(a *attached, p *nn.Param) ([]float32, error) {
	if a != nil {
		if start := a.method.Start(p); start != nil {
			return start(m.baseValues)
		}
	}
	x := make([]float32, p.Shape.Size())
	p.Init.Fill(x, m.seed, p.From())
	return x, nil
}

// baseValues reads a parameter of the base model.
func (m *Model) baseValues(p *nn.Param) ([]float32, error) {
	if m.Base == nil {
		return m.first(nil, p)
	}
	t, ok := m.Base.Tensor(p.From())
	if !ok {
		return nil, fmt.Errorf("tensor %q is missing", p.From())
	}
	h, err := m.Base.ReadF32(t)
	if err != nil {
		return nil, err
	}
	return h.Data, nil
}

// residual takes out of a base weight what the adapter in use starts as, nil for nothing.
func (m *Model) residual(p *nn.Param) func([]float32) {
	if m.Method == nil {
		return nil
	}
	return m.Method.Residual(p)
}

// uploadResidual puts a base weight into memory without what the adapter starts as. key is the weight's, or stands for it.
func (m *memory) uploadResidual(key *nn.Param, model *Model, take func([]float32)) error {
	x, err := model.baseValues(key)
	if err != nil {
		return err
	}
	take(x)
	return m.write(key, x)
}

// computedKey is the key of a computed tensor's memory on a tape.
type computedKey struct{}

// valuesOf makes the values of a tensor that is a function of what trains.
func (m *memory) valuesOf(t peft.Tensor) (tensor.Shape, []byte, error) {
	var shape tensor.Shape
	tape := graph.NewInferenceTape()
	if err := graph.Record(func() {
		y := t.Computed(tape)
		shape = y.Shape
		tape.Copy(tape.Extern(graph.Extern{Key: computedKey{}, Shape: shape, Name: t.Key}), y)
	}); err != nil {
		return nil, nil, err
	}
	data, err := m.run(tape, t.Key, shape.Size())
	return shape, data, err
}

// run replays a tape that leaves n values under computedKey, once, and reads them.
func (m *memory) run(tape *graph.Tape, label string, n int) ([]byte, error) {
	out, err := m.dev.Alloc(device.Spec{Len: n, Class: device.Activations, Label: label})
	if err != nil {
		return nil, err
	}
	defer m.dev.Free(out)
	pool, err := graph.NewPool(m.dev, tape.Plan())
	if err != nil {
		return nil, err
	}
	defer pool.Free()
	prog, err := tape.Compile(m.dev, label, pool, graph.Binder{Prepare: m.tuner.Prepare, Choose: m.tuner.Choose, Extern: func(key any) (device.Slice, error) {
		if _, ok := key.(computedKey); ok {
			return device.All(out), nil
		}
		return m.find(key)
	}})
	if err != nil {
		return nil, err
	}
	defer prog.Release()
	if err := m.dev.Submit(device.Work{Run: prog.Executable}); err != nil {
		return nil, err
	}
	return m.dev.Read(out, 0, n)
}
