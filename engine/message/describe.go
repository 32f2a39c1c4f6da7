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
	// Choices are the words that a key takes, by its path.
	Choices map[string][]Option `json:"choices"`
	// Parts are the words that trainable takes; the last of some is an example.
	Parts []Option `json:"parts"`
	// Examples are the ways of fine-tuning that can be compared.
	Examples []Option `json:"examples"`
	// Activations are the functions that can stand between added layers.
	Activations []string `json:"activations"`
}

// Method is an adapter as a person chooses it: a peft_type, or a switch of one that has a name of its own.
type Method struct {
	Value    string          `json:"value"`
	Refused  string          `json:"refused,omitempty"` // why this version does not take it
	Title    Text            `json:"title"`
	Defaults json.RawMessage `json:"defaults,omitempty"` // of peft, with peft_type

	Type string `json:"peft_type"`
	// Switch are the keys of peft by which a configuration is this method and not the plain one of its type.
	Switch map[string]any `json:"switch,omitempty"`
	// Start are the keys of peft that are set when the method is chosen.
	Start map[string]any `json:"start"`
	// Main are the keys of peft that are shown first.
	Main []string `json:"main,omitempty"`
	// About is half a sentence on what the method does.
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
	Refused string `json:"refused,omitempty"` // why this version does not take it
	Title   *Text  `json:"title,omitempty"`   // nil where Value speaks for itself
}
