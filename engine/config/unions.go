package config

import (
	"encoding/json"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
)

// Model is where the weights come from: a path or name, or a random initialisation.
type Model struct {
	Path   string // Hugging Face folder, builtin:NAME, hub name or .gguf file; "" when Random is set
	Random *RandomInit
}

// atCommit is a model of a hub at a commit, org/name@COMMIT.
var atCommit = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*)@[0-9a-f]{40}$`)

// Name is what an adapter calls its base model: org/name for a model of a hub, else the last part of the path.
func (m Model) Name() string {
	if hub := atCommit.FindStringSubmatch(m.Path); hub != nil {
		return hub[1]
	}
	return path.Base(filepath.ToSlash(m.Path))
}

// RandomInit starts a model from scratch.
type RandomInit struct {
	Init      string       `json:"init"`      // "random"
	Config    ObjectOrPath `json:"config"`    // of the model
	Tokenizer *string      `json:"tokenizer"` // folder or tokenizer.json; nil: the dataset holds tokens
}

func (m *Model) decode(d *decoder, n *node, path string) error {
	switch v := n.value.(type) {
	case string:
		*m = Model{Path: v}
		return nil
	case *object:
		m.Random = new(RandomInit)
		return d.into(n, path, m.Random)
	}
	return d.wants(n, path, `a string or {"init": "random", …}`)
}

// MarshalJSON implements json.Marshaler.
func (m Model) MarshalJSON() ([]byte, error) {
	if m.Random != nil {
		return json.Marshal(m.Random)
	}
	return json.Marshal(m.Path)
}

// ObjectOrPath is a JSON object, in place or in a file.
type ObjectOrPath struct {
	Path   string
	Object json.RawMessage // nil when Path is set
}

func (o *ObjectOrPath) decode(d *decoder, n *node, path string) (err error) {
	switch v := n.value.(type) {
	case string:
		o.Path = v
		return nil
	case *object:
		o.Object, err = json.Marshal(n)
		return err
	}
	return d.wants(n, path, "an object or a path")
}

// MarshalJSON implements json.Marshaler.
func (o ObjectOrPath) MarshalJSON() ([]byte, error) {
	if o.Object != nil {
		return o.Object, nil
	}
	return json.Marshal(o.Path)
}

// Quantization of the frozen linear weights of the blocks, spelled "nf4" or {"type": "nf4", "double_quant": true}.
type Quantization struct {
	Type        string `json:"type"`         // int8, nf4, q4_0 or q8_0
	DoubleQuant bool   `json:"double_quant"` // the scales of nf4 are quantised, too
}

// MarshalJSON writes the word where it says all.
func (q Quantization) MarshalJSON() ([]byte, error) {
	if !q.DoubleQuant {
		return json.Marshal(q.Type)
	}
	type plain Quantization
	return json.Marshal(plain(q))
}

func (q *Quantization) decode(d *decoder, n *node, path string) error {
	if s, ok := n.value.(string); ok {
		q.Type = s
		return nil
	}
	type plain Quantization
	return d.into(n, path, (*plain)(q))
}

// Checkpointing is how many blocks recompute their activations in the backward pass; 0 is none.
type Checkpointing int

// The two numbers of blocks that are not written as numbers.
const (
	CheckpointAll  Checkpointing = -1 // true
	CheckpointAuto Checkpointing = -2 // "auto": as many as the memory budget needs
)

func (c *Checkpointing) decode(d *decoder, n *node, path string) error {
	if blocks, ok := n.integer(); ok && blocks >= 0 {
		*c = Checkpointing(blocks)
		return nil
	}
	switch n.value {
	case false:
		*c = 0
	case true:
		*c = CheckpointAll
	case "auto":
		*c = CheckpointAuto
	default:
		return d.wants(n, path, `true, false, "auto" or a number of blocks`)
	}
	return nil
}

// String spells c as JSON does.
func (c Checkpointing) String() string {
	switch c {
	case 0:
		return "false"
	case CheckpointAll:
		return "true"
	case CheckpointAuto:
		return `"auto"`
	}
	return strconv.Itoa(int(c))
}

// MarshalJSON implements json.Marshaler.
func (c Checkpointing) MarshalJSON() ([]byte, error) { return []byte(c.String()), nil }
