package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"llamatab/engine/chat"
	"llamatab/engine/config"
	"llamatab/engine/gguf"
	"llamatab/engine/message"
	"llamatab/engine/model"
	_ "llamatab/engine/model/llama" // registers its architectures
	_ "llamatab/engine/model/mistral"
	_ "llamatab/engine/model/qwen2"
	_ "llamatab/engine/model/qwen3"
	_ "llamatab/engine/model/smollm3"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/tokenizer"
	"llamatab/engine/weights"
)

// Model is a decoder with its adapters and the files that hold its values. It needs no device.
type Model struct {
	Decoder   *nn.Decoder
	Method    *peft.Method         // of the adapter in use, nil for none
	PEFT      *config.PEFT         // its configuration
	Base      *weights.Checkpoint  // the file of the base model, nil for a model with random weights
	Tokenizer *tokenizer.Tokenizer // nil if the folder has none
	Config    []byte               // config.json
	Classes   []string             // names of a classifier's classes, nil if they are not known
	Remarks   []message.Remark     // for the person, about the files and how they were read

	head     *weights.Checkpoint // the file of the added head, nil if its values are drawn
	headSpec headSpec            // of the added head
	tiedBase bool                // the model was tied before an added head replaced its output head
	Name     string              // of the base model, for the files of adapters and heads

	// TrainedTemplate is the chat template of the training data where the model does not use it by itself; nil for none.
	TrainedTemplate *chat.Template
	TrainedName     string // the name under which dataset.template chose it among the model's templates, "" for none

	Files    report.Files
	Seed     uint64              // of the values that are drawn
	Adapter  *Adapter            // in use, nil for none
	Adapters []*Adapter          // all adapters of the model
	overlay  *weights.Checkpoint // the trained tensors of a checkpoint, which replace those of Base; nil for none
}

// Close closes the files.
func (m *Model) Close() {
	for _, c := range []*weights.Checkpoint{m.Base, m.overlay, m.head} {
		if c != nil {
			c.Close()
		}
	}
	for _, a := range m.Adapters {
		a.close()
	}
}

// ModelHint is the advice for a model folder that cannot be used.
const ModelHint = "Choose a folder in Hugging Face's format: config.json, model.safetensors (or shards with their index) and, to train on text, tokenizer.json; or a GGUF file."

// Open reads config.json, the header of the weights and the tokenizer of a model folder. random is nil for a model that has
// weights.
func Open(files report.Files, random *config.RandomInit, seed uint64) (*Model, error) {
	m, err := OpenWithoutTokenizer(files, random, seed)
	if err != nil {
		return nil, err
	}
	if err := m.openTokenizer(); err != nil {
		m.Close()
		return nil, report.Fail("model", report.ExitConfig, ModelHint, err)
	}
	return m, nil
}

// OpenWithoutTokenizer is Open for a caller that needs no tokenizer, because it has the encoded rows of the dataset.
func OpenWithoutTokenizer(files report.Files, random *config.RandomInit, seed uint64) (*Model, error) {
	m := &Model{Files: files, Seed: seed}
	bad := func(err error) (*Model, error) {
		m.Close()
		return nil, report.Fail("model", report.ExitConfig, ModelHint, err)
	}
	var err error
	for _, folder := range []*fs.FS{&m.Files.Model, &m.Files.Tokenizer} {
		if *folder, err = gguf.Open(*folder); err != nil {
			return bad(fmt.Errorf("model: %w", err))
		}
	}
	files = m.Files
	if random != nil && random.Config.Object != nil {
		m.Config = random.Config.Object
	} else if m.Config, err = ReadSmall(files.Model, "config.json"); err != nil {
		return bad(fmt.Errorf("model: %w", err))
	}
	if m.Decoder, m.Remarks, err = model.Read(m.Config); err != nil {
		return bad(fmt.Errorf("model: %w", err))
	}
	if m.Decoder.Classes > 0 {
		if m.Classes, err = model.Classes(m.Config); err != nil {
			return bad(fmt.Errorf("model: %w", err))
		}
	}
	if namesHead(m.Config) {
		if err := m.ownHead(files.Model); err != nil {
			return bad(err)
		}
	}
	if random == nil {
		if m.Base, err = weights.Open(files.Model); err != nil {
			return bad(err)
		}
		m.Remarks = append(m.Remarks, m.Base.Remarks...)
		if err := m.reconcile(); err != nil {
			return bad(err)
		}
	}
	return m, nil
}

// maxSmall bounds the JSON files of a model folder, tokenizer.json included.
const maxSmall = 64 << 20

// ReadSmall reads a file of at most 64 MiB. The error of a nil fsys wraps fs.ErrNotExist.
func ReadSmall(fsys fs.FS, name string) ([]byte, error) {
	if fsys == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if info, err := fs.Stat(fsys, name); err == nil && info.Size() > maxSmall {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxSmall)
	}
	return fs.ReadFile(fsys, name)
}

// tokenizerFiles is the folder of the tokenizer and the chat templates: one of their own, or the model's; nil for none.
func (m *Model) tokenizerFiles() fs.FS {
	if m.Files.Tokenizer != nil {
		return m.Files.Tokenizer
	}
	return m.Files.Model
}

func (m *Model) openTokenizer() error {
	fsys := m.tokenizerFiles()
	if fsys == nil { // a model of random weights over rows of tokens
		return nil
	}
	t, err := tokenizer.Open(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	m.Remarks = append(m.Remarks, t.Remarks()...)
	if t.VocabSize() > m.Decoder.Vocab {
		m.Remarks = append(m.Remarks, message.NewRemark("tokenizer_larger", "tokenizer.json has ids up to {id}, the model's vocabulary has {vocabulary}: text that needs the rest is refused",
			"id", t.VocabSize()-1, "vocabulary", m.Decoder.Vocab))
	}
	m.Tokenizer = t
	return nil
}

// Mismatch returns why c has no floating-point tensor of a name and a shape, "" if it has one.
func Mismatch(c *weights.Checkpoint, name string, want tensor.Shape) string {
	t, ok := c.Tensor(name)
	switch {
	case !ok:
		return fmt.Sprintf("%q is missing", name)
	case !t.Shape.Equal(want):
		return fmt.Sprintf("%q has shape %v, want %v", name, t.Shape, want)
	}
	if err := t.CheckFloat(); err != nil {
		return err.Error()
	}
	return ""
}

// list joins problems for one message. It names at most 20.
func list(problems []string) string {
	const most = 20
	if n := len(problems); n > most {
		problems = append(problems[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(problems, "; ")
}

const lmHeadWeight = "lm_head.weight"

// CheckWeights compares the names and shapes of the base checkpoint with those of the model. It makes frozen bfloat16 matrices
// stay bfloat16 on the device, so the trained parameters must be chosen before.
func (m *Model) CheckWeights() error {
	if m.Base == nil {
		return nil
	}
	wrong := misfits{whole: "the model"}
	used := map[string]bool{}
	for _, p := range m.Decoder.Params() {
		used[p.From()] = true
		if p.New || !wrong.want(m.Base, p.From(), p.FileShape()) {
			continue
		}
		t, _ := m.Base.Tensor(p.From())
		if t.DType == tensor.BF16 && !p.Trainable && len(p.Shape) == 2 {
			p.DType = tensor.BF16
		}
	}
	var err error
	if wrong.extra, err = m.leftOver(used); err != nil {
		return report.Fail("model", report.ExitConfig, ModelHint, fmt.Errorf("model: %w", err))
	}
	problem := wrong.message()
	if name := adapterInside(m.Base.Names()); problem != "" && name != "" {
		return report.Fail("model", report.ExitConfig, "Merge the adapter into its base with PEFT's merge_and_unload, save that, and load the merged model.",
			fmt.Errorf("model: the weights hold an adapter beside the base model's own tensors, such as %s", name))
	}
	if problem != "" {
		return report.Fail("model", report.ExitConfig, "The weights do not belong to this config.json.", fmt.Errorf("model: weights do not fit config.json: %s", problem))
	}
	return nil
}

// adapterInside returns the first tensor that PEFT adds to a model while an adapter is attached, "" for none.
func adapterInside(names []string) string {
	for _, name := range names {
		if strings.Contains(name, ".base_layer.") || strings.Contains(name, ".lora_") {
			return name
		}
	}
	return ""
}

// UseCheckpoint makes the folder of a checkpoint the source of the trained values until the returned function is called.
func (m *Model) UseCheckpoint(checkpoint fs.FS) (back func(), err error) {
	overlay, head := m.overlay, m.head
	m.overlay = nil
	var files map[string]*weights.Checkpoint
	if m.Adapter != nil {
		files, m.Adapter.files = m.Adapter.files, nil
	}
	back = func() {
		if m.overlay != nil {
			m.overlay.Close()
		}
		if m.head != head {
			m.head.Close()
			m.head = head
		}
		if m.overlay = overlay; m.Adapter != nil {
			m.Adapter.close()
			m.Adapter.files = files
		}
	}
	if m.Method != nil {
		err = m.load(m.Adapter, checkpoint, true)
	} else {
		err = m.UseTrained(checkpoint)
	}
	if err == nil && m.Decoder.Added != nil {
		var c *weights.Checkpoint
		if c, _, err = openHead(checkpoint, headFile); err == nil {
			err = m.headFrom(c)
		}
	}
	if err != nil {
		back()
	}
	return back, err
}

// UseTrained makes a checkpoint of a run without an adapter the source of the trained parameters.
func (m *Model) UseTrained(fsys fs.FS) error {
	c, err := weights.Open(fsys)
	if err != nil {
		return report.Fail("resume", report.ExitConfig, "Choose a checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	m.overlay = c
	var wrong []string
	for _, p := range m.Decoder.Params() {
		if msg := Mismatch(c, p.Name, p.FileShape()); p.Trainable && msg != "" {
			wrong = append(wrong, msg)
		}
	}
	if wrong != nil {
		return report.Fail("resume", report.ExitConfig, "Choose a checkpoint of a run with the same model and configuration.",
			fmt.Errorf("resume_from_checkpoint: weights do not fit: %s", list(wrong)))
	}
	return nil
}

// OwnParams lists the parameters of the base model, then those of an added head.
func (m *Model) OwnParams() []*nn.Param {
	return append(m.Decoder.Params(), m.Decoder.Added.Params()...)
}

// Params lists every parameter: those of the base model, of an added head, and of the adapters.
func (m *Model) Params() []*nn.Param {
	all := m.OwnParams()
	seen := map[*nn.Param]bool{}
	for _, p := range all {
		seen[p] = true
	}
	for _, a := range m.Adapters {
		for _, t := range a.Method.Tensors() {
			if t.Param != nil && !seen[t.Param] {
				all = append(all, t.Param)
			}
		}
	}
	return all
}

// configWith returns config.json with the given keys replaced.
func configWith(data []byte, set map[string]any) ([]byte, error) {
	var keys map[string]any
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	for k, v := range set {
		keys[k] = v
	}
	return json.MarshalIndent(keys, "", "  ")
}

// Freeze makes all parameters frozen.
func (m *Model) Freeze() {
	for _, p := range m.Params() {
		p.Trainable = false
	}
}
