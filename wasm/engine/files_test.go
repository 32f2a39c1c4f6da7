//go:build js

package main

import (
	"io/fs"
	"slices"
	"syscall/js"
	"testing"
)

// A model's further chat templates lie in a folder of its folder.
func TestFolders(t *testing.T) {
	file := func(text, name string) js.Value {
		return js.Global().Get("File").New([]any{text}, name)
	}
	list := js.ValueOf([]any{
		file("{}", "config.json"),
		map[string]any{"name": "additional_chat_templates/rag.jinja", "file": file("{{ documents }}", "rag.jinja")},
		map[string]any{"name": "additional_chat_templates/tool_use.jinja", "file": file("{{ tools }}", "tool_use.jinja")},
	})
	f := fromFiles(list)
	names := func(folder string) (all []string) {
		entries, err := fs.ReadDir(f, folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	if got := names("."); !slices.Equal(got, []string{"config.json"}) {
		t.Errorf("the folder lists %v", got)
	}
	if got := names("additional_chat_templates"); !slices.Equal(got, []string{"rag.jinja", "tool_use.jinja"}) {
		t.Errorf("the folder of templates lists %v", got)
	}
	if text, err := fs.ReadFile(f, "additional_chat_templates/rag.jinja"); err != nil || string(text) != "{{ documents }}" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := fs.ReadDir(f, "additional"); err == nil {
		t.Error("a folder that is not there can be read")
	}
	if info, err := fs.Stat(f, "additional_chat_templates"); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
}
