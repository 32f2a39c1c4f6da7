package message

import "encoding/json"

// Text is what a person reads, in English and in Chinese.
type Text struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// In is the text in a language, "en" or "zh".
func (t Text) In(language string) string {
	if language == "zh" {
		return t.Zh
	}
	return t.En
}

// Complete reports whether the text is there in both languages.
func (t Text) Complete() bool { return t.En != "" && t.Zh != "" }

// Both makes a Text.
func Both(en, zh string) Text { return Text{En: en, Zh: zh} }

// Recipe is practice advice that runs: a part of a run.json, and why.
type Recipe struct {
	Name   string          `json:"name"`
	Title  Text            `json:"title"`
	Why    Text            `json:"why"` // one paragraph
	Config json.RawMessage `json:"config"`
}
