package export

import (
	"cmp"
	"fmt"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/pretrained"
)

// card is what is known of where a model comes from.
type card struct {
	base    string // the base model's name, "" if it is not known
	licence string // as the base model's card states it, "" if it states none
	adapter bool
}

// readCard reads what the model's folder and the adapter's configuration say.
func readCard(m *pretrained.Model) (c card) {
	c.base = m.Name
	if m.PEFT != nil {
		c.adapter = true
		c.base = cmp.Or(m.PEFT.BaseModel, c.base)
	}
	data, err := pretrained.ReadSmall(m.Files.Model, "README.md")
	if err != nil {
		return c // without a card the licence is not known
	}
	front, rest, ok := strings.Cut(strings.TrimPrefix(string(data), "---\n"), "\n---")
	if !ok || len(rest) == len(data) || !strings.HasPrefix(string(data), "---\n") {
		return c
	}
	for line := range strings.Lines(front) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if value = strings.Trim(strings.TrimSpace(value), `"'`); key == "license" && !strings.ContainsAny(value, "\n[{") {
			c.licence = value
		}
	}
	return c
}

// keys are the keys of GGUF about the origin.
func (c card) keys(name string) []gguf.KeyValue {
	keys := []gguf.KeyValue{{Key: gguf.KeyName, Value: cmp.Or(name, "model")}}
	if c.licence != "" {
		keys = append(keys, gguf.KeyValue{Key: "general.license", Value: c.licence})
	}
	if c.base != "" {
		keys = append(keys, gguf.KeyValue{Key: "general.base_model.count", Value: uint32(1)}, gguf.KeyValue{Key: "general.base_model.0.name", Value: c.base})
	}
	return keys
}

// text is a model card in Hugging Face's form.
func (c card) text(name string, files []string, what string) string {
	var b strings.Builder
	b.WriteString("---\n")
	if c.licence != "" {
		fmt.Fprintf(&b, "license: %q\n", c.licence)
	}
	if c.base != "" {
		fmt.Fprintf(&b, "base_model: %q\n", c.base)
	}
	fmt.Fprintf(&b, "tags:\n- llamatab\n---\n\n# %s\n\n%s\n\n", cmp.Or(name, "model"), what)
	fmt.Fprintf(&b, "- **Base model:** %s\n", cmp.Or(c.base, "not known to the program that wrote this; please fill it in"))
	if c.adapter {
		b.WriteString("- **Training:** fine-tuned with llamatab; the adapter of the training is part of this result\n")
	}
	fmt.Fprintf(&b, "- **Licence:** %s. The licence of the base model also binds what is made of it\n", cmp.Or(c.licence, "the base model's card states none, please look it up"))
	b.WriteString("- **Data:** the training data are not part of this folder; please say here what they are and who may use them\n\n## Files\n\n")
	for _, f := range files {
		fmt.Fprintf(&b, "- `%s`\n", f)
	}
	if len(files) == 1 && strings.HasSuffix(files[0], ".gguf") {
		b.WriteString("\n## Use\n\n```sh\nollama create my-model -f Modelfile && ollama run my-model\n```\n")
	}
	return b.String()
}

// mostContext bounds the context in a Modelfile, in tokens: Ollama takes the memory for all of it, which for a context of 131,072 is
// more than most computers have.
const mostContext = 8192

// modelfile is a Modelfile of Ollama. adapter is a path, "" for none.
func modelfile(from, adapter string, talk *voice, context int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# ollama create my-model -f Modelfile\nFROM %s\n", from)
	if adapter != "" {
		fmt.Fprintf(&b, "ADAPTER %s\n", adapter)
	}
	if talk != nil {
		for _, stop := range talk.stopText {
			fmt.Fprintf(&b, "PARAMETER stop %q\n", stop)
		}
	}
	if context > 0 {
		fmt.Fprintf(&b, "PARAMETER num_ctx %d\n", context)
	}
	return b.String()
}
