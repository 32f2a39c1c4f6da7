package message

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
