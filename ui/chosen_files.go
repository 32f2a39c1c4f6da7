package ui

import (
	"path"
	"slices"
	"strings"
)

// file is a file that the person has chosen. Path is relative to the chosen folder.
type file struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// chosenInput is the chosen model or the chosen data.
type chosenInput struct {
	Name    string
	Source  source
	Bytes   int64
	Problem func(*Words) Text // why it cannot be used, or nil
	Note    func(*Words) Text // a remark on it, or nil
}

// Usable reports whether it is chosen and can be used.
func (c *chosenInput) Usable() bool { return c.Source.From != "" && c.Problem == nil }

// templatesFolder is the one folder in a model's folder that the engine reads: further chat templates.
const templatesFolder = "additional_chat_templates/"

// chooseModel finds the model in a folder: the files beside the config.json that is nearest to the top.
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
	c := chosenInput{Name: path.Base("/" + folder), Source: source{From: "chosen", Kind: "model", Folder: folder}}
	if c.Name == "/" { // files were dropped without their folder
		c.Name = "model"
	}
	weights, tokenizer := false, false
	for i, f := range files {
		dir, base := path.Split(f.Path)
		if dir != folder && dir != folder+templatesFolder {
			continue
		}
		c.Source.Positions = append(c.Source.Positions, i)
		c.Bytes += f.Size
		weights = weights || dir == folder && strings.HasSuffix(base, ".safetensors")
		tokenizer = tokenizer || dir == folder && base == "tokenizer.json"
	}
	if !weights {
		return missing("*.safetensors")
	}
	if !tokenizer {
		c.Note = func(w *Words) Text { return w.T("model.tokenless") }
	}
	return c
}

// chooseData takes the data, which is one file.
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
	return chosenInput{Name: path.Base(files[0].Path), Bytes: files[0].Size, Source: source{From: "chosen", Kind: "dataset", Positions: []int{0}}}
}

// ChosenText names what was chosen, or is "".
func (w *Words) ChosenText(c *chosenInput) Text {
	if !c.Usable() {
		return ""
	}
	text := w.T("chosen", "name", shortName(c.Name), "size", Bytes(c.Bytes))
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
