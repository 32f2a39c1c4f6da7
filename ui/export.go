package ui

import (
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Export is the screen where the person downloads a result.
type Export struct {
	*Words
	Problem Text
	Detail  Text // the English message of the engine or the browser

	packing string   // the item that is being made, "" for none
	merged  []string // files of the merged model
	page    *Page
}

// exportGroup is a list of items to download.
type exportGroup struct {
	Name  string
	Items []string
}

// Groups are the items: the result, the record of the run, pictures of the loss.
func (x *Export) Groups() []exportGroup {
	result := []string{"adapter", "merged"}
	if x.page.Run.resultFolder() == "model" {
		result = []string{"model"}
	}
	return []exportGroup{{"result", result}, {"record", []string{"run", "log", "csv"}}, {"picture", []string{"png", "svg"}}}
}

// Any reports whether there is anything to download.
func (x *Export) Any() bool { return x.page.Run.Last.Step > 0 }

// Can reports whether an item exists and no other is being made.
func (x *Export) Can(item string) bool {
	r := x.page.Run
	if x.packing != "" || !x.Any() {
		return false
	}
	switch item {
	case "adapter", "model":
		return r.HasResult() && r.resultFolder() == item
	case "merged":
		return r.HasResult() && r.resultFolder() == "adapter"
	case "run":
		return !r.Stage.Active()
	}
	return true
}

// ButtonClass highlights the button of the result.
func (x *Export) ButtonClass(item string) string {
	if item == x.Groups()[0].Items[0] {
		return "primary"
	}
	return ""
}

func (x *Export) ButtonText(item string) Text {
	if x.packing == item {
		return x.T("export.packing")
	}
	return x.T("export.save")
}

func (x *Export) AboutText() Text {
	r := x.page.Run
	switch {
	case !x.Any():
		return x.T("export.none")
	case r.Stage.Active():
		return x.T("export.later")
	}
	var bytes int64
	for _, size := range r.files {
		bytes += size
	}
	return x.T("export.about", "name", r.Meta.Name, "step", r.Last.Step, "n", len(r.files), "size", Bytes(bytes))
}

// fileName is the first part of the names of all downloads.
func (r *Run) fileName() string {
	name := strings.Map(func(c rune) rune {
		if strings.ContainsRune(`/\:*?"<>|·`, c) || c <= ' ' {
			return '-'
		}
		return c
	}, r.Meta.Name)
	return "llamatab-" + strings.Trim(strings.ReplaceAll(name, "---", "-"), "-")
}

// record are the files of a run besides its result.
var record = []string{"run.json", "summary.json", "metrics.jsonl", "events.jsonl", "samples.jsonl"}

// Save makes an item and has the browser save it.
func (x *Export) Save(item string) {
	r, b := x.page.Run, x.page.browser
	if !x.Can(item) {
		return
	}
	x.Problem, x.Detail = "", ""
	name := r.fileName()
	switch item {
	case "adapter", "model":
		x.packing = item
		b.Download(r.ID, append([]string{item}, record...), name+"-"+item+".zip", x.readme(item))
	case "run":
		x.packing = item
		b.Download(r.ID, append([]string{"adapter", "model"}, append(record, checkpoints(r)...)...), name+".zip", x.readme(item))
	case "log":
		x.packing = item
		b.Download(r.ID, record, name+"-log.zip", "")
	case "merged":
		x.merge()
	default:
		b.SavePicture(item, name+"-loss")
	}
}

func checkpoints(r *Run) (folders []string) {
	seen := map[string]bool{}
	for path := range r.files {
		folder, _, _ := strings.Cut(path, "/")
		if strings.HasPrefix(folder, "checkpoint-") && !seen[folder] {
			seen[folder] = true
			folders = append(folders, folder)
		}
	}
	return folders
}

// merge has the side engine merge the adapter into the model. The merged model stays in the page's memory.
func (x *Export) merge() {
	r := x.page.Run
	x.packing, x.merged = "merged", nil
	adapter := source{From: "run", Run: r.ID, Folder: "adapter"}
	if r.inMemory {
		adapter.From = "memory"
	}
	job := message.Job{Command: message.Export, Export: &message.ExportJob{Format: "merged"}, Mounts: map[string]string{"model": "", "adapter": ""}}
	x.page.ask(job, map[string]source{"model": r.Meta.Inputs["model"], "adapter": adapter}, func(e message.Envelope) {
		switch {
		case e.Failed != nil:
			x.packing, x.Problem, x.Detail = "", x.cause(e.Failed), Text(e.Failed.Message)
		case e.Done != nil:
			x.page.browser.Download("", x.merged, r.fileName()+"-merged.zip", x.readme("merged"))
		}
	})
}

// packed ends a download; problem says why it failed, or is "".
func (x *Export) packed(problem string) {
	x.packing = ""
	if problem != "" {
		x.Problem, x.Detail = x.T("export.failed"), Text(problem)
	}
}

// baseModel is the name of the base model.
func (x *Export) baseModel() string {
	if config, err := parseTree(x.page.Run.Meta.Config); err == nil {
		if name, ok := config["model"].(string); ok {
			return name
		}
	}
	return "MODEL"
}

// Use is example code for the result: for this program, and for PEFT or transformers.
func (x *Export) Use() string {
	if !x.page.Run.HasResult() {
		return ""
	}
	shell, python := x.use(x.page.Run.resultFolder())
	return "# llamatab\n" + shell + "\n\n# Python\n" + python
}

func (x *Export) use(item string) (shell, python string) {
	switch item {
	case "adapter":
		return "llamatab generate --model " + x.baseModel() + " --adapter adapter --prompt \"…\"",
			"from peft import PeftModel\nmodel = PeftModel.from_pretrained(base, \"adapter\")"
	case "model":
		return "llamatab generate --model model --prompt \"…\"",
			"from transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained(\"model\")"
	}
	return "", ""
}

// CopyUse copies that to the clipboard.
func (x *Export) CopyUse(vugu.DOMEvent) { x.page.browser.Copy(x.Use(), false) }

// readme is the README.md of a download: what it is, how it was made, how to use it.
func (x *Export) readme(item string) string {
	r := x.page.Run
	text := "# " + r.Meta.Name + "\n\nFine-tuned with llamatab: base model `" + x.baseModel() + "`, " + strconv.Itoa(r.Last.Step) + " steps, last loss " + string(r.LossText()) +
		".\n`run.json` is the whole configuration, `metrics.jsonl` the loss of every step.\n\n" +
		"The licence of the base model applies to what was made from it; the training data is not in this file.\n"
	if shell, python := x.use(item); shell != "" {
		text += "\n```python\n" + python + "\n```\n\n```sh\n" + shell + "\n```\n"
	}
	return text
}
