package ui

import (
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// errorEntry is an entry of the catalogue of errors: a code to look up, and the action that the page offers. The texts are
// "failed.CODE" for the cause and "mend.CODE" for the advice, by the engine's code, and "do.ACTION" for the button.
// "advice.ACTION" is the advice where there is no "mend.CODE".
type errorEntry struct {
	Code string // stable, shown
	Do   string // "studio", "resume", "reload", "home" or "half"
}

// errorEntries are the catalogue of errors, by the engine's codes.
var errorEntries = map[string]errorEntry{
	"adapter":        {"E-ADAPTER-FILE", "studio"},
	"config":         {"E-CONFIG", "studio"},
	"context_full":   {"E-CONTEXT", "studio"},
	"damaged":        {"E-CHECKPOINT", "resume"},
	"data":           {"E-ROW", "studio"},
	"device_lost":    {"E-LOST", "resume"},
	"does_not_fit":   {"E-MEM", "studio"},
	"engine_crashed": {"E-CRASH", "resume"},
	"engine_ended":   {"E-CRASH", "resume"},
	"export":         {"E-EXPORT", "studio"},
	"failed":         {"E-FAILED", "studio"},
	"head":           {"E-HEAD", "studio"},
	"inputs_gone":    {"E-INPUTS", "choose"},
	"job":            {"E-VERSION", "reload"},
	"merge":          {"E-MERGE", "studio"},
	"model":          {"E-ARCH", "studio"},
	"no_adapter":     {"E-GPU", "reload"},
	"no_float16":     {"E-FLOAT16", "studio"},
	"nonfinite":      {"E-NAN", "half"},
	"out_of_memory":  {"E-MEM", "studio"},
	"output":         {"E-DISK", "home"},
	"peft":           {"E-METHOD", "studio"},
	"prompt":         {"E-PROMPT", "studio"},
	"resume":         {"E-RESUME", "home"},
	"room":           {"E-ROOM", "studio"},
	"template":       {"E-TEMPLATE", "studio"},
	"turns_refused":  {"E-TURNS", "studio"},
	"tokenizer":      {"E-TOKENIZER", "studio"},
	"unsupported":    {"E-UNSUPPORTED", "studio"},
	"weights":        {"E-WEIGHTS", "studio"},
}

func (r *Run) errorEntry() errorEntry {
	if r.Failure != nil {
		if t, ok := errorEntries[r.Failure.Code]; ok {
			return t
		}
	}
	return errorEntries["failed"]
}

// FailedCode is the code that the page shows, such as E-MEM.
func (r *Run) FailedCode() Text { return Text(r.errorEntry().Code) }

// FailedText says in a sentence what failed.
func (r *Run) FailedText() Text { return r.cause(r.Failure) }

// cause says in one sentence what failed: which setting is wrong and how, or else the text of the engine's code.
func (w *Words) cause(f *message.Failed) Text {
	if f == nil {
		return ""
	}
	if text, ok := w.settingFault(f); ok {
		return Text(text)
	}
	text := w.T("failed")
	if key := "failed." + f.Code; w.Has(key) {
		text = w.T(key)
	}
	if f.Path != "" {
		text += " " + w.label(f.Path)
	}
	return text
}

// settingFault says what is wrong with a setting: the text "wrong.KIND".
func (w *Words) settingFault(f *message.Failed) (string, bool) {
	return w.fill("wrong."+f.Kind, f.About, "name", w.label(f.Path))
}

// detail is the engine's English message. It is empty where the cause says the same.
func (w *Words) detail(f *message.Failed) Text {
	if f == nil {
		return ""
	}
	if _, ok := w.settingFault(f); ok {
		return ""
	}
	return Text(f.Message)
}

// causeAndAdvice says why a run cannot start, and what to do about it.
func (w *Words) causeAndAdvice(f *message.Failed) Text {
	text := w.cause(f)
	if f != nil && f.Path == "" && w.Has("mend."+f.Code) {
		text += " " + w.T("mend."+f.Code)
	}
	return text
}

// FailedDo is the advice.
func (r *Run) FailedDo() Text {
	if r.Failure == nil {
		return ""
	}
	if key := "mend." + r.Failure.Code; r.do() == r.errorEntry().Do && r.Has(key) {
		return r.T(key)
	}
	return r.T("advice." + r.do())
}

// FailedDetails is the engine's English message, with its advice and its code.
func (r *Run) FailedDetails() Text {
	if r.Failure == nil {
		return ""
	}
	text := r.Failure.Message
	if r.Failure.Next != "" {
		text += "\n→ " + r.Failure.Next
	}
	return Text(text + "\n" + r.Failure.Code)
}

// do is the action that the page offers. An action that needs a checkpoint or kept inputs is replaced where there are none.
func (r *Run) do() string {
	d := r.errorEntry().Do
	if (d == "resume" || d == "half") && len(r.Meta.Inputs) == 0 && r.checkpoint() == 0 {
		return "studio"
	}
	return d
}

func (r *Run) DoText() Text { return r.T("do." + r.do()) }

// Do performs that action.
func (r *Run) Do(event vugu.DOMEvent) {
	switch r.do() {
	case "resume":
		r.continueChanged(func(Tree) {})
	case "half":
		r.continueChanged(halve)
	case "reload":
		r.page.browser.Reload()
	case "home":
		r.page.goTo(screenHome)
	case "choose":
		r.page.Studio.chooseAgain(r)
	default:
		r.page.goTo(screenStudio)
	}
}

func halve(config Tree) {
	if rate, ok := config.Get("training.learning_rate"); ok {
		if v, ok := rate.(float64); ok {
			config.Set("training.learning_rate", v/2)
		}
	}
}

// continueChanged continues the run from its newest checkpoint with a change of its settings.
func (r *Run) continueChanged(change func(Tree)) {
	r.continueFrom(r.checkpoint(), change)
	r.page.refresh(time.Now())
}

// CopyFailure copies the failure to the clipboard, for a report.
func (r *Run) CopyFailure(vugu.DOMEvent) {
	r.page.browser.Copy(string(r.FailedCode())+"\n"+string(r.FailedDetails())+"\n"+r.page.GPU.Name, false)
}
