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
	o := dataOptions{set: map[string]any{}, want: message.PreviewJob{Rows: 3, Tokens: 200}}
	f.operand = &o.path
	f.StringVar(&o.model, "model", "", "model `DIR`, a GGUF file, or its name on a hub: its tokenizer and chat template make the rows that are shown; without it there are no counts of tokens")
	format := f.String("format", "auto", "format of the data: `auto`, "+strings.Join(config.Formats()[1:], ", "))
	template := f.String("template", "", "`NAME` of a chat template, as dataset.template of run.json")
	var columns list
	f.Var(&columns, "column", "`key=name`: the column that is read for a key of the format, as dataset.columns of run.json; may be repeated")
	length := f.Int("max-length", 0, "`tokens` of a row at most; 0 means min(1024, the model's context)")
	prompts := f.Bool("train-on-prompt", false, "prompts are trained as well")
	f.BoolVar(&o.classify, "classify", false, "rows have one label each, for a classifier")
	f.IntVar(&o.want.Rows, "rows", o.want.Rows, "`number` of rows that are shown")
	f.IntVar(&o.want.Tokens, "tokens", o.want.Tokens, "`number` of tokens that are shown of a row")
	asJSON := f.Bool("json", false, "print the result as JSON")
	hubs := f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if o.path == "" {
		return exit.Usagef("data: the FILE is missing; llamatab data --help lists the options")
	}
	if o.want.Rows < 0 || o.want.Tokens < 1 || *length < 0 {
		return exit.Usagef("data: --rows and --max-length want 0 or more, --tokens 1 or more")
	}
	if *length > 0 && o.model == "" && *format != "tokens" {
		return exit.Usagef("data: --max-length counts tokens, which only a model's tokenizer makes: give --model as well")
	}
	o.set["format"], o.set["train_on_prompt"], o.set["on_bad_row"] = *format, *prompts, "skip"
	if *template != "" {
		o.set["template"] = *template
	}
	if *length > 0 {
		o.set["max_length"] = *length
	}
	if err := setColumns(o.set, columns); err != nil {
		return err
	}
	r, err := o.report(ctx, inputs.New("", hubs.finder(ctx)))
	if r == nil {
		return err
	}
	if *asJSON {
		return errors.Join(r.json(os.Stdout), err, r.malformed())
	}
	info, noFile := os.Stdout.Stat()
	r.print(os.Stdout, noFile == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "")
	return errors.Join(err, r.malformed())
}

// dataOptions are the options of the command data.
type dataOptions struct {
	path, model string
	classify    bool
	set         map[string]any // of dataset in run.json
	want        message.PreviewJob
}

// report reads the data. The error says why the data cannot be read; without a report the options are wrong.
func (o *dataOptions) report(ctx context.Context, m *inputs.Mounts) (r *dataReport, err error) {
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Add("dataset", "data", &o.path); err != nil {
		return nil, err
	}
	if err := inputs.DataFile("data", o.path); err != nil {
		return nil, err
	}
	o.set["path"] = o.path
	run := map[string]any{"dataset": o.set, "trainable": []string{message.PartAll}, "model": json.RawMessage(plainModel)}
	if o.classify {
		run["trainable"] = []string{message.PartScore}
	}
	if o.model != "" {
		if err := m.Model("--model", &o.model); err != nil {
			return nil, err
		}
		run["model"] = o.model
	}
	files, err := m.Open()
	if err != nil {
		return nil, err
	}
	if o.model == "" {
		if files.Tokenizer, err = plainTokenizer(); err != nil {
			return nil, err
		}
		if o.set["max_length"] == nil {
			o.set["max_length"] = plainLength
		}
		o.want.Tokens *= bytesOfToken
	}
	text, err := json.Marshal(run)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse(text, "")
	if err != nil {
		return nil, err
	}
	if text, err = json.Marshal(cfg); err != nil {
		return nil, err
	}
	r = &dataReport{Path: o.path, tokens: o.model != ""}
	return r, readData(ctx, message.Job{Command: message.Preview, Config: text, Preview: &o.want}, files, r)
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
		rows := "1 malformed row"
		if n > 1 {
			rows = fmt.Sprintf("%d malformed rows", n)
		}
		return &exit.Error{Code: report.ExitConfig, Err: fmt.Errorf("data: %s: a run ends at the first, unless dataset.on_bad_row is \"skip\"", rows)}
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
