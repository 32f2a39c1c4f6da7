package ui

import (
	"strings"
	"testing"
)

// TestRefusedText: the roster adds up what the server has refused, and says nothing where that is nothing.
func TestRefusedText(t *testing.T) {
	r := NewPage(&fakeBrowser{}).Room
	if text := r.RefusedText(); text != "" {
		t.Errorf("without a view: %q", text)
	}
	r.View = &roomView{}
	if text := r.RefusedText(); text != "" {
		t.Errorf("nothing was refused: %q", text)
	}
	r.View.Refused = map[string]int64{"code": 3, "connections": 39}
	if text := r.RefusedText(); !strings.Contains(string(text), "42") {
		t.Errorf("42 were refused: %q", text)
	}
}
