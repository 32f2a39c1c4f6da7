package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// PEFT is an adapter's configuration as PEFT's config classes and adapter_config.json spell it: the keys that all or
// several methods have, and the settings of the one method. Only what this engine computes has a field; PEFTType
// names the other keys of a class. Sizes of the model that are 0 are null: the model decides them.
type PEFT struct {
	Type      string  `json:"peft_type"`
	BaseModel string  `json:"base_model_name_or_path"`
	Revision  *string `json:"revision"`
	TaskType  string  `json:"task_type"`

	TargetModules  Modules `json:"target_modules"`  // zero: what is usual for the model
	ExcludeModules Modules `json:"exclude_modules"` // zero: none
	ModulesToSave  Strings `json:"modules_to_save"` // base modules that train and are saved whole

	// Loaded says that this is the configuration of a saved adapter. PEFT reads some things in one that would be a slip
	// where training starts: names of modules that the model lacks, a negative alpha.
	Loaded bool `json:"-"`

	// Own points to the settings that only the method has, such as a peft.LoRAConfig.
	Own any `json:"-"`
}

// CausalLM is the task_type of a language model.
const CausalLM = "CAUSAL_LM"

// mergeHint is what to do with a saved adapter that is not available.
const mergeHint = "merge the adapter into its base with PEFT's merge_and_unload, save that, and load the merged model"

func (p *PEFT) defaults() { *p = PEFT{TaskType: CausalLM} }

func (p *PEFT) decode(d *decoder, n *node, path string) error {
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object or null")
	}
	t, err := typeOf(d, n, o, path)
	if err != nil {
		return err
	}
	// What has a field, in PEFT or in Own; null leaves the default.
	common, own := &object{values: o.values}, &object{values: maps.Clone(o.values)}
	p.Loaded = d.dropped != nil
	commonFields, ownFields := slices.Concat(commonKeys, t.shared()), t.own()
	for _, key := range o.keys {
		value := o.values[key]
		switch {
		case slices.Contains(commonFields, key):
			if excludesNone := p.Loaded && key == "exclude_modules" && value.blank(); value.value != nil && !excludesNone {
				common.keys = append(common.keys, key)
			}
		case slices.Contains(ownFields, key):
			switch saved, ok := t.AsSaved[key][value.text()]; {
			case d.dropped != nil && ok:
				own.keys = append(own.keys, key)
				own.values[key] = &node{at: value.at, value: saved}
			case d.dropped != nil && value.blank() && slices.Contains(t.NullIfEmpty, key):
			case value.value != nil:
				own.keys = append(own.keys, key)
			}
		case slices.Contains(t.Refused, key):
			switch {
			case value.empty(), d.dropped != nil && slices.Contains(t.Past, key):
			case d.dropped != nil:
				return d.fail(value, join(path, key), value.kind()+" is not available in this version, and it would change the result",
					mergeHint)
			default:
				return d.fail(value, join(path, key), value.kind()+" is not available in this version, and it would change the result",
					"leave the key out")
			}
		case slices.Contains(commonInert, key), slices.Contains(t.Inert, key):
		default:
			if err := d.unknown(value, path, key, t.known()); err != nil {
				return err
			}
		}
	}
	type plain PEFT
	if err := d.into(&node{at: n.at, value: common}, path, (*plain)(p)); err != nil {
		return err
	}
	p.Own = t.New()
	err = d.into(&node{at: n.at, value: own}, path, p.Own)
	p.saveHead()
	return err
}

// typeOf reads peft_type, which the other keys depend on.
func typeOf(d *decoder, n *node, o *object, path string) (*PEFTType, error) {
	path = join(path, "peft_type")
	t := o.values["peft_type"]
	if t == nil {
		return nil, d.fail(n, path, "is missing", `add "peft_type": "LORA"`)
	}
	name, ok := t.value.(string)
	if !ok {
		return nil, d.wants(t, path, "a string")
	}
	if known := findPEFTType(name); known != nil {
		return known, nil
	}
	next := ""
	if d.dropped != nil {
		next = mergeHint
	}
	return nil, d.fail(t, path, NotOneOf(name, peftTypeNames()), next)
}

// ParseAdapterConfig reads an adapter_config.json. Unknown keys are dropped, as PEFT does, and named; a known key that
// would change the result in a way that is not available is an error.
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

// rules of a PEFT that stands at path; none for nil.
func (p *PEFT) rules(path string) []Rule {
	if p == nil {
		return nil
	}
	at := func(key string) string { return join(path, key) }
	if t := p.TargetModules; !t.IsZero() && t.Pattern == "" && len(t.Names) == 0 {
		return []Rule{Must(false, at("target_modules"), "is empty", "name the modules to adapt, or use null for the usual ones").As("empty")}
	}
	if t := findPEFTType(p.Type); t.Rules != nil {
		return t.Rules(p, at)
	}
	return nil
}

// field is the field of a key, in PEFT or in Own.
func (p *PEFT) field(key string) reflect.Value {
	if i := fieldIndex(reflect.TypeFor[PEFT](), key); i != nil {
		return reflect.ValueOf(p).Elem().FieldByIndex(i)
	}
	own := reflect.ValueOf(p.Own).Elem()
	return own.FieldByIndex(fieldIndex(own.Type(), key))
}

// value is what a field holds, a size or a text that says nothing as null.
func (p *PEFT) value(key string) any {
	v := p.field(key).Interface()
	switch x := v.(type) {
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
	return v // a nil list is null
}

// fileKeys are p's keys in adapter_config.json: those that every version of PEFT since 0.13 reads.
func (p *PEFT) fileKeys() map[string]any {
	t := findPEFTType(p.Type)
	m := map[string]any{"auto_mapping": nil, "inference_mode": false}
	for _, key := range t.fields() {
		v, late := p.value(key), slices.Contains(t.Since, key)
		if late && key == "modules_to_save" && len(p.BesideHead()) == 0 {
			v = nil // PEFT's class saves the head of a classification without a key for it
		}
		if v != nil && v != false || !late {
			m[key] = v
		}
	}
	maps.Copy(m, t.Constant)
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

// SameMaths reports whether p and other describe the same adapter: nil when every key that alters what it computes
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
	t := findPEFTType(p.Type)
	for _, key := range t.deciding() {
		if a, b := p.asSet(t, key), other.asSet(t, key); fmt.Sprint(a) != fmt.Sprint(b) {
			return differ(key, a, b)
		}
	}
	return nil
}

// asSet is what a field holds as far as it counts, without the order of its parts.
func (p *PEFT) asSet(t *PEFTType, key string) any {
	if t.Counts != nil && !t.Counts(p, key) {
		return ""
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
