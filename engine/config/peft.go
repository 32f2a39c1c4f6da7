package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// PEFT is an adapter's configuration, as PEFT's config classes and adapter_config.json spell it: the keys that all
// classes share, then those of each. Only what this engine computes has a field; see classes for the other keys.
// Sizes of the model that are 0 are null: the model knows them.
type PEFT struct {
	Type      string  `json:"peft_type"`
	BaseModel string  `json:"base_model_name_or_path"`
	Revision  *string `json:"revision"`
	TaskType  string  `json:"task_type"`

	// LoraConfig and, as far as the names agree, IA3Config and AdaptionPromptConfig.
	TargetModules     Modules           `json:"target_modules"`  // zero: what is usual for the model
	ExcludeModules    Modules           `json:"exclude_modules"` // zero: none
	ModulesToSave     Strings           `json:"modules_to_save"` // base modules that train and are saved whole
	R                 int               `json:"r"`
	Alpha             float64           `json:"lora_alpha"`   // the adapter is scaled by alpha/r, or alpha/√r with RSLoRA
	Dropout           float64           `json:"lora_dropout"` // [0, 1)
	RSLoRA            bool              `json:"use_rslora"`
	DoRA              bool              `json:"use_dora"`
	Init              InitLoRA          `json:"init_lora_weights"`
	LayersToTransform Ints              `json:"layers_to_transform"` // nil: all
	LayersPattern     Strings           `json:"layers_pattern"`
	RankPattern       Patterns[int]     `json:"rank_pattern"`  // ranks that differ from R
	AlphaPattern      Patterns[float64] `json:"alpha_pattern"` // alphas that differ from Alpha
	Bias              string            `json:"bias"`          // which of the base's biases train: none, all or lora_only

	// IA3Config.
	FeedForward Modules `json:"feedforward_modules"` // those of TargetModules whose input is scaled
	InitIA3     bool    `json:"init_ia3_weights"`    // start at 1

	// PromptLearningConfig.
	VirtualTokens int `json:"num_virtual_tokens"`
	TokenDim      int `json:"token_dim"`
	Submodules    int `json:"num_transformer_submodules"`
	Heads         int `json:"num_attention_heads"`
	Layers        int `json:"num_layers"`

	// PrefixTuningConfig.
	EncoderHidden int    `json:"encoder_hidden_size"`
	Projection    bool   `json:"prefix_projection"` // the prefix is the output of a small network
	InitPrefix    string `json:"init_weights"`      // "" or zero

	// PromptTuningConfig.
	InitPrompt string `json:"prompt_tuning_init"` // RANDOM, TEXT or SAMPLE_VOCAB
	InitText   string `json:"prompt_tuning_init_text"`
	Tokenizer  string `json:"tokenizer_name_or_path"` // told, not read: the text is encoded with the model's own

	// AdaptionPromptConfig.
	AdapterLen    int `json:"adapter_len"`    // slots a layer
	AdapterLayers int `json:"adapter_layers"` // the last of the model's
}

// The peft_type of a PEFT, and CausalLM, the task_type of a language model.
const (
	LORA           = "LORA"
	PrefixTuning   = "PREFIX_TUNING"
	AdaptionPrompt = "ADAPTION_PROMPT"
	IA3            = "IA3"
	PromptTuning   = "PROMPT_TUNING"
	CausalLM       = "CAUSAL_LM"
)

// Ways in which a prompt starts.
const (
	PromptRandom = "RANDOM"       // normal with deviation 1
	PromptText   = "TEXT"         // as the embeddings of a text
	PromptSample = "SAMPLE_VOCAB" // as the embeddings of random tokens
)

// class is one of PEFT's config classes.
type class struct {
	// keys have a field and decide what the adapter computes or how it trains; marks have one and do not.
	keys, marks []string
	// refused alter the maths in a way that is not implemented. They are accepted where they say nothing: null, false
	// or empty.
	refused []string
	// inert change no number here, whatever they hold.
	inert []string
	// since are keys that PEFT 0.13 does not read: they are written where they say something.
	since []string
}

var (
	everyMark  = []string{"peft_type", "base_model_name_or_path", "revision", "task_type"}
	everyInert = []string{"auto_mapping", "inference_mode", "peft_version"}
)

func promptLearning(c class) class {
	c.since = append(c.since, "modules_to_save")
	c.keys = append(c.keys, "modules_to_save", "num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers")
	return c
}

var classes = map[string]class{
	LORA: {
		keys: []string{
			"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "modules_to_save", "target_modules", "exclude_modules",
			"layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "init_lora_weights",
		},
		refused: []string{
			"alora_invocation_tokens", "arrow_config", "bdlora_config", "corda_config", "ensure_weight_tying", "eva_config",
			"fan_in_fan_out", "kasa_config", "layer_replication", "loftq_config", "lora_bias", "lora_ga_config", "megatron_config",
			"monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config",
		},
		inert: []string{"megatron_core", "qalora_group_size", "runtime_config"},
		since: []string{"exclude_modules"},
	},
	PrefixTuning: promptLearning(class{
		keys:  []string{"prefix_projection", "encoder_hidden_size"},
		marks: []string{"init_weights"}, since: []string{"init_weights"},
	}),
	PromptTuning: promptLearning(class{
		marks:   []string{"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path"},
		refused: []string{"tokenizer_kwargs"},
	}),
	AdaptionPrompt: {
		keys:  []string{"adapter_len", "adapter_layers", "target_modules", "modules_to_save"},
		since: []string{"modules_to_save"},
	},
	IA3: {
		keys:  []string{"target_modules", "exclude_modules", "feedforward_modules", "modules_to_save"},
		marks: []string{"init_ia3_weights"}, since: []string{"exclude_modules"},
		refused: []string{"fan_in_fan_out"},
	},
}

// Types are the peft_types that there are.
var Types = []string{LORA, PrefixTuning, AdaptionPrompt, IA3, PromptTuning}

// fields are the keys of the class that have a field.
func (c class) fields() []string { return slices.Concat(everyMark, c.marks, c.keys) }

// known are all keys of the class.
func (c class) known() []string { return slices.Concat(c.fields(), c.refused, everyInert, c.inert) }

// peftKeys are the keys of all classes.
func peftKeys() []string {
	var all []string
	for _, t := range Types {
		all = append(all, classes[t].known()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (p *PEFT) defaults() {
	*p = PEFT{R: 8, Alpha: 8, Init: InitDefault, Bias: "none", InitIA3: true, InitPrompt: PromptRandom, TaskType: CausalLM}
}

func (p *PEFT) decode(d *decoder, n *node, path string) error {
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object or null")
	}
	c, err := classOf(d, n, o, path)
	if err != nil {
		return err
	}
	known := &object{values: o.values} // what has a field; null leaves the default
	fields := c.fields()
	for _, key := range o.keys {
		value := o.values[key]
		switch {
		case slices.Contains(fields, key):
			if value.value != nil {
				known.keys = append(known.keys, key)
			}
		case slices.Contains(c.refused, key):
			if !value.empty() {
				return d.fail(value, join(path, key), value.kind()+" is not available in this version, and it would change the result",
					"leave the key out")
			}
		case slices.Contains(everyInert, key), slices.Contains(c.inert, key):
		default:
			if err := d.unknown(value, path, key, c.known()); err != nil {
				return err
			}
		}
	}
	type plain PEFT
	err = d.into(&node{at: n.at, value: known}, path, (*plain)(p))
	p.saveHead()
	return err
}

// classOf comes before the other keys, which depend on the type.
func classOf(d *decoder, n *node, o *object, path string) (class, error) {
	path = join(path, "peft_type")
	t := o.values["peft_type"]
	if t == nil {
		return class{}, d.fail(n, path, "is missing", `add "peft_type": "LORA"`)
	}
	name, ok := t.value.(string)
	if !ok {
		return class{}, d.wants(t, path, "a string")
	}
	if c, ok := classes[name]; ok {
		return c, nil
	}
	return class{}, d.fail(t, path, choice(name, Types), "")
}

// ParseAdapterConfig reads an adapter_config.json. Unknown keys are dropped, as PEFT does, and named; a known key that
// alters the maths in a way that is not implemented is an error.
func ParseAdapterConfig(data []byte, file string) (p *PEFT, dropped []string, err error) {
	d := &decoder{file: file, src: trimBOM(data), dropped: &dropped}
	root, err := d.tree()
	if err != nil {
		return nil, nil, err
	}
	if err := d.into(root, "", &p); err != nil {
		return nil, nil, err
	}
	if p == nil {
		return nil, nil, &Error{File: file, Message: "holds null, not an adapter's configuration"}
	}
	if bad := firstBroken(p.rules("")); bad != nil {
		bad.File = file
		return nil, nil, bad
	}
	for i, key := range dropped {
		dropped[i] = clip(key)
	}
	return p, dropped, nil
}

// value is what a field holds, a size or a text that says nothing as null.
func (p *PEFT) value(key string) any {
	v := reflect.ValueOf(p).Elem().Field(fieldIndex(peftType, key))
	switch x := v.Interface().(type) {
	case int:
		if x == 0 {
			return nil
		}
	case string:
		if x == "" {
			return nil
		}
	case Modules:
		if x.IsZero() {
			return nil
		}
	case Strings:
		if x == nil {
			return nil
		}
	}
	return v.Interface() // a nil list is null
}

// fileKeys are p's keys in adapter_config.json: those that every version of PEFT since 0.13 reads.
func (p *PEFT) fileKeys() map[string]any {
	c := classes[p.Type]
	m := map[string]any{"auto_mapping": nil, "inference_mode": false}
	for _, key := range c.fields() {
		v, late := p.value(key), slices.Contains(c.since, key)
		if late && key == "modules_to_save" && len(p.BesideHead()) == 0 {
			v = nil // the class saves the head of a classification without telling
		}
		if v != nil || !late {
			m[key] = v
		}
	}
	switch p.Type {
	case LORA:
		m["fan_in_fan_out"], m["layer_replication"], m["loftq_config"] = false, nil, struct{}{}
		m["megatron_config"], m["megatron_core"] = nil, "megatron.core"
	case IA3:
		m["fan_in_fan_out"] = false
	case PromptTuning:
		m["tokenizer_kwargs"] = nil
	}
	return m
}

// MarshalJSON implements json.Marshaler: p as run.json holds it.
func (p *PEFT) MarshalJSON() ([]byte, error) { return json.Marshal(p.fileKeys()) }

// AdapterConfig is p as PEFT saves it in adapter_config.json: sorted keys, two spaces of indent, ready for inference.
// An integral lora_alpha is written as an integer, since Ollama reads it into one.
func (p *PEFT) AdapterConfig() ([]byte, error) {
	m := p.fileKeys()
	m["inference_mode"] = true
	return json.MarshalIndent(m, "", "  ")
}

// SameMaths tells whether p and other describe the same adapter: nil when every key that alters what it computes
// or how it trains agrees (lists as sets), else an error that names the first key that does not. The initialisation
// is not compared: where two adapters meet, the weights are there.
func (p *PEFT) SameMaths(other *PEFT) error {
	if p == nil || other == nil {
		if p == other {
			return nil
		}
		return errors.New("config: one side has an adapter, the other has none")
	}
	differ := func(key string, a, b any) error {
		return fmt.Errorf("config: adapters differ in %s: %s against %s", key, fmt.Sprint(a), fmt.Sprint(b))
	}
	if p.Type != other.Type {
		return differ("peft_type", p.Type, other.Type)
	}
	for _, key := range classes[p.Type].keys {
		if a, b := p.asSet(key), other.asSet(key); fmt.Sprint(a) != fmt.Sprint(b) {
			return differ(key, a, b)
		}
	}
	return nil
}

// asSet is what a field holds as far as it counts, without the order of its parts.
func (p *PEFT) asSet(key string) any {
	if key == "encoder_hidden_size" && !p.Projection {
		return nil
	}
	switch x := p.value(key).(type) {
	case Modules:
		if key == "exclude_modules" && x.Pattern == "" && len(x.Names) == 0 {
			return nil
		}
		return x.set()
	case Strings:
		if len(x) == 0 {
			return nil
		}
		return set(x)
	case InitLoRA: // of no account where the weights are there, unless the base is another for it
		if !x.MovesBase() {
			return ""
		}
		return x
	case Ints:
		return set(x)
	case Patterns[int]:
		return x.set()
	case Patterns[float64]:
		return x.set()
	default:
		return x
	}
}

// set sorts a list and drops what is there twice.
func set[T int | string](list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }

// Modules names modules by a list of suffixes, or by one string: a regular expression over whole names, or
// "all-linear". The zero Modules is null.
type Modules struct {
	Names   []string
	Pattern string
}

// IsZero tells whether m is null.
func (m Modules) IsZero() bool { return m.Names == nil && m.Pattern == "" }

func (m Modules) set() string { return fmt.Sprintf("%q%q", set(m.Names), m.Pattern) }

func (m *Modules) decode(d *decoder, n *node, path string) error {
	if s, ok := n.value.(string); ok && s != "" {
		m.Pattern = s
		return nil
	}
	if _, ok := n.value.([]*node); !ok {
		return d.wants(n, path, "a list of module names or a regular expression")
	}
	return d.into(n, path, &m.Names)
}

// MarshalJSON implements json.Marshaler.
func (m Modules) MarshalJSON() ([]byte, error) {
	if m.Pattern != "" {
		return json.Marshal(m.Pattern)
	}
	return json.Marshal(m.Names)
}

// InitLoRA is how the adapter starts.
type InitLoRA string

// The implemented ways. The first two have B = 0; the last two take the pair out of the base's weight.
const (
	InitDefault  InitLoRA = "true"     // A uniform in ±1/√in
	InitGaussian InitLoRA = "gaussian" // A normal with standard deviation 1/r
	InitRandom   InitLoRA = "false"    // A and B as a fresh linear layer: not a no-op
	InitPiSSA    InitLoRA = "pissa"    // the largest singular values of the weight
	InitOLoRA    InitLoRA = "olora"    // the beginning of its QR decomposition
)

// MovesBase tells whether the adapter starts as a part of the base's weights, which these then lack.
func (i InitLoRA) MovesBase() bool { return i == InitPiSSA || i == InitOLoRA }

func (i *InitLoRA) decode(d *decoder, n *node, path string) error {
	switch v := n.value.(type) {
	case bool:
		*i = InitLoRA(strconv.FormatBool(v))
		return nil
	case string:
		if slices.Contains([]InitLoRA{InitGaussian, InitPiSSA, InitOLoRA}, InitLoRA(v)) {
			*i = InitLoRA(v)
			return nil
		}
		return d.fail(n, path, strconv.Quote(clip(v))+" is not available in this version", `true, false, "gaussian", "pissa" and "olora" are`)
	}
	return d.wants(n, path, `true, false, "gaussian", "pissa" or "olora"`)
}

// MarshalJSON implements json.Marshaler.
func (i InitLoRA) MarshalJSON() ([]byte, error) {
	if i == InitDefault || i == InitRandom {
		return []byte(i), nil
	}
	return json.Marshal(string(i))
}

// Ints is a list of integers, or one alone.
type Ints []int

func (l *Ints) decode(d *decoder, n *node, path string) error {
	if i, ok := n.integer(); ok {
		*l = Ints{i}
		return nil
	}
	return d.into(n, path, (*[]int)(l))
}

// Strings is a list of strings, or one alone.
type Strings []string

func (l *Strings) decode(d *decoder, n *node, path string) error {
	if s, ok := n.value.(string); ok {
		*l = Strings{s}
		return nil
	}
	return d.into(n, path, (*[]string)(l))
}

// Patterns maps regular expressions over module names to values. The first that hits wins, so the order counts.
type Patterns[T int | float64] []Pattern[T]

// Pattern is one entry of Patterns.
type Pattern[T int | float64] struct {
	Key   string
	Value T
}

func (p *Patterns[T]) decode(d *decoder, n *node, path string) error {
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object")
	}
	*p = nil
	for _, key := range o.keys {
		entry := Pattern[T]{Key: key}
		if err := d.into(o.values[key], join(path, key), &entry.Value); err != nil {
			return err
		}
		*p = append(*p, entry)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (p Patterns[T]) MarshalJSON() ([]byte, error) {
	keys := make([]string, len(p))
	for i, entry := range p {
		keys[i] = entry.Key
	}
	return marshalOrdered(keys, func(i int) any { return p[i].Value })
}

// set is p without its order, which adapter_config.json does not keep: PEFT sorts the keys.
func (p Patterns[T]) set() map[string]T {
	m := make(map[string]T, len(p))
	for _, entry := range p {
		m[entry.Key] = entry.Value
	}
	return m
}
