package ui

import (
	"slices"
	"testing"
)

// A model is what lies beside the config.json nearest to the top, and the chat templates in the folder below it.
func TestChosenModel(t *testing.T) {
	files := []file{
		{Path: "m/old/config.json", Size: 1}, {Path: "m/config.json", Size: 2}, {Path: "m/model.safetensors", Size: 3}, {Path: "m/tokenizer.json", Size: 4},
		{Path: "m/chat_template.jinja", Size: 5}, {Path: "m/additional_chat_templates/rag.jinja", Size: 6}, {Path: "m/old/model.safetensors", Size: 7},
	}
	c := chooseModel(files)
	if !c.Usable() || c.Note != nil || c.Name != "m" || c.Bytes != 2+3+4+5+6 || c.Source.Folder != "m/" || !slices.Equal(c.Source.Positions, []int{1, 2, 3, 4, 5}) {
		t.Errorf("chosen %+v", c)
	}
	c = chooseModel([]file{{Path: "config.json"}, {Path: "additional_chat_templates/model.safetensors"}})
	if c.Usable() {
		t.Error("weights among the chat templates count")
	}
	if c = chooseModel(files[1:3]); c.Note == nil || c.Source.Folder != "m/" {
		t.Errorf("chosen %+v", c)
	}
}
