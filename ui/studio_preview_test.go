package ui

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/data"
	"llamatab/engine/message"
)

// dataPage is a page with a chosen model and data file.
func dataPage(t *testing.T, name string) *Page {
	t.Helper()
	p := NewPage(&fakeBrowser{})
	p.Screen = screenStudio
	text, _ := describe(t)
	p.Studio.describe(text)
	tellPage(t, p, "files-chosen", filesMessage{Kind: "model", Files: []file{{Path: "m/config.json", Size: 1}, {Path: "m/model.safetensors", Size: 9}, {Path: "m/tokenizer.json", Size: 3}}})
	chooseFile(t, p, name)
	return p
}

func chooseFile(t *testing.T, p *Page, name string) {
	t.Helper()
	tellPage(t, p, "files-chosen", filesMessage{Kind: "dataset", Files: []file{{Path: name, Size: 100}}})
}

// answerPreview has the side engine end the questions that stand before a preview, and answer this one.
func answerPreview(t *testing.T, p *Page, preview message.DataPreview, failed *message.Failed) {
	t.Helper()
	result, err := json.Marshal(preview)
	if err != nil {
		t.Fatal(err)
	}
	last := message.Envelope{Type: "done", Done: &message.Done{}}
	if failed != nil {
		last = message.Envelope{Type: "failed", Failed: failed}
	}
	tellPage(t, p, "envelopes", envelopesMessage{Engine: sideEngine, Envelopes: []message.Envelope{{Type: "result", Result: result}, last}})
}

// endPlan has the side engine end a plan.
func endPlan(t *testing.T, p *Page) {
	t.Helper()
	tellPage(t, p, "envelopes", envelopesMessage{Engine: sideEngine, Envelopes: []message.Envelope{{Type: "done", Done: &message.Done{}}}})
}

func columns(names ...string) (all []message.DataColumn) {
	for _, name := range names {
		all = append(all, message.DataColumn{Name: name, Kind: "text", Example: "of " + name})
	}
	return all
}

// TestPreviewIsOfItsFile: what the page says of the data belongs to the file that is chosen, also where the engine answers late.
func TestPreviewIsOfItsFile(t *testing.T) {
	p := dataPage(t, "one.jsonl")
	s := p.Studio
	if s.PreviewStatus() == "" || s.Preview != nil {
		t.Errorf("while the data is read: %q, %v", s.PreviewStatus(), s.Preview)
	}
	answerPreview(t, p, message.DataPreview{Format: "text", Total: 7, Columns: columns("text")}, nil)
	if s.Preview == nil || s.Preview.Total != 7 || s.PreviewStatus() != "" || !s.Mappable() {
		t.Fatalf("%+v, %q", s.Preview, s.PreviewStatus())
	}
	chooseFile(t, p, "two.jsonl")
	if s.Preview != nil || s.Mappable() || s.DataText() != "" {
		t.Errorf("of the file before: %+v, %q", s.Preview, s.DataText())
	}
	endPlan(t, p) // of the first file; then the second is read
	chooseFile(t, p, "three.jsonl")
	answerPreview(t, p, message.DataPreview{Format: "text", Total: 8}, nil)
	if s.Preview != nil {
		t.Errorf("the second file's answer is shown for the third: %+v", s.Preview)
	}
	endPlan(t, p)
	answerPreview(t, p, message.DataPreview{}, &message.Failed{Code: "data", Message: "bad"})
	if s.Preview != nil || s.DataFaultDetail() != "bad" {
		t.Errorf("%+v, %q", s.Preview, s.DataFaultDetail())
	}
	chooseFile(t, p, "three.jsonl") // the person has mended it: another file of the same name and size
	if s.DataFaultDetail() != "" || s.Preview != nil {
		t.Errorf("the fault of the file before: %q", s.DataFaultDetail())
	}
	tellPage(t, p, "files-chosen", filesMessage{Kind: "dataset", Files: []file{{Path: "empty.jsonl", Size: 0}}})
	if s.PreviewStatus() != "" || s.Mappable() || s.HasTurns() || s.BadRows() != nil {
		t.Error("an empty file has a preview")
	}
}

// TestMapColumns: a file whose columns no format has is read as the person says.
func TestMapColumns(t *testing.T) {
	p := dataPage(t, "odd.csv")
	s := p.Studio
	set := func(path string) string {
		v, _ := s.Config.Get(path)
		return spell(v)
	}
	refused := &message.Failed{Code: "data", Kind: "row", Message: "line 1: no format", About: map[string]any{
		"line": 1, "cause": message.NewRemark("row_no_format", "no format fits", "keys", "frage, antwort")}}
	file := message.DataPreview{Columns: columns("id", "frage", "antwort"), File: message.DataFile{Layout: "table", Header: true}}
	answerPreview(t, p, file, refused)
	if text := string(s.DataFaultText()); !s.MappingShown() || s.CanSkip() || !strings.HasPrefix(text, "Line 1 of the data: no format fits the columns frage, antwort: choose") {
		t.Errorf("shown %v, can skip %v, %q", s.MappingShown(), s.CanSkip(), text)
	}
	s.ReadAs("prompt_completion")
	file.Keys = []message.DataKey{{Key: "prompt"}, {Key: "completion"}}
	endPlan(t, p)
	answerPreview(t, p, file, refused)
	s.Map("prompt", "frage")
	file.Keys[0].Column = "frage"
	endPlan(t, p)
	answerPreview(t, p, file, refused)
	s.Map("completion", "antwort")
	if set(formatPath) != "prompt_completion" || set(columnsPath) != `{"completion":"antwort","prompt":"frage"}` {
		t.Errorf("format %s, columns %s", set(formatPath), set(columnsPath))
	}
	file.Keys[1].Column, file.Format, file.Total = "antwort", "prompt_completion", 4
	endPlan(t, p)
	answerPreview(t, p, file, nil)
	if s.MappingShown() || s.MappingText() != "Prompt: frage · Answer (completion): antwort" || s.UnreadText() != "Not read: id" || s.KeyExample(file.Keys[0]) != "of frage" {
		t.Errorf("shown %v, %q, %q, %q", s.MappingShown(), s.MappingText(), s.UnreadText(), s.KeyExample(file.Keys[0]))
	}
	if got := fmt.Sprint(s.ColumnOptions(file.Keys[0])); got != "[{id id} {frage frage} {antwort antwort} {1 column 1, also in the first row} {2 column 2, also in the first row} {3 column 3, also in the first row}]" {
		t.Errorf("options %s", got)
	}
	if got := fmt.Sprint(s.ColumnOptions(message.DataKey{Key: "input", Optional: true})); !strings.HasPrefix(got, "[{ no column} {id id}") {
		t.Errorf("options of a key that a row need not have: %s", got)
	}
	// A choice that arrives when another file has been chosen changes nothing.
	chooseFile(t, p, "odd.csv")
	s.ReadAs("text")
	s.Map("prompt", "id")
	if set(formatPath) != "prompt_completion" || set(columnsPath) != `{"completion":"antwort","prompt":"frage"}` {
		t.Errorf("format %s, columns %s", set(formatPath), set(columnsPath))
	}
	endPlan(t, p)
	answerPreview(t, p, file, nil)
	// The columns of one file are not those of the next, and a format that is found again needs no columns.
	chooseFile(t, p, "other.csv")
	if set(formatPath) != "" || set(columnsPath) != "" {
		t.Errorf("the next file is read as %s with the columns %s", set(formatPath), set(columnsPath))
	}
	endPlan(t, p)
	file = message.DataPreview{Columns: []message.DataColumn{{Name: "id", Kind: "number"}, {Name: "dialog", Kind: "sharegpt"}}}
	answerPreview(t, p, file, refused)
	s.ReadAs("sharegpt")
	if set(columnsPath) != `{"conversations":"dialog"}` {
		t.Errorf("the only column of conversations is not proposed: %s", set(columnsPath))
	}
	s.ReadAs("auto")
	if set(formatPath) != "" || set(columnsPath) != "" {
		t.Errorf("read as %s with the columns %s", set(formatPath), set(columnsPath))
	}
}

// TestSkipRows: malformed rows are named by their line, and left out where the person says so.
func TestSkipRows(t *testing.T) {
	p := dataPage(t, "rows.jsonl")
	s := p.Studio
	cause := message.NewRemark("row_null", `"text" is null`, "key", `"text"`)
	answerPreview(t, p, message.DataPreview{Columns: columns("text")}, &message.Failed{Code: "data", Kind: "row", Message: "line 3", About: map[string]any{"line": 3, "cause": cause}})
	if text := string(s.DataFaultText()); !s.CanSkip() || !strings.HasPrefix(text, `Line 3 of the data: "text" is null.`) {
		t.Errorf("can skip %v, %q", s.CanSkip(), text)
	}
	s.Skip(true)
	if !s.Skips() || s.CanSkip() {
		t.Errorf("skips %v, can skip %v", s.Skips(), s.CanSkip())
	}
	endPlan(t, p)
	answerPreview(t, p, message.DataPreview{Format: "text", Total: 2, Bad: []message.PreviewBadRow{{Line: 3, Cause: cause}, {Line: 5, Cause: "broken"}}}, nil)
	var said []string
	for _, row := range s.BadRows() {
		said = append(said, string(s.BadRowText(row)))
	}
	if want := []string{`Line 3: "text" is null`, "Line 5: broken"}; !slices.Equal(said, want) || s.dataFault() != nil {
		t.Errorf("%q, want %q", said, want)
	}
	if chooseFile(t, p, "rows.jsonl"); !s.Skips() {
		t.Error("the same file again has its malformed rows stop the run")
	}
	if chooseFile(t, p, "others.jsonl"); s.Skips() {
		t.Error("the malformed rows of another file are left out, too")
	}
	if s.Skip(true); !s.Skips() {
		t.Error("does not skip")
	}
	if s.Skip(false); s.Skips() {
		t.Error("still skips")
	}
}

// TestTemplateChoice: the templates to choose from are the model's own by name, where it has several, and the built-in ones.
func TestTemplateChoice(t *testing.T) {
	p := dataPage(t, "chats.jsonl")
	s := p.Studio
	values := func() string {
		var all []string
		for _, o := range s.Field(templatePath).choices() {
			all = append(all, string(s.Field(templatePath).OptionText(o)))
		}
		return strings.Join(all, ", ")
	}
	const builtin = "the model's own, ChatML, Llama 3, plain headings, Zephyr"
	if got := values(); got != builtin || s.HasTurns() {
		t.Errorf("%q, %v", got, s.HasTurns())
	}
	answerPreview(t, p, message.DataPreview{Format: "sharegpt", Total: 2, Template: &message.PreviewTemplate{Name: "default", Source: "tokenizer_config.json", Own: []string{"default", "rag"}}}, nil)
	if got := values(); got != builtin+", the model's “default”, the model's “rag”" || !s.HasTurns() || !strings.Contains(string(s.TemplateText()), "default puts the turns together (tokenizer_config.json)") {
		t.Errorf("%q, %v, %q", got, s.HasTurns(), s.TemplateText())
	}
	s.Field(templatePath).take("model:rag")
	if v, _ := s.Config.Get(templatePath); v != "model:rag" {
		t.Errorf("chose %v", v)
	}
	chooseFile(t, p, "others.jsonl")
	if got := values(); got != builtin+", the model's “rag”" {
		t.Errorf("while the file is read: %q", got)
	}
}

// TestColumnNames: whatever a format reads has a name in both languages.
func TestColumnNames(t *testing.T) {
	keys := map[string]bool{}
	_, about := describe(t)
	for _, o := range about.Choices[formatPath] {
		_, read, _, err := data.Columns(strings.NewReader(`{"none": 1}`), "a.jsonl", data.Options{Format: o.Value})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range read {
			keys[k.Key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if _, ok := catalogue["column."+key]; !ok {
			t.Errorf("the column %q has no name", key)
		}
	}
	if len(keys) < 10 {
		t.Errorf("only %v are read", keys)
	}
}
