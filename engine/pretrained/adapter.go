package pretrained

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/quant"
	"llamatab/engine/report"
	"llamatab/engine/weights"
)

// The files of a PEFT folder.
const (
	adapterConfig = "adapter_config.json"
	adapterFile   = "adapter_model.safetensors"
)

// Adapter is a PEFT method of a model, with the files that hold its values.
type Adapter struct {
	Name   string // that a person gave it, to tell compared adapters apart
	Method *peft.Method
	Config *config.PEFT
	files  map[string]*weights.Checkpoint // by name, nil for an adapter whose first values are drawn
	// fromBase are parameters of the base model that train and are saved with the adapter although their modules are adapted.
	fromBase []peft.Tensor
}

// tensors lists the tensors in the adapter's files.
func (a *Adapter) tensors() []peft.Tensor { return slices.Concat(a.Method.Tensors(), a.fromBase) }

// AdapterTensors lists the tensors in the files of the adapter in use.
func (m *Model) AdapterTensors() []peft.Tensor { return m.Adapter.tensors() }

// ofBase is what PEFT puts between the path of an adapted module and the names of its own tensors.
const ofBase = ".base_layer"

// trainWithAdapter makes a parameter of an adapted module train and be saved with the adapter.
func (a *Adapter) trainWithAdapter(p *nn.Param) {
	p.Trainable = true
	module := moduleOf(p)
	a.fromBase = append(a.fromBase, peft.Tensor{Key: a.Method.Prefix + module + ofBase + p.Name[len(module):], Param: p})
}

// adaptedModules are the paths of the modules that an adapter's file adapts.
func adaptedModules(fsys fs.FS) map[string]bool {
	modules := map[string]bool{}
	if fsys == nil {
		return modules
	}
	c, err := weights.OpenFile(fsys, adapterFile)
	if err != nil {
		return modules // loading the adapter reports the error
	}
	defer c.Close()
	for _, name := range c.Names() {
		if path, ok := peft.AdaptedModule(name); ok {
			modules[path] = true
		}
	}
	return modules
}

// File is the file that holds the values of t, nil for an adapter whose first values are drawn.
func (a *Adapter) File(t peft.Tensor) *weights.Checkpoint {
	if t.File == "" {
		return a.files[adapterFile]
	}
	return a.files[t.File]
}

func (a *Adapter) close() {
	for _, c := range a.files {
		c.Close()
	}
}

// newAdapter makes the method of cfg for the model. tableOnly says that the file of a prefix with a projection holds only the
// projection's output.
func (m *Model) newAdapter(cfg *config.PEFT, tableOnly bool) (*Adapter, error) {
	const hint = "Compare target_modules with the model's module names and init_adapter with peft."
	c := peft.Context{Seed: m.Seed, TableOnly: tableOnly}
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
	return &Adapter{Method: method, Config: cfg}, nil
}

// Attach adds a new adapter for training and puts it in use.
func (m *Model) Attach(cfg *config.PEFT) error {
	a, err := m.newAdapter(cfg, false)
	if err == nil {
		m.Adapters = append(m.Adapters, a)
		m.Use(a)
	}
	return err
}

// Use puts an adapter in use, nil for the base model alone.
func (m *Model) Use(a *Adapter) {
	m.Adapter, m.Decoder.Patch, m.Method, m.PEFT = a, nil, nil, nil
	if a != nil {
		m.Decoder.Patch, m.Method, m.PEFT = a.Method.Patch, a.Method, a.Config
	}
}

// ReadAdapterConfig reads adapter_config.json of a PEFT folder.
func (m *Model) ReadAdapterConfig(fsys fs.FS) (*config.PEFT, error) {
	const hint = "Choose a folder that holds adapter_config.json and adapter_model.safetensors, as Hugging Face PEFT writes them."
	data, err := ReadSmall(fsys, adapterConfig)
	if err != nil {
		return nil, report.Fail("adapter", report.ExitConfig, hint, fmt.Errorf("adapter: %w", err))
	}
	cfg, dropped, err := config.ParseAdapterConfig(data, adapterConfig)
	for _, key := range dropped {
		m.Remarks = append(m.Remarks, message.NewRemark("key_ignored", "{file}: unknown key {key} ignored", "file", adapterConfig, "key", key))
	}
	return cfg, report.Fail("adapter", report.ExitConfig, hint, err)
}

// AddAdapter adds the adapter of a PEFT folder to the model. It does not put the adapter in use.
func (m *Model) AddAdapter(name string, fsys fs.FS) (*Adapter, error) {
	fsys, err := m.asPEFT(fsys)
	if err != nil {
		return nil, err
	}
	cfg, err := m.ReadAdapterConfig(fsys)
	if err != nil {
		return nil, err
	}
	if err := m.ownHead(fsys); err != nil {
		return nil, err
	}
	if n, names := ScoreOf(fsys); cfg.TaskType == config.SeqCls && n > 0 && m.Decoder.Classes == 0 {
		m.AddScore(n)
		m.Classes = names
	}
	_, err = fs.Stat(fsys, peft.EncoderFile)
	a, err := m.newAdapter(cfg, errors.Is(err, fs.ErrNotExist))
	if err != nil {
		return nil, err
	}
	a.Name = name
	m.Adapters = append(m.Adapters, a)
	return a, m.load(a, fsys, true)
}

// load opens the files of a PEFT folder, which hold the first values of an adapter. Unless complete is set, the files may lack
// parameters of the base model that train with the adapter. Those start with the base model's values.
func (m *Model) load(a *Adapter, fsys fs.FS, complete bool) error {
	const hint = "The adapter belongs to another model or another configuration."
	bad := func(err error) error {
		return report.Fail("adapter", report.ExitConfig, hint, fmt.Errorf("adapter: %w", err))
	}
	a.files = map[string]*weights.Checkpoint{}
	names := []string{adapterFile}
	for _, t := range a.Method.Tensors() {
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
	wrong, err := m.compare(a, names, complete)
	if err != nil {
		return bad(err)
	}
	if problem := wrong.message(); problem != "" {
		return bad(fmt.Errorf("its files do not fit its configuration and this model: %s", problem))
	}
	return nil
}

// compare compares the tensors in the files of the given names with those of the adapter. complete is that of load. Matrices of
// the base model that the files hold are added to the adapter.
func (m *Model) compare(a *Adapter, names []string, complete bool) (*misfits, error) {
	wrong := &misfits{whole: "this adapter"}
	known := map[string]bool{} // by file and key
	for _, t := range a.tensors() {
		known[t.File+"\n"+t.Key] = true
	}
	base := m.Decoder.Params()
	for _, p := range base {
		module := moduleOf(p)
		if key := a.Method.Prefix + module + ofBase + p.Name[len(module):]; !known["\n"+key] && p != m.Decoder.Embedding && p != m.Decoder.Head.Weight {
			if _, ok := a.files[adapterFile].Tensor(key); ok {
				a.trainWithAdapter(p)
				known["\n"+key] = true
			}
		}
	}
	for _, t := range a.tensors() {
		if t.Param == nil {
			continue // computed from other tensors
		}
		lost := a.Method.LosesBiases() && strings.HasSuffix(t.Key, ofBase+".bias") // PEFT 0.13 trains these and saves none
		if _, ok := a.File(t).Tensor(t.Key); !ok && (!complete || lost) && slices.Contains(base, t.Param) {
			continue
		}
		wrong.want(a.File(t), t.Key, t.Param.FileShape())
	}
	for _, file := range names {
		for _, name := range a.files[file].Names() {
			switch {
			case known[strings.TrimPrefix(file, adapterFile)+"\n"+name]:
			case file == adapterFile && m.savedMatrix(a, name) != nil:
				msg, err := m.addSavedMatrix(a, name)
				if err != nil {
					return nil, err
				}
				if msg != "" {
					wrong.other = append(wrong.other, msg)
				}
			default:
				wrong.extra = append(wrong.extra, name)
			}
		}
	}
	return wrong, nil
}

// FirstValues returns the first values of a parameter that no file holds. The method of its adapter a computes them, or they are
// drawn from p.Init. a is nil for a parameter of the base model.
func (m *Model) FirstValues(a *Adapter, p *nn.Param) ([]float32, error) {
	if a != nil {
		if start := a.Method.Start(p); start != nil {
			return start(m.computedValues)
		}
	}
	x := make([]float32, p.Shape.Size())
	p.Init.Fill(x, m.Seed, p.From())
	return x, nil
}

// computedValues reads a parameter of the base model as programs compute with it, quantised and unpacked again, as PEFT does. A
// weight that an adapter's first product is taken out of is read as the file holds it, and what is left is quantised.
func (m *Model) computedValues(p *nn.Param) ([]float32, error) {
	x, err := m.BaseValues(p)
	if err != nil || p.Quant == quant.Plain || m.Residual(p) != nil {
		return x, err
	}
	packed, err := p.Quant.Pack(x, p.Shape[0], p.Shape[1])
	if err != nil {
		return nil, err
	}
	p.Quant.UnpackBytes(x, packed, p.Shape[0], p.Shape[1])
	return x, nil
}

// BaseValues reads a parameter of the base model.
func (m *Model) BaseValues(p *nn.Param) ([]float32, error) {
	if m.Base == nil {
		return m.FirstValues(nil, p)
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

// Residual returns the function that subtracts the first product of the adapter in use from a base weight (PiSSA, OLoRA),
// nil if the method subtracts nothing.
func (m *Model) Residual(p *nn.Param) func([]float32) {
	if m.Method == nil {
		return nil
	}
	return m.Method.Residual(p)
}

// AdapterStart is the folder of the adapter that the run starts from: the checkpoint or init_adapter, nil for none.
func (m *Model) AdapterStart() fs.FS {
	if m.Files.Resume != nil {
		return m.Files.Resume
	}
	return m.Files.Adapter
}

// Adapt adds the adapter of a training run. chosen are the parameters of the base model that train with it. Their modules are
// added to the adapter's modules_to_save, as in PEFT, so that the adapter folder holds everything that the run trains.
// PEFT does not adapt a module of modules_to_save. If the adapter that the run starts from adapts such a module, the module
// stays adapted, and its weight is saved under PEFT's key for the weight of an adapted module.
func (m *Model) Adapt(cfg *config.PEFT, chosen ParamSet) error {
	if m.Files.Adapter != nil {
		var err error
		if m.Files.Adapter, err = m.asPEFT(m.Files.Adapter); err != nil {
			return err
		}
	}
	if cfg.BaseModel == "" {
		cfg.BaseModel = m.Name
	}
	if m.Decoder.Classes > 0 && m.headSpec.at != nn.OnTop && cfg.TaskType != config.SeqCls {
		return report.Fail("config", report.ExitConfig, `Set "task_type": "SEQ_CLS" in peft: the head is then saved with the adapter.`,
			&config.Error{Path: "peft.task_type", Message: fmt.Sprintf("is %q, and the run is a classification", cfg.TaskType)})
	}
	if err := peft.Resolve(m.Decoder, cfg); err != nil {
		return report.Fail("peft", report.ExitConfig, "Leave out what the model knows by itself.", fmt.Errorf("peft: %w", err))
	}
	own, adapted := *cfg, adaptedModules(m.AdapterStart())
	var whole []string
	for _, module := range modulesOf(m.Decoder, chosen) {
		if !adapted[module] && !slices.Contains(own.ModulesToSave, module) {
			whole = append(whole, module)
		}
	}
	// A tied embedding that trains with an adapter is one tensor with the gradients of embedding and head. PEFT loads two modules,
	// so the tensor is saved under both names.
	d := m.Decoder
	embedding := moduleOf(d.Embedding)
	ends := []string{embedding, d.Head.Path}
	tied := d.Tied && slices.Contains(whole, embedding) && !slices.ContainsFunc(ends, func(path string) bool {
		return adapted[path] || slices.ContainsFunc(own.ModulesToSave, func(entry string) bool { return strings.HasSuffix(path, entry) })
	})
	if tied {
		whole = slices.DeleteFunc(whole, func(module string) bool { return module == embedding })
	}
	own.ModulesToSave = slices.Concat(own.ModulesToSave, whole)
	if err := m.Attach(&own); err != nil {
		return err
	}
	if tied {
		own.ModulesToSave = append(own.ModulesToSave, ends...)
		d.Embedding.Trainable = true
		for _, path := range ends {
			m.Adapter.fromBase = append(m.Adapter.fromBase, peft.Tensor{Key: m.Adapter.Method.Prefix + path + ".weight", Param: d.Embedding})
		}
	}
	for _, p := range m.Decoder.Added.Params() {
		p.Trainable = chosen[p]
	}
	for _, p := range m.Decoder.Params() {
		switch {
		case slices.Contains(whole, moduleOf(p)):
			p.Trainable = chosen[p] // the file holds the whole module, also if a pattern has chosen only its weight
		case chosen[p] && !p.Trainable:
			m.Adapter.trainWithAdapter(p)
		}
	}
	return m.startAdapter(own, len(chosen) > 0)
}

// startAdapter opens the files that the adapter in use starts from: those of the run's checkpoint or of init_adapter, if there
// are any. parts says that modules of the base model train with the adapter.
func (m *Model) startAdapter(own config.PEFT, parts bool) error {
	if m.Files.Resume != nil {
		return m.load(m.Adapter, m.Files.Resume, true)
	}
	if m.Files.Adapter == nil {
		return nil
	}
	given, err := m.ReadAdapterConfig(m.Files.Adapter)
	if err != nil {
		return err
	}
	if err := peft.Resolve(m.Decoder, given); err != nil {
		return report.Fail("adapter", report.ExitConfig, "Choose an adapter of this model.", fmt.Errorf("init_adapter: %w", err))
	}
	complete := len(given.BesideHead()) > 0 || !parts
	if parts { // modules_to_save then follows from trainable, and load compares the tensors
		given.ModulesToSave = own.ModulesToSave
	}
	if err := own.SameMaths(given); err != nil {
		return report.Fail("adapter", report.ExitConfig, "Make peft agree with the adapter_config.json of init_adapter, or leave init_adapter out.",
			fmt.Errorf("init_adapter and peft differ: %w", err))
	}
	if err := m.load(m.Adapter, m.Files.Adapter, complete); err != nil {
		return err
	}
	for _, t := range m.Adapter.fromBase {
		if !t.Param.Trainable {
			return report.Fail("adapter", report.ExitConfig, "Merge the adapter into its base and train on that.",
				fmt.Errorf("init_adapter: it brings %s of its own, which differs from the base's", t.Key))
		}
	}
	return nil
}

// LongestPrefix is the largest number of virtual tokens that an adapter of the model puts before a text.
func (m *Model) LongestPrefix() int {
	n := m.Decoder.Virtual()
	for _, a := range m.Adapters {
		n = max(n, a.Method.Patch.Virtual)
	}
	return n
}

// EachAdapter calls f for the base model alone, with nil, and then for each adapter, which is in use meanwhile.
func (m *Model) EachAdapter(f func(a *Adapter) error) error {
	for _, a := range append([]*Adapter{nil}, m.Adapters...) {
		m.Use(a)
		if err := f(a); err != nil {
			if a != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
			return err
		}
	}
	return nil
}

// compareHint is the advice for an adapter that cannot be compared with others.
const compareHint = "Look at this adapter by itself: give one --adapter."

// AddCompared adds one adapter of several that are compared over the same base model. It refuses an adapter that changes
// the base model, because the others need the base model unchanged.
func (m *Model) AddCompared(name string, fsys fs.FS) error {
	if _, err := fs.Stat(fsys, headFile); err == nil {
		return report.Fail("adapter", report.ExitConfig, compareHint, fmt.Errorf("%s: it brings layers of its own (%s), and other adapters need the base as it was", name, headFile))
	}
	a, err := m.AddAdapter(name, fsys)
	if err != nil {
		return report.Fail("adapter", report.ExitConfig, "Choose adapters of this model.", fmt.Errorf("%s: %w", name, err))
	}
	if why := m.ChangesBase(a); why != "" {
		return report.Fail("adapter", report.ExitConfig, compareHint, fmt.Errorf("%s: %s, and other adapters need the base as it was", name, why))
	}
	return nil
}

// ChangesBase says how an adapter changes the parameters of the base model itself, so that the model is not the base model again
// where the adapter is not in use. It returns "" for an adapter that changes none.
func (m *Model) ChangesBase(a *Adapter) string {
	if init := a.Method.MovesBase(); init != "" {
		return init + " takes a part out of the base's weights"
	}
	base := m.Decoder.Params()
	for _, t := range a.tensors() {
		if slices.Contains(base, t.Param) {
			return fmt.Sprintf("it brings base modules of its own (%s)", t.Key)
		}
	}
	if m.Decoder.Added != nil {
		return "it brings layers of its own"
	}
	return ""
}
