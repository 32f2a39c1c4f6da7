package pretrained

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/chat"
	"llamatab/engine/config"
	"llamatab/engine/report"
	"llamatab/engine/tokenizer"
)

// The words of dataset.template are the model's own template and the built-in ones.
func TestTemplateWords(t *testing.T) {
	want := append([]string{config.ModelTemplate}, chat.BuiltinNames()...)
	if !slices.Equal(config.Templates, want) {
		t.Errorf("%v, want %v", config.Templates, want)
	}
}

// A template of the model is chosen by its name, as validation lets it through, and not replaced by another where it is missing.
func TestNamedTemplate(t *testing.T) {
	files := fstest.MapFS{
		"tokenizer.json":        {Data: []byte(`{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}`)},
		"tokenizer_config.json": {Data: []byte(`{"chat_template": [{"name": "default", "template": "d"}, {"name": "rag", "template": "r"}]}`)},
	}
	m := &Model{Files: report.Files{Model: files}}
	var err error
	if m.Tokenizer, err = tokenizer.Open(files); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": "default", "model": "default", "model:rag": "rag", "plain": "plain"} {
		c, err := m.Chat(name, false)
		if err != nil || c.Template.Name != want || c.StandIn {
			t.Errorf("%q: %+v, %v, want %q", name, c, err, want)
		}
	}
	if c, err := m.Chat("model:king", false); err == nil || !strings.Contains(err.Error(), `no chat template "king"`) {
		t.Errorf("a name that is not there: %+v, %v", c, err)
	}
	if got := m.ChatNames(); !slices.Equal(got, []string{"default", "rag"}) {
		t.Errorf("names %q", got)
	}
	for name, ok := range map[string]bool{"model": true, "model:rag": true, "model:": false, "rag": false, "chatml": true} {
		set := []string{fmt.Sprintf("dataset.template=%q", name)}
		if _, err := config.ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "", set); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
