package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/runner"
)

// dataCommand is the command data: it reads a data file as a run would, and says what is in it.
func dataCommand(ctx context.Context, args []string) error {
	f := newFlagSet("data")
	var path string
	f.operand = &path
	model := f.String("model", "", "model `DIR`, or its name on a hub: its tokenizer and chat template make the rows that are shown; without it there are no counts of tokens")
	set := map[string]any{}
	format := f.String("format", "auto", "format of the data: `auto`, "+strings.Join(config.Formats()[1:], ", "))
	template := f.String("template", "", "`NAME` of a chat template, as dataset.template of run.json")
	var columns list
	f.Var(&columns, "column", "`key=name`: the column that is read for a key of the format, as dataset.columns of run.json; may be repeated")
	length := f.Int("max-length", 0, "`tokens` of a row at most; 0 means min(1024, the model's context)")
	prompts := f.Bool("train-on-prompt", false, "prompts are trained as well")
	classify := f.Bool("classify", false, "rows have one label each, for a classifier")
	want := message.PreviewJob{Rows: 3, Tokens: 200}
	f.IntVar(&want.Rows, "rows", want.Rows, "`number` of rows that are shown")
	f.IntVar(&want.Tokens, "tokens", want.Tokens, "`number` of tokens that are shown of a row")
	asJSON := f.Bool("json", false, "print the result as JSON")
	hubs := f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if path == "" {
		return exit.Usagef("data: the FILE is missing; llamatab data --help lists the options")
	}
	if want.Rows < 0 || want.Tokens < 1 || *length < 0 {
		return exit.Usagef("data: --rows and --max-length want 0 or more, --tokens 1 or more")
	}
	set["path"], set["format"], set["train_on_prompt"], set["on_bad_row"] = path, *format, *prompts, "skip"
	if *template != "" {
		set["template"] = *template
	}
	if *length > 0 {
		set["max_length"] = *length
	}
	if err := setColumns(set, columns); err != nil {
		return err
	}
	m := inputs.New("", hubs.finder(ctx))
	defer m.Close()
	if err := m.Add("dataset", "data", &path); err != nil {
		return err
	}
	if err := inputs.DataFile("data", path); err != nil {
		return err
	}
	run := map[string]any{"dataset": set, "trainable": []string{message.PartAll}}
	if *classify {
		run["trainable"] = []string{message.PartScore}
	}
	if *model == "" {
		run["model"] = json.RawMessage(plainModel)
	} else {
		if err := m.Model("--model", model); err != nil {
			return err
		}
		run["model"] = *model
	}
	files, err := m.Open()
	if err != nil {
		return err
	}
	if *model == "" {
		if files.Tokenizer, err = plainTokenizer(); err != nil {
			return err
		}
		if *length == 0 {
			set["max_length"] = plainLength
		}
		want.Tokens *= bytesOfToken
	}
	text, err := json.Marshal(run)
	if err != nil {
		return err
	}
	cfg, err := config.Parse(text, "")
	if err != nil {
		return err
	}
	if text, err = json.Marshal(cfg); err != nil {
		return err
	}
	r := &dataReport{Path: path, tokens: *model != ""}
	failed := readData(ctx, message.Job{Command: message.Preview, Config: text, Preview: &want}, files, r)
	if *asJSON {
		err = r.json(os.Stdout)
	} else {
		info, statErr := os.Stdout.Stat()
		r.print(os.Stdout, statErr == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "")
	}
	return errors.Join(err, failed, r.malformed())
}

// setColumns puts key=name pairs into the settings of a dataset.
func setColumns(set map[string]any, pairs []string) error {
	columns := map[string]string{}
	for _, pair := range pairs {
		key, name, ok := strings.Cut(pair, "=")
		if !ok || key == "" || name == "" {
			return exit.Usagef("data: --column %q wants key=name, such as prompt=question", pair)
		}
		columns[key] = name
	}
	if len(columns) > 0 {
		set["columns"] = columns
	}
	return nil
}

// readData runs a preview of the data in this process, and takes its result into r.
func readData(ctx context.Context, spec message.Job, files report.Files, r *dataReport) error {
	h := &previewHost{progress: runner.NewProgress(), r: r}
	defer h.progress.Clear()
	err := job.Run(ctx, &job.Job{Job: spec, Files: files, Host: h})
	if err == nil {
		return nil
	}
	r.Failed = report.Failure(err)
	return exit.Outcome(message.Envelope{Failed: r.Failed})
}

// previewHost is the host of a preview.
type previewHost struct {
	progress *runner.Progress
	r        *dataReport
}

func (h *previewHost) Emit(all ...message.Envelope) {
	for _, e := range all {
		if e.Progress != nil {
			h.progress.Observe(e)
		}
		if e.Result != nil {
			h.r.DataPreview = message.DataPreview{}
			_ = json.Unmarshal(e.Result, &h.r.DataPreview) // it was made of the same type
		}
	}
}

var errNoOutput = errors.New("a preview writes no files")

func (h *previewHost) Create(string) (io.WriteCloser, error) { return nil, errNoOutput }
func (h *previewHost) Commit(string) error                   { return errNoOutput }
func (h *previewHost) Remove(string) error                   { return nil }
func (h *previewHost) Open(string) (fs.FS, error)            { return nil, fs.ErrNotExist }
func (h *previewHost) Control() message.Control              { return "" }

// dataReport is what the command data says.
type dataReport struct {
	Path string `json:"path"`
	message.DataPreview
	Failed *message.Failed `json:"failed,omitempty"`
	tokens bool            // there is a model, whose tokens are counted
}

// malformed is the error of a file with malformed rows, at which a run ends unless it leaves them out.
func (r *dataReport) malformed() error {
	if n := r.Counts.Bad; n > 0 && r.Failed == nil {
		return &exit.Error{Code: report.ExitConfig, Err: fmt.Errorf("data: %d malformed rows: a run ends at the first, unless dataset.on_bad_row is \"skip\"", n)}
	}
	return nil
}

// json prints the report. Without a model the counts of tokens are of bytes of a stand-in, and are left out.
func (r *dataReport) json(w io.Writer) error {
	if !r.tokens {
		r.withoutTokens()
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// withoutTokens makes the tokens of each row, which are bytes where there is no model, pieces of text that are trained or not, and
// leaves counts of tokens and the stand-in's template out.
func (r *dataReport) withoutTokens() {
	r.Tokens, r.Trained, r.Counts.Tokens, r.Counts.Trained, r.Template = 0, 0, 0, 0, nil
	r.Remarks = slices.DeleteFunc(r.Remarks, func(m message.Remark) bool { return strings.HasPrefix(m.Code, "chat_open") })
	for i := range r.Rows {
		row := &r.Rows[i]
		more := row.Length > len(row.Tokens)
		var pieces []message.PreviewToken
		if r.Format == "tokens" { // what the ids stand for is not known
			for k := range row.Tokens {
				row.Tokens[k].Text = ""
			}
			continue
		}
		for _, t := range row.Tokens {
			if n := len(pieces); n > 0 && pieces[n-1].Trained == t.Trained {
				pieces[n-1].Text += t.Text
			} else {
				pieces = append(pieces, message.PreviewToken{Text: t.Text, Trained: t.Trained})
			}
		}
		if more {
			pieces = append(pieces, message.PreviewToken{Text: "…"})
		}
		row.Tokens, row.Length, row.Turns = pieces, 0, nil
	}
}
