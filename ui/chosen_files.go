package ui

import (
	"path"
	"slices"
	"strings"
)

// A file is one that the person chose. Path is relative to what was chosen or dropped.
type file struct {
	Path string `json:"path"`
	Size int64  `json:"size"`

	Encoding string `json:"encoding"` // that it was decoded from, "" for none: it is in UTF-8, or no text
}

// chosenInput is the model or the data that was chosen.
type chosenInput struct {
	Name    string
	Source  source
	Bytes   int64
	Problem func(*Words) Text // why it cannot be used, or nil
	Note    func(*Words) Text // what is worth knowing about it, or nil
}

// Usable reports whether there is something to start with.
func (c *chosenInput) Usable() bool { return c.Source.From != "" && c.Problem == nil }

// chooseModel finds the model in a folder: the files beside the config.json that lies least deep.
func chooseModel(files []file) chosenInput {
	missing := func(name string) chosenInput {
		return chosenInput{Problem: func(w *Words) Text { return w.T("model.missing", "file", name) }}
	}
	folder, depth := "", -1
	for _, f := range files {
		dir, base := path.Split(f.Path)
		if d := strings.Count(dir, "/"); base == "config.json" && (depth < 0 || d < depth || d == depth && dir < folder) {
			folder, depth = dir, d
		}
	}
	if depth < 0 {
		return missing("config.json")
	}
	c := chosenInput{Name: path.Base("/" + folder), Source: source{From: "chosen", Kind: "model"}}
	if c.Name == "/" { // single files were dropped, without their folder
		c.Name = "model"
	}
	weights, tokenizer := false, false
	for i, f := range files {
		dir, base := path.Split(f.Path)
		if dir != folder {
			continue
		}
		c.Source.Positions = append(c.Source.Positions, i)
		c.Bytes += f.Size
		weights = weights || strings.HasSuffix(base, ".safetensors")
		tokenizer = tokenizer || base == "tokenizer.json"
	}
	if !weights {
		return missing("*.safetensors")
	}
	if !tokenizer {
		c.Note = func(w *Words) Text { return w.T("model.tokenless") }
	}
	return c
}

// chooseData takes the one file that holds the data.
func chooseData(files []file) chosenInput {
	files = slices.Clone(files)
	switch {
	case len(files) == 0:
		return chosenInput{}
	case len(files) > 1:
		return chosenInput{Problem: func(w *Words) Text { return w.T("data.many", "n", len(files)) }}
	case files[0].Size == 0:
		return chosenInput{Problem: func(w *Words) Text { return w.T("data.empty", "file", path.Base(files[0].Path)) }}
	}
	c := chosenInput{Name: path.Base(files[0].Path), Bytes: files[0].Size, Source: source{From: "chosen", Kind: "dataset", Positions: []int{0}}}
	if encoding := files[0].Encoding; encoding != "" {
		c.Note = func(w *Words) Text { return w.T("data.encoding", "name", encoding) }
	}
	return c
}

// ChosenText says what was chosen, or "".
func (w *Words) ChosenText(c *chosenInput) Text {
	if !c.Usable() {
		return ""
	}
	text := w.T("chosen", "name", strings.TrimPrefix(c.Name, "builtin:"), "size", Bytes(c.Bytes))
	if c.Note != nil {
		text += " · " + c.Note(w)
	}
	return text
}

// ChoiceProblem says why what was chosen cannot be used, or "".
func (w *Words) ChoiceProblem(c *chosenInput) Text {
	if c.Problem == nil {
		return ""
	}
	return c.Problem(w)
}

// withoutPrefix is a name without the prefix "builtin:".
func withoutPrefix(name string) Text { return Text(strings.TrimPrefix(name, "builtin:")) }
