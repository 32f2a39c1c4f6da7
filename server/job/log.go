package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"llamatab/engine/message"
)

// Log keeps the record of a run in its output folder: run.json, metrics.jsonl (exactly one line a step),
// events.jsonl and summary.json.
type Log struct {
	// Inputs are the absolute paths that the run reads, which stay where they are.
	Inputs []string
	// Earlier is called when checkpoints or results of an earlier run have been moved to a folder. nil: nobody is told.
	Earlier func(folder string, moved []string)

	folder string
	// keep continues the record in the folder, because the run resumes from a checkpoint there. Otherwise a new record
	// replaces it, and the checkpoints of an earlier run are moved to a folder of their own, together with its record and result.
	keep    bool
	begun   bool
	metrics *os.File
	events  *os.File
	last    int // the last step in metrics.jsonl
}

// NewLog records into an existing folder. It changes nothing there before the first message that is recorded.
func NewLog(folder string, keep bool) *Log { return &Log{folder: folder, keep: keep} }

// Record writes a message into the file that it belongs to. Messages of other kinds are not recorded.
func (l *Log) Record(e message.Envelope) error {
	if e.Failed != nil && l.begun { // a run that fails before its start leaves the record of the one before
		e.Event = &message.Event{Time: time.Now().UTC().Format(time.RFC3339), Level: "error", Code: e.Failed.Code, Step: l.last, Message: e.Failed.Message}
	}
	if e.Done != nil && len(e.Done.Files) > 0 && l.begun {
		return l.moveResults(e.Done.Files)
	}
	if e.Step == nil && e.Event == nil && e.Config == nil && e.Summary == nil {
		return nil
	}
	if err := l.begin(); err != nil {
		return err
	}
	switch {
	case e.Config != nil:
		return l.write("run.json", e.Config)
	case e.Summary != nil:
		return l.write("summary.json", e.Summary)
	case e.Step != nil:
		// A run that resumes, or rolls back, repeats some steps: the new line replaces the old ones.
		if e.Step.Step <= l.last {
			if err := l.trim(e.Step.Step - 1); err != nil {
				return err
			}
		}
		l.last = e.Step.Step
		return appendLine(l.metrics, e.Step)
	default:
		if e.Event.Code == "resumed" {
			if err := l.trim(e.Event.Step); err != nil {
				return err
			}
			if l.keep { // the checkpoints after the one that the run resumes from are not of this run any more
				if err := l.moveEarlier(e.Event.Step); err != nil {
					return err
				}
			}
		}
		return appendLine(l.events, e.Event)
	}
}

// Last is the last step on record.
func (l *Log) Last() (int, error) {
	err := l.begin()
	return l.last, err
}

// Close closes the files.
func (l *Log) Close() error {
	var errs []error
	for _, f := range []*os.File{l.metrics, l.events} {
		if f != nil {
			errs = append(errs, f.Sync(), f.Close())
		}
	}
	return errors.Join(errs...)
}

func (l *Log) begin() error {
	if l.begun {
		return nil
	}
	l.begun = true
	if !l.keep {
		if err := l.moveEarlier(-1, append(slices.Concat(records, results), "best")...); err != nil {
			return err
		}
		for _, name := range records {
			if err := os.Remove(filepath.Join(l.folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("job: replacing the record of an earlier run: %w", err)
			}
		}
	}
	if err := cutTorn(filepath.Join(l.folder, "events.jsonl")); err != nil {
		return err
	}
	var err error
	if l.events, err = openAppend(filepath.Join(l.folder, "events.jsonl")); err != nil {
		return err
	}
	const all = int(^uint(0) >> 1)
	return l.trim(all)
}

// trim drops the lines of metrics.jsonl after step, and an incomplete last line, and opens the file for appending.
func (l *Log) trim(step int) error {
	name := filepath.Join(l.folder, "metrics.jsonl")
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("job: %w", err)
	}
	if l.metrics != nil {
		l.metrics.Close() // before the rename: not every system renames onto an open file
		l.metrics = nil
	}
	var kept bytes.Buffer
	l.last = 0
	for line := range bytes.Lines(data) {
		var s struct{ Step int }
		if line[len(line)-1] != '\n' || json.Unmarshal(line, &s) != nil || s.Step > step {
			continue
		}
		kept.Write(line)
		l.last = s.Step
	}
	if kept.Len() != len(data) {
		if err := WriteFile(name, kept.Bytes()); err != nil {
			return err
		}
	}
	l.metrics, err = openAppend(name)
	return err
}

// cutTorn drops an incomplete last line.
func cutTorn(name string) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if whole := bytes.LastIndexByte(data, '\n') + 1; whole != len(data) {
			err = os.Truncate(name, int64(whole))
		}
	}
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	return nil
}

func (l *Log) write(name string, value json.RawMessage) error {
	var text bytes.Buffer
	if err := json.Indent(&text, value, "", "  "); err != nil {
		return fmt.Errorf("job: %s: %w", name, err)
	}
	text.WriteByte('\n')
	return WriteFile(filepath.Join(l.folder, name), text.Bytes())
}

func openAppend(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return file, nil
}

func appendLine(file *os.File, v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = file.Write(append(line, '\n')) // one call: a line is whole or torn, never mixed
	}
	if err != nil {
		return fmt.Errorf("job: writing %s: %w", file.Name(), err)
	}
	return nil
}
