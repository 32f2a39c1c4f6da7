package pretrained

import (
	"slices"
	"testing"

	"llamatab/engine/chat"
	"llamatab/engine/config"
)

// The words of dataset.template are the model's own template and the built-in ones.
func TestTemplateWords(t *testing.T) {
	want := append([]string{config.ModelTemplate}, chat.BuiltinNames()...)
	if !slices.Equal(config.Templates, want) {
		t.Errorf("%v, want %v", config.Templates, want)
	}
}
