package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// Part is one entry of trainable: a selection of the base model's parameters, or a head that is added to it.
type Part struct {
	Select string // "all", "lm_head", "layers:last:2", …; "" when Head is set
	Head   *Head
}

// Head is a stack of linear layers added to the model.
type Head struct {
	Add        string  `json:"add"`                    // "fc": fully connected layers
	At         string  `json:"at"`                     // "classify": on the trunk's last real token; "between": trunk and output head
	Sizes      []int   `json:"sizes"`                  // of the inner layers
	Activation string  `json:"activation"`             // between the layers
	NumLabels  int     `json:"num_labels" null:"zero"` // at classify; 0: as many as the dataset has labels
	Init       *string `json:"init"`                   // a head's file, or a folder with head.safetensors, to start from
}

func (h *Head) defaults() { *h = Head{Sizes: []int{}, Activation: "silu"} }

// Activations are the accepted Head.Activation.
var Activations = []string{"silu", "relu", "gelu", "tanh"}

// Bounds on an added head.
const (
	maxLayers = 16
	maxWidth  = 1 << 16
)

// rules of a head that stands at path.
func (h *Head) rules(path string) []Rule {
	rules := []Rule{
		OneOf(join(path, "add"), h.Add, []string{"fc"}),
		OneOf(join(path, "at"), h.At, []string{"classify", "between"}),
		OneOf(join(path, "activation"), h.Activation, Activations),
		Must(len(h.Sizes) <= maxLayers, join(path, "sizes"), fmt.Sprintf("has %d layers, more than %d", len(h.Sizes), maxLayers), ""),
		Must(h.NumLabels == 0 || h.NumLabels > 1 && h.NumLabels <= maxWidth, join(path, "num_labels"), fmt.Sprintf("is %d, wants at least 2 classes", h.NumLabels), "leave it out: the dataset's labels are counted"),
		Must(h.Init == nil || *h.Init != "", join(path, "init"), "is empty", "use null or a file"),
	}
	for i, n := range h.Sizes {
		rules = append(rules, Within(index(join(path, "sizes"), i), n, 1, maxWidth))
	}
	return rules
}

// Stage of progressive unfreezing: from Step updates on, Trainable trains.
type Stage struct {
	Step      int    `json:"step"`
	Trainable []Part `json:"trainable"`
}

func (p *Part) decode(d *decoder, n *node, path string) error {
	switch v := n.value.(type) {
	case string:
		p.Select = v
		return nil
	case *object:
		p.Head = new(Head)
		p.Head.defaults()
		return d.into(n, path, p.Head)
	}
	return d.wants(n, path, `a string or {"add": …}`)
}

// MarshalJSON implements json.Marshaler.
func (p Part) MarshalJSON() ([]byte, error) {
	if p.Head != nil {
		return json.Marshal(p.Head)
	}
	return json.Marshal(p.Select)
}

// String names p for messages.
func (p Part) String() string {
	if p.Head != nil {
		return fmt.Sprintf("an added head at %s", p.Head.At)
	}
	return fmt.Sprintf("%q", p.Select)
}

// Words of trainable, besides layers and regex.
const (
	All         = message.PartAll
	LMHead      = message.PartLMHead
	Score       = message.PartScore
	EmbedTokens = message.PartEmbedTokens
	Norm        = message.PartNorm
)

const (
	layersPrefix = message.LayersPrefix
	regexPrefix  = "regex:"
)

// partWord is one form of an entry of trainable.
type partWord struct {
	form, example string
	title         *message.Text
}

// partWords are the forms of an entry of trainable, in the order in which they are named. A form that has an example is
// offered by it, under its title where it has one.
var partWords = []partWord{
	{All, All, both("All weights", "全部权重")},
	{LMHead, LMHead, both("Output head", "输出头")},
	{Score, Score, both("Classification head", "分类头")},
	{EmbedTokens, EmbedTokens, both("Embeddings", "词嵌入")},
	{Norm, Norm, both("Final norm", "最后的归一化")},
	{layersPrefix + "last:N", layersPrefix + "last:2", both("Last two layers", "最后两层")},
	{layersPrefix + "first:N", layersPrefix + "first:1", both("First layer", "第一层")},
	{layersPrefix + "3,7", "", nil},
	{regexPrefix + "PATTERN", regexPrefix + `\.mlp\.`, nil},
}

func both(en, zh string) *message.Text {
	t := message.Both(en, zh)
	return &t
}

// PartForms lists the forms of an entry of trainable that selects parts of the base model.
func PartForms() (forms []string) {
	for _, w := range partWords {
		forms = append(forms, w.form)
	}
	return forms
}

// layerSet is what a layers entry says: the first or the last so many blocks, or a list of them.
type layerSet struct {
	first, last int
	list        []int
}

func parseLayers(spec string) (set layerSet, err error) {
	number := func(s string, least int) int {
		i, e := strconv.Atoi(s)
		if e != nil || i < least || s[0] == '+' {
			err = fmt.Errorf("%q is no number of at least %d", clip(s), least)
		}
		return i
	}
	if n, ok := strings.CutPrefix(spec, "first:"); ok {
		set.first = number(n, 1)
	} else if n, ok := strings.CutPrefix(spec, "last:"); ok {
		set.last = number(n, 1)
	} else {
		for _, s := range strings.Split(spec, ",") {
			set.list = append(set.list, number(s, 0))
		}
	}
	return set, err
}

// Parts lists every entry of trainable and of the stages of unfreeze.
func (c *Config) Parts() []Part {
	parts := slices.Clone(c.Trainable)
	for _, stage := range c.Unfreeze {
		parts = append(parts, stage.Trainable...)
	}
	return parts
}

// ParseParts reads selections that were given one by one, outside of a run.json; path names them in errors.
func ParseParts(selections []string, path string) (parts []Part, err error) {
	for i, s := range selections {
		p := Part{Select: s}
		if bad := firstBroken([]Rule{p.rule(index(path, i))}); bad != nil {
			return nil, bad
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// Layers are the blocks that the entry selects in a model of n, nil where it selects none. It is an error to ask for
// one that the model does not have.
func (p Part) Layers(n int) (blocks []int, err error) {
	spec, ok := strings.CutPrefix(p.Select, layersPrefix)
	if !ok {
		return nil, nil
	}
	set, err := parseLayers(spec)
	switch k := max(set.first, set.last); {
	case err != nil:
		return nil, err
	case k > n:
		return nil, fmt.Errorf("asks for %d layers, the model has %d", k, n)
	case set.last > 0:
		for i := n - set.last; i < n; i++ {
			blocks = append(blocks, i)
		}
		return blocks, nil
	}
	for i := range set.first {
		blocks = append(blocks, i)
	}
	for _, i := range set.list {
		if i >= n {
			return nil, fmt.Errorf("names layer %d, the model has %d layers: 0 to %d", i, n, n-1)
		}
		blocks = append(blocks, i)
	}
	return blocks, nil
}

// Regexp is the compiled pattern of a regex entry, nil for any other. It is searched for in a parameter's name.
func (p Part) Regexp() *regexp.Regexp {
	if pattern, ok := strings.CutPrefix(p.Select, regexPrefix); ok {
		re, _ := regexp.Compile(pattern) // which Validate has checked
		return re
	}
	return nil
}

// rule is what must hold of an entry that stands at path, as far as that can be told without the model.
func (p Part) rule(path string) Rule {
	bad := func(message, next string) Rule { return Must(false, path, message, next) }
	switch layerSpec, isLayers := strings.CutPrefix(p.Select, layersPrefix); {
	case p.Head != nil:
		if e := firstBroken(p.Head.rules(path)); e != nil {
			return Rule{path: e.Path, message: e.Message, next: e.Next, kind: e.Kind, about: e.About}
		}
	case isLayers:
		if _, err := parseLayers(layerSpec); err != nil {
			return bad(fmt.Sprintf("%q: %v", clip(p.Select), err), "write layers:last:2, layers:first:1 or layers:3,7")
		}
	case strings.HasPrefix(p.Select, regexPrefix):
		if _, err := regexp.Compile(p.Select[len(regexPrefix):]); err != nil {
			return bad(fmt.Sprintf("%q: is no regular expression: %v", clip(p.Select), err), "use Go's syntax (RE2)")
		}
	case !slices.ContainsFunc(partWords, func(w partWord) bool { return w.form == p.Select && w.form == w.example }):
		return bad(NotOneOf(p.Select, append(PartForms(), `or {"add": "fc", …}`)), "")
	}
	return Rule{ok: true}
}

// partExamples are the ways of fine-tuning without an adapter that are compared with others.
var partExamples = []Example{
	trainable("full", 0, "all weights", message.Both("all weights", "全部权重"), 3e-3, All),
	trainable("layers-last-2", 10, "the last two blocks", message.Both("the last two blocks", "最后两个块"), 3e-3, "layers:last:2"),
	trainable("head", 20, "the output head, untied", message.Both("the output head alone", "仅输出头"), 1e-2, LMHead),
}

func trainable(name string, place int, trains string, title message.Text, rate float64, part string) Example {
	return Example{Name: name, Place: place, Trains: trains, Title: title, Rate: rate, Key: "trainable", Value: func(int) any { return []string{part} }}
}
