package config

import (
	"cmp"
	"reflect"
	"slices"

	"llamatab/engine/message"
)

// PEFTType describes one method of PEFT to whatever reads, checks, writes or offers its configuration. Package
// engine/peft registers one for each method, beside the computation; the lists in this package follow from them.
type PEFTType struct {
	Name  string // as peft_type spells it, "IA3"
	Place int    // where lists and menus have it: ascending

	// New returns a pointer to a struct with the settings that only this method has, filled with PEFT's defaults. Its
	// fields carry the names of PEFT's config class as JSON tags. PEFT.Own holds it.
	New func() any
	// Settings are the keys that the page shows, in its order: those of Own with their words, and keys that several
	// methods have (see PEFT), which need none here. A method takes those shared keys that it lists.
	Settings []message.Setting
	// Start are the keys that decide where training starts and nothing else: two adapters may differ in them.
	Start []string
	// Refused are keys of the class that would change the result in a way that is not available. They are accepted where
	// they say nothing: null, false or empty.
	Refused []string
	// Past are those of Refused that decided only how a saved adapter started or trained: in an adapter_config.json they may
	// hold anything.
	Past []string
	// AsSaved maps, by key, values that an adapter_config.json may hold to those that describe the same saved adapter.
	AsSaved map[string]map[string]any
	// NullIfEmpty are keys for which PEFT takes an empty list or text in a saved file for null.
	NullIfEmpty []string
	// Inert are keys of the class that change no number here, whatever they hold.
	Inert []string
	// Since are keys that PEFT 0.13 does not read: they are written only where they say something.
	Since []string
	// Constant are keys that PEFT writes for the class, with the one value that they have here.
	Constant map[string]any
	// Rules says what must hold of a configuration; at makes the path of a key.
	Rules func(p *PEFT, at func(key string) string) []Rule
	// Counts reports whether a key of p changes what the adapter computes; nil: every one does.
	Counts func(p *PEFT, key string) bool

	// BeforeRows says that virtual tokens stand before each row, so that a row cannot hold several samples (dataset.packing).
	BeforeRows bool

	// Variants are the methods that a person chooses from: the plain one, and those that are a switch of it.
	Variants []Variant
	// Examples are settings of the method that are compared with those of others.
	Examples []Example
}

// Variant is a method as a person chooses it.
type Variant struct {
	Name  string       // "LORA", "DORA"
	Title message.Text // "LoRA"
	About message.Text // half a sentence on what it does
	Place int          // in the menu, ascending
	// Switch are the keys by which a configuration is this variant and not the plain method.
	Switch map[string]any
	// Needs are the keys without which the configuration is not valid, with usual values.
	Needs map[string]any
	// Usual are further keys that the page sets when the variant is chosen.
	Usual map[string]any
	// Main are the keys that the page shows first.
	Main []string
}

// Example is a way of fine-tuning that is compared with others: a method with all its settings, or a part of the base
// model. llamatab plan, the page and the table of methods in the README show every one.
type Example struct {
	Name   string
	Place  int          // in the comparison: from all weights to a few numbers
	Trains string       // what trains, in English, for a table
	Title  message.Text // the same for the page
	// Rate is a learning rate at which a model of less than a million parameters learns well from a hundred steps. What
	// changes less of the model takes larger steps.
	Rate float64
	// Key is the key of run.json that the example sets, "peft" or "trainable".
	Key string
	// Value is what it sets it to, for a model of so many blocks.
	Value func(blocks int) any
}

var peftTypes []*PEFTType

// RegisterPEFTType makes a method known. It is called from init functions.
func RegisterPEFTType(t *PEFTType) {
	peftTypes = append(peftTypes, t)
	slices.SortStableFunc(peftTypes, func(a, b *PEFTType) int { return cmp.Compare(a.Place, b.Place) })
}

// PEFTTypes lists the methods that are registered.
func PEFTTypes() []*PEFTType { return slices.Clone(peftTypes) }

// findPEFTType returns the method of a peft_type, nil where none is registered.
func findPEFTType(name string) *PEFTType {
	for _, t := range peftTypes {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func peftTypeNames() (names []string) {
	for _, t := range peftTypes {
		names = append(names, t.Name)
	}
	return names
}

// Keys that every class has: those with a field in PEFT, and those that change no number here.
var (
	commonKeys  = []string{"peft_type", "base_model_name_or_path", "revision", "task_type"}
	commonInert = []string{"auto_mapping", "inference_mode", "peft_version"}
)

// sharedKeys are the keys with a field in PEFT that some methods have and others do not.
var sharedKeys = []string{"target_modules", "exclude_modules", "modules_to_save"}

// own are the keys that only this method has.
func (t *PEFTType) own() []string { return keysOf(reflect.TypeOf(t.New()).Elem()) }

// shared are those of sharedKeys that the method takes.
func (t *PEFTType) shared() (keys []string) {
	for _, s := range t.Settings {
		if slices.Contains(sharedKeys, s.Key) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// deciding are the keys that decide what the adapter computes or how it trains.
func (t *PEFTType) deciding() []string {
	return slices.DeleteFunc(slices.Concat(t.shared(), t.own()), func(key string) bool { return slices.Contains(t.Start, key) })
}

// fields are the keys that have a field.
func (t *PEFTType) fields() []string { return slices.Concat(commonKeys, t.shared(), t.own()) }

// known are all keys of the class.
func (t *PEFTType) known() []string {
	return slices.Concat(t.fields(), t.Refused, commonInert, t.Inert)
}

// peftKeys are the keys of all classes.
func peftKeys() []string {
	var all []string
	for _, t := range peftTypes {
		all = append(all, t.known()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Examples lists the ways of fine-tuning that are compared, from all weights to a few numbers.
func Examples() []Example {
	all := slices.Clone(partExamples)
	for _, t := range peftTypes {
		all = append(all, t.Examples...)
	}
	slices.SortStableFunc(all, func(a, b Example) int { return cmp.Compare(a.Place, b.Place) })
	return all
}
