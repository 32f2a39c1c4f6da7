package ui

import "strings"

// HasResult reports whether the run has ended and left an adapter or a model.
func (r *Run) HasResult() bool { return !r.Stage.Active() && r.resultFolder() != "" }

// resultFolder is the folder of the result: "adapter", "model", or "" where there is none.
func (r *Run) resultFolder() string {
	for _, folder := range []string{"adapter", "model"} {
		for path := range r.files {
			if strings.HasPrefix(path, folder+"/") {
				return folder
			}
		}
	}
	return ""
}

// resultSource is where the files of the result are.
func (r *Run) resultSource() source {
	if r.inMemory {
		return source{From: "memory", Run: r.ID, Folder: r.resultFolder()}
	}
	return source{From: "run", Run: r.ID, Folder: r.resultFolder()}
}

// baseSource is where the files of the model before training are. There is none of a model that began with random weights.
func (r *Run) baseSource() source { return r.Meta.Inputs["model"] }

// template is the run's dataset.template, "" for the model's own.
func (r *Run) template() string {
	v, _ := must(parseTree(r.Meta.Config)).Get("dataset.template")
	name, _ := v.(string)
	return name
}

// checkpoint is the step of the newest checkpoint that this run has, 0 for none.
func (r *Run) checkpoint() (newest int) {
	for path := range r.files {
		var n int
		if rest, ok := strings.CutPrefix(path, "checkpoint-"); ok {
			for _, c := range rest {
				if c < '0' || c > '9' {
					break
				}
				n = 10*n + int(c-'0')
			}
			newest = max(newest, n)
		}
	}
	return newest
}

// fileWritten notes a file that an engine has written: of the run's result, or of the merged model, which the side engine makes.
func (p *Page) fileWritten(m writtenMessage) {
	if m.Engine == sideEngine {
		p.Export.merged = append(p.Export.merged, m.Path)
		return
	}
	p.Run.files[m.Path] = m.Size
	p.Run.inMemory = p.Run.inMemory || m.InMemory
}

// fileRemoved forgets a file of the run's result, or all files of a folder.
func (p *Page) fileRemoved(m removedMessage) {
	if m.Engine == sideEngine {
		return
	}
	for path := range p.Run.files {
		if path == m.Path || strings.HasPrefix(path, m.Path+"/") {
			delete(p.Run.files, path)
		}
	}
}
