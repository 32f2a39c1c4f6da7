package message

import "encoding/json"

// Description tells a program that offers run.json to people what settings there are, and which values this version
// takes. Package engine/pretrained makes it.
type Description struct {
	// Defaults is the resolved run.json of a run without settings.
	Defaults json.RawMessage `json:"defaults"`
	// Models are the families of models that load, as Qwen2.
	Models []string `json:"models,omitempty"`
	// Methods are the adapters in the order of a menu.
	Methods []Method `json:"methods"`
	// Choices are the values of a key, by its path.
	Choices map[string][]Option `json:"choices"`
	// Parts are the entries of trainable. Some have a number, of which this is an example.
	Parts []Option `json:"parts"`
	// Examples are the ways of fine-tuning that can be compared.
	Examples []Option `json:"examples"`
	// Activations are the activations of an added head.
	Activations []string `json:"activations"`
}

// Method is an adapter that a person can choose: a peft_type, or a variant of one that has a name of its own.
type Method struct {
	Value    string          `json:"value"`
	Refused  string          `json:"refused,omitempty"` // why this version refuses it
	Title    Text            `json:"title"`
	Defaults json.RawMessage `json:"defaults,omitempty"` // of peft, with peft_type

	Type string `json:"peft_type"`
	// Switch are the keys of peft that make a configuration this variant of its type.
	Switch map[string]any `json:"switch,omitempty"`
	// Start are the keys of peft that are set when the method is chosen.
	Start map[string]any `json:"start"`
	// Main are the keys of peft that are shown first.
	Main []string `json:"main,omitempty"`
	// About says what the method does, in a few words.
	About Text `json:"about"`
	// Settings are the keys of peft in the order in which they are shown.
	Settings []Setting `json:"settings"`
}

// Setting is a key of run.json as a person sees it.
type Setting struct {
	Key  string `json:"key"`
	Name Text   `json:"name"`
	Help Text   `json:"help"` // a sentence on what it does
}

// Option is one value of a key.
type Option struct {
	Value   string `json:"value"`
	Refused string `json:"refused,omitempty"` // why this version refuses it
	// Incomplete says that it is refused only without further settings, for which the page has no controls.
	Incomplete bool  `json:"incomplete,omitempty"`
	Title      *Text `json:"title,omitempty"` // nil if Value needs no explanation
}
