package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// PEFT is a LoRA adapter's configuration, as PEFT's LoraConfig and adapter_config.json spell it.
// Only what this engine computes has a field; see refused and inert for the other keys of LoraConfig.
type PEFT struct {
	Type              string            `json:"peft_type"` // "LORA"
	R                 int               `json:"r"`
	Alpha             float64           `json:"lora_alpha"`      // the adapter is scaled by alpha/r, or alpha/√r with RSLoRA
	Dropout           float64           `json:"lora_dropout"`    // [0, 1)
	TargetModules     Modules           `json:"target_modules"`  // zero: what is usual for the model
	ExcludeModules    Modules           `json:"exclude_modules"` // zero: none
	RSLoRA            bool              `json:"use_rslora"`
	Init              InitLoRA          `json:"init_lora_weights"`
	LayersToTransform Ints              `json:"layers_to_transform"` // nil: all
	LayersPattern     Strings           `json:"layers_pattern"`
	RankPattern       Patterns[int]     `json:"rank_pattern"`    // ranks that differ from R
	AlphaPattern      Patterns[float64] `json:"alpha_pattern"`   // alphas that differ from Alpha
	Bias              string            `json:"bias"`            // which of the base's biases train: none, all or lora_only
	ModulesToSave     Strings           `json:"modules_to_save"` // base modules that train and are saved whole
	BaseModel         string            `json:"base_model_name_or_path"`
	Revision          *string           `json:"revision"`
	TaskType          string            `json:"task_type"`
}

// LORA is the peft_type of a PEFT, and CausalLM the task_type that this engine trains.
const (
	LORA     = "LORA"
	CausalLM = "CAUSAL_LM"
)

func (p *PEFT) defaults() {
	*p = PEFT{R: 8, Alpha: 8, Init: InitDefault, Bias: "none", TaskType: CausalLM}
}

// laterTypes are the other methods of the run contract.
var laterTypes = []string{"PREFIX_TUNING", "ADAPTION_PROMPT", "IA3", "PROMPT_TUNING"}

// refused lists the keys of LoraConfig that alter the maths in a way that is not implemented. They are accepted where
// they say nothing: null, false or empty.
var refused = []string{
	"alora_invocation_tokens", "arrow_config", "bdlora_config", "corda_config", "ensure_weight_tying", "eva_config",
	"fan_in_fan_out", "kasa_config", "layer_replication", "loftq_config", "lora_bias", "lora_ga_config", "megatron_config",
	"monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora",
	"use_qalora", "velora_config",
}

// inert lists the keys of LoraConfig that change no number here, whatever they hold.
var inert = []string{"auto_mapping", "inference_mode", "megatron_core", "peft_version", "qalora_group_size", "runtime_config"}

func loraKeys() []string { return slices.Concat(keysOf(peftType), refused, inert) }

func (p *PEFT) decode(d *decoder, n *node, path string) error {
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object or null")
	}
	if err := checkType(d, n, o, path); err != nil {
		return err
	}
	known := &object{values: o.values} // what has a field; null leaves the default
	for _, key := range o.keys {
		value := o.values[key]
		switch {
		case slices.Contains(inert, key):
		case slices.Contains(refused, key):
			if !value.empty() {
				return d.fail(value, join(path, key), value.kind()+" is not available in this version, and it would change the result",
					"leave the key out")
			}
		case fieldIndex(peftType, key) < 0:
			if err := d.unknown(value, path, key, loraKeys()); err != nil {
				return err
			}
		case value.value != nil:
			known.keys = append(known.keys, key)
		}
	}
	type plain PEFT
	return d.into(&node{at: n.at, value: known}, path, (*plain)(p))
}

// checkType comes before the other keys, which depend on the type.
func checkType(d *decoder, n *node, o *object, path string) error {
	path = join(path, "peft_type")
	t := o.values["peft_type"]
	if t == nil {
		return d.fail(n, path, "is missing", `add "peft_type": "LORA"`)
	}
	name, ok := t.value.(string)
	switch {
	case name == LORA:
		return nil
	case !ok:
		return d.wants(t, path, "a string")
	case slices.Contains(laterTypes, name):
		return d.fail(t, path, strconv.Quote(name)+" is not available in this version", `"LORA" is`)
	}
	return d.fail(t, path, choice(name, append([]string{LORA}, laterTypes...)), "")
}

// ParseAdapterConfig reads an adapter_config.json. Unknown keys are dropped, as PEFT does, and named in warnings; a
// known key that alters the maths in a way that is not implemented is an error.
func ParseAdapterConfig(data []byte, file string) (p *PEFT, warnings []string, err error) {
	var dropped []string
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
	for _, key := range dropped {
		warnings = append(warnings, fmt.Sprintf("%s: unknown key %s ignored", file, clip(key)))
	}
	return p, warnings, nil
}

// fileKeys are p's keys in adapter_config.json: those that every version of PEFT since 0.13 reads.
func (p *PEFT) fileKeys() map[string]any {
	m := map[string]any{ // a nil list is null
		"alpha_pattern": p.AlphaPattern, "auto_mapping": nil, "base_model_name_or_path": nil, "bias": p.Bias,
		"fan_in_fan_out": false, "inference_mode": false, "init_lora_weights": p.Init, "layer_replication": nil,
		"layers_pattern": p.LayersPattern, "layers_to_transform": p.LayersToTransform, "loftq_config": struct{}{},
		"lora_alpha": p.Alpha, "lora_dropout": p.Dropout, "megatron_config": nil, "megatron_core": "megatron.core",
		"modules_to_save": p.ModulesToSave, "peft_type": p.Type, "r": p.R, "rank_pattern": p.RankPattern, "revision": p.Revision,
		"target_modules": p.TargetModules, "task_type": p.TaskType, "use_dora": false, "use_rslora": p.RSLoRA,
	}
	if p.BaseModel != "" {
		m["base_model_name_or_path"] = p.BaseModel
	}
	if !p.ExcludeModules.IsZero() { // PEFT 0.14 and later
		m["exclude_modules"] = p.ExcludeModules
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
	m["task_type"] = CausalLM
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
	for _, key := range []struct {
		name string
		a, b any
	}{
		{"peft_type", p.Type, other.Type},
		{"r", p.R, other.R},
		{"lora_alpha", p.Alpha, other.Alpha},
		{"lora_dropout", p.Dropout, other.Dropout},
		{"use_rslora", p.RSLoRA, other.RSLoRA},
		{"bias", p.Bias, other.Bias},
		{"modules_to_save", set(p.ModulesToSave), set(other.ModulesToSave)},
		{"target_modules", p.TargetModules.set(), other.TargetModules.set()},
		{"exclude_modules", p.ExcludeModules.set(), other.ExcludeModules.set()},
		{"layers_to_transform", set(p.LayersToTransform), set(other.LayersToTransform)},
		{"layers_pattern", set(p.LayersPattern), set(other.LayersPattern)},
		{"rank_pattern", p.RankPattern.set(), other.RankPattern.set()},
		{"alpha_pattern", p.AlphaPattern.set(), other.AlphaPattern.set()},
	} {
		if a, b := fmt.Sprint(key.a), fmt.Sprint(key.b); a != b {
			return fmt.Errorf("config: adapters differ in %s: %s against %s", key.name, a, b)
		}
	}
	return nil
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
	if items, ok := n.value.([]*node); !ok || len(items) == 0 {
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

// The implemented ways, each with B = 0 except InitRandom.
const (
	InitDefault  InitLoRA = "true"     // A uniform in ±1/√in
	InitGaussian InitLoRA = "gaussian" // A normal with standard deviation 1/r
	InitRandom   InitLoRA = "false"    // A and B as a fresh linear layer: not a no-op
)

func (i *InitLoRA) decode(d *decoder, n *node, path string) error {
	switch v := n.value.(type) {
	case bool:
		*i = InitLoRA(strconv.FormatBool(v))
		return nil
	case string:
		if v == string(InitGaussian) {
			*i = InitGaussian
			return nil
		}
		return d.fail(n, path, strconv.Quote(clip(v))+" is not available in this version", `true, false and "gaussian" are`)
	}
	return d.wants(n, path, `true, false or "gaussian"`)
}

// MarshalJSON implements json.Marshaler.
func (i InitLoRA) MarshalJSON() ([]byte, error) {
	if i == InitGaussian {
		return []byte(`"gaussian"`), nil
	}
	return []byte(i), nil
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
