package ui

import "strings"

// HasResult reports whether there is something to try and to take away.
func (r *Run) HasResult() bool { return !r.Stage.Active() && r.resultFolder() != "" }

// resultFolder is where the result lies: "adapter", "model", or "" while there is none.
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

// filed notes a file of a result.
func (p *Page) filed(item incoming) {
	switch {
	case item.From == sideEngine:
		p.Export.filed(item.Path)
	case item.Type == "file":
		p.Run.files[item.Path] = item.Size
		p.Run.loose = p.Run.loose || item.Loose
	default:
		for path := range p.Run.files {
			if path == item.Path || strings.HasPrefix(path, item.Path+"/") {
				delete(p.Run.files, path)
			}
		}
	}
}
