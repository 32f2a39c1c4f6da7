package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"strconv"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// headFile holds an added head, in the folder of its model or adapter: head.{k}.weight and head.{k}.bias in float32, with k = 0
// for the layer next to the trunk. Its metadata are a headSpec.
const headFile = "head.safetensors"

// headKey is the key of config.json with the name of the added head's file. Programs that do not know the key load the model
// without the head.
const headKey = "added_head"

// activations are the activations of added heads by their names in run.json and in files.
var activations = map[string]op.Activation{"silu": op.SiLU, "relu": op.ReLU, "gelu": op.GELU, "tanh": op.Tanh}

// headSpec is the description of an added head, which the metadata of its file hold.
type headSpec struct {
	at         nn.Place
	sizes      []int
	activation string
	classes    int      // of a head on top
	names      []string // of the classes, nil if they are not known
}

// metadata is s as the metadata of a file.
func (s headSpec) metadata(model string) (map[string]string, error) {
	sizes, err := json.Marshal(s.sizes)
	m := map[string]string{
		"kind": "fc", "at": string(s.at), "sizes": string(sizes), "activation": s.activation, "num_labels": strconv.Itoa(s.classes),
		"order":      "x = h; for each k: x = head.k.weight @ x + head.k.bias, then activation(x) except after the last; between: h + x",
		"base_model": model,
	}
	if err == nil && s.names != nil {
		var names []byte
		names, err = json.Marshal(s.names)
		m[classesKey] = string(names)
	}
	return m, err
}

// Bounds on the sizes that a file may give.
const (
	maxHeadLayers = 16
	maxWidth      = 1 << 20
)

// openHead opens the file of an added head and reads its metadata.
func openHead(fsys fs.FS, name string) (c *weights.Checkpoint, s headSpec, err error) {
	if c, err = weights.OpenFile(fsys, name); err != nil {
		return nil, s, err
	}
	m := c.Files[0].Metadata
	s.at, s.activation = nn.Place(m["at"]), m["activation"]
	s.classes, err = strconv.Atoi(m["num_labels"])
	_, known := activations[s.activation]
	switch {
	case m["kind"] != "fc" || s.at != nn.Between && s.at != nn.OnTop:
		err = fmt.Errorf("its metadata says kind %q at %q, want fc, between or classify", m["kind"], m["at"])
	case !known:
		err = fmt.Errorf("its metadata names the activation %q", s.activation)
	case err != nil || s.classes < 0 || s.classes > maxWidth || s.at == nn.OnTop && s.classes < 2:
		err = fmt.Errorf("its metadata has num_labels %q", m["num_labels"])
	case json.Unmarshal([]byte(m["sizes"]), &s.sizes) != nil || len(s.sizes) > maxHeadLayers:
		err = fmt.Errorf("its metadata has sizes %.60q", m["sizes"])
	}
	for _, n := range s.sizes {
		if n < 1 || n > maxWidth {
			err = fmt.Errorf("its metadata has a layer of size %d", n)
		}
	}
	if json.Unmarshal([]byte(m[classesKey]), &s.names) != nil || len(s.names) != s.classes {
		s.names = nil
	}
	if err != nil {
		c.Close()
		return nil, s, fmt.Errorf("%s: %w", name, err)
	}
	return c, s, nil
}

// addHead adds the head that s describes. Its values come from c, or are drawn if c is nil.
func (m *Model) addHead(s headSpec, c *weights.Checkpoint) error {
	switch {
	case m.Decoder.Added != nil:
		return errors.New("the model has an added head already")
	case s.at == nn.OnTop && m.Decoder.Classes > 0:
		return errors.New("the model has a head for classes already")
	}
	m.headSpec, m.tiedBase = s, m.Decoder.Tied
	m.Decoder.AddHead(s.at, s.sizes, activations[s.activation], s.classes)
	if s.at == nn.OnTop && s.names != nil {
		m.Classes = s.names
	}
	return m.headFrom(c)
}

// headFrom makes c the file of the added head's values, nil for values that are drawn.
func (m *Model) headFrom(c *weights.Checkpoint) error {
	if m.head = c; c == nil {
		return nil
	}
	for _, p := range m.Decoder.Added.Params() {
		if msg := Mismatch(c, p.Name, p.Shape); msg != "" {
			return errors.New(msg)
		}
	}
	if got, want := len(c.Names()), len(m.Decoder.Added.Params()); got != want {
		return fmt.Errorf("%d tensors where the head has %d", got, want)
	}
	return nil
}

// headHint is the advice for an added head that cannot be used.
const headHint = "Choose a head.safetensors that belongs to this model, or a folder with one."

// ownHead adds the head of a folder that has one.
func (m *Model) ownHead(fsys fs.FS) error {
	if _, err := fs.Stat(fsys, headFile); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c, s, err := openHead(fsys, headFile)
	if err == nil {
		err = m.addHead(s, c)
	}
	return report.Fail("head", report.ExitConfig, headHint, err)
}

// namesHead reports whether a config.json has the key of an added head.
func namesHead(data []byte) bool {
	var c map[string]json.RawMessage
	return json.Unmarshal(data, &c) == nil && string(c[headKey]) == strconv.Quote(headFile)
}

// HeadOf returns the added head that a run's entries of trainable describe, nil for none. It is an error if they describe two.
func HeadOf(cfg *config.Config) (*config.Head, error) {
	var found *config.Head
	look := func(parts []config.Part, path string) error {
		for i, p := range parts {
			switch {
			case p.Head == nil:
			case found == nil:
				found = p.Head
			case !reflect.DeepEqual(*found, *p.Head):
				return report.Fail("config", report.ExitConfig, "Add one head a run.",
					&config.Error{Path: fmt.Sprintf("%s[%d]", path, i), Message: "is another added head than the one before"})
			}
		}
		return nil
	}
	err := look(cfg.Trainable, "trainable")
	for k, stage := range cfg.Unfreeze {
		err = errors.Join(err, look(stage.Trainable, fmt.Sprintf("unfreeze[%d].trainable", k)))
	}
	return found, err
}

// AddHead adds the head h of a run unless the model has it already. classes are the names of the classes. The values come from
// the checkpoint of the run, from the file that init names, or are drawn.
func (m *Model) AddHead(h *config.Head, classes []string) error {
	want := headSpec{at: nn.Place(h.At), sizes: h.Sizes, activation: h.Activation}
	if want.at == nn.OnTop {
		want.names = classes
		want.classes = len(want.names)
	}
	bad := func(err error) error {
		return report.Fail("head", report.ExitConfig, headHint, fmt.Errorf("added head: %w", err))
	}
	if own := m.Decoder.Added; own != nil {
		if got := m.headSpec; got.at != want.at || fmt.Sprint(got.sizes) != fmt.Sprint(want.sizes) || got.activation != want.activation {
			return bad(fmt.Errorf("the model has one %s of sizes %v with %s, not %s of sizes %v with %s", got.at, got.sizes, got.activation, want.at, want.sizes, want.activation))
		}
	} else if err := m.addHead(want, nil); err != nil {
		return bad(err)
	}
	from, name, err := m.startOfHead()
	if err != nil {
		return bad(err)
	}
	if from == nil {
		return nil
	}
	c, got, err := openHead(from, name)
	if err != nil {
		return bad(err)
	}
	if err := m.headFrom(c); err != nil {
		return bad(err)
	}
	if got.at != want.at || got.activation != want.activation {
		return bad(fmt.Errorf("%s holds one %s with %s, not %s with %s", name, got.at, got.activation, want.at, want.activation))
	}
	return nil
}

// startOfHead returns the folder with the first values of an added head and the name of its file, nil for none.
func (m *Model) startOfHead() (from fs.FS, name string, err error) {
	if m.Files.Resume != nil {
		return m.Files.Resume, headFile, nil
	}
	if m.Files.Head == nil {
		return nil, "", nil
	}
	if m.head != nil {
		m.head.Close()
	}
	entries, err := fs.ReadDir(m.Files.Head, ".")
	for _, e := range entries {
		if e.Name() == headFile || name == "" && len(entries) == 1 {
			name = e.Name()
		}
	}
	if err != nil || name == "" {
		return nil, "", fmt.Errorf("init holds no %s", headFile)
	}
	return m.Files.Head, name, nil
}

// Head writes the file of the added head, if the model has one. fill writes the values of a parameter.
func (o Writer) Head(dir string, m *Model, fill func(p *nn.Param, w io.Writer) error) error {
	params := map[string]*nn.Param{}
	var specs []weights.Spec
	for _, p := range m.Decoder.Added.Params() {
		params[p.Name], specs = p, append(specs, weights.Spec{Name: p.Name, DType: tensor.F32, Shape: p.Shape})
	}
	if specs == nil {
		return nil
	}
	s := m.headSpec
	if s.at == nn.OnTop {
		s.names = m.Classes
	}
	metadata, err := s.metadata(m.Name)
	if err != nil {
		return err
	}
	return o.File(path.Join(dir, headFile), func(w io.Writer) error {
		return o.Tensors(w, specs, metadata, func(name string, w io.Writer) error { return fill(params[name], w) })
	})
}

// HeadAsRead writes the values of a parameter that the added head's file holds.
func (m *Model) HeadAsRead(p *nn.Param, w io.Writer) error {
	t, _ := m.head.Tensor(p.Name)
	h, err := m.head.ReadF32(t)
	if err == nil {
		_, err = w.Write(tensor.EncodeF32(nil, h.Data, tensor.F32))
	}
	return err
}
