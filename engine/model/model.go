// Package model is the registry of architectures. A model package registers its family by the names that config.json
// has for it, and builds a decoder whose parameters carry the checkpoint's names.
package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/strictjson"
)

// Build makes a decoder from the text of a config.json. It reads no weights. The remarks say what a person should know of
// how the file was read.
type Build func(config []byte) (*nn.Decoder, []message.Remark, error)

// Family is a family of models as transformers names it.
type Family struct {
	Prefix    string // of its architectures, and its name to people: "Llama" of LlamaForCausalLM
	ModelType string // config.json's model_type: "llama"
	Build     Build
}

// Endings of an architecture's name in transformers.
const (
	causalLM   = "ForCausalLM"
	classifier = "ForSequenceClassification"
	inner      = "Model" // the trunk, whose file may still hold a tied head
)

var families []Family

// Register makes a family known. It is called from init functions.
func Register(f Family) {
	families = append(families, f)
	slices.SortFunc(families, func(a, b Family) int { return strings.Compare(a.Prefix, b.Prefix) })
}

// Families lists the families that are known, as Qwen2, in alphabetical order.
func Families() (names []string) {
	for _, f := range families {
		names = append(names, f.Prefix)
	}
	return names
}

// Architectures lists the names that New knows, in alphabetical order.
func Architectures() (names []string) {
	for _, f := range families {
		names = append(names, f.Prefix+causalLM, f.Prefix+classifier)
	}
	return names
}

// New builds the decoder that a config.json describes. Architectures that nobody registered are refused by name.
func New(config []byte) (*nn.Decoder, error) {
	d, _, err := Read(config)
	return d, err
}

// Read is New, with remarks on how the file was read.
func Read(config []byte) (*nn.Decoder, []message.Remark, error) {
	f, classes, remarks, err := find(config)
	if err != nil {
		return nil, nil, fmt.Errorf("config.json: %w", err)
	}
	d, more, err := f.Build(config)
	if err != nil {
		return nil, nil, err
	}
	if d.PadToken, err = padToken(config); err != nil {
		return nil, nil, err
	}
	if classes {
		names, err := Classes(config)
		if err != nil {
			return nil, nil, err
		}
		d.Classify(len(names))
	}
	return d, append(remarks, more...), nil
}

// padToken is the id of the padding token that a config.json names, nil for none. An id below 0 stands for no token.
func padToken(config []byte) (*int32, error) {
	var c struct {
		Pad *int32 `json:"pad_token_id"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", TypeError(err))
	}
	if c.Pad != nil && *c.Pad < 0 {
		return nil, nil
	}
	return c.Pad, nil
}

// ClassifierOf names the architecture for sequence classification of the family that a config.json belongs to.
func ClassifierOf(config []byte) (string, error) {
	f, _, _, err := find(config)
	if err != nil {
		return "", fmt.Errorf("config.json: %w", err)
	}
	return f.Prefix + classifier, nil
}

// find says which family a config.json belongs to, and whether it describes a classifier. As transformers' AutoModel,
// it goes by model_type where architectures is absent or has a name of somebody's own.
func find(config []byte) (f Family, classes bool, remarks []message.Remark, err error) {
	var head struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
	}
	if bytes.HasPrefix(config, []byte("\xef\xbb\xbf")) {
		return f, false, nil, errors.New("begins with a byte order mark (BOM): save it as UTF-8 without one")
	}
	if err := json.Unmarshal(config, &head); err != nil {
		return f, false, nil, TypeError(err)
	}
	if key, found := strictjson.RepeatedKey(config); found {
		return f, false, nil, fmt.Errorf("the key %q occurs twice in one object: remove the value that is wrong", key)
	}
	typed := slices.IndexFunc(families, func(f Family) bool { return f.ModelType == head.ModelType })
	known := strings.Join(Architectures(), ", ")
	if len(head.Architectures) == 0 {
		if typed < 0 {
			return f, false, nil, fmt.Errorf(`no "architectures" (model_type %q): expected one of %s`, head.ModelType, known)
		}
		return families[typed], false, nil, nil
	}
	name := head.Architectures[0]
	for i, f := range families {
		ending, ok := cutFold(name, f.Prefix)
		if !ok || !slices.Contains([]string{causalLM, classifier, inner}, ending) {
			continue
		}
		if typed >= 0 && typed != i {
			return f, false, nil, fmt.Errorf("architecture %q and model_type %q are of two families: correct the one that is wrong", name, head.ModelType)
		}
		return f, ending == classifier, nil, nil
	}
	if typed < 0 || !strings.HasSuffix(name, causalLM) {
		return f, false, nil, fmt.Errorf("architecture %q is not supported: expected one of %s", name, known)
	}
	read := families[typed].Prefix + causalLM
	return families[typed], false, []message.Remark{message.NewRemark("architecture_unknown",
		"config.json: architecture {architecture} is unknown: read as {read}, which model_type {type} stands for", "architecture", name, "read", read, "type", head.ModelType)}, nil
}

// cutFold is strings.CutPrefix that takes capital and small letters for the same.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
