package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
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
	mu      sync.Mutex
	closed  bool
	disk    disk // the folder, once the log has begun
	metrics *lines
	events  *lines
	small   map[string][]byte // files that could not be written yet, by name
	last    int               // the last step in metrics.jsonl
}

// NewLog records into an existing folder. It changes nothing there before the first message that is recorded.
func NewLog(folder string, keep bool) *Log { return &Log{folder: folder, keep: keep} }

// Begun reports whether the folder has been made ready for the record.
func (l *Log) Begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun()
}

func (l *Log) begun() bool { return l.events != nil }

// Record writes a message into the file that it belongs to. Messages of other kinds are not recorded. What cannot be written
// waits in memory, and each later call tries again: the error is that of the disk.
func (l *Log) Record(e message.Envelope) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed { // the run is over for whoever reads its record
		return nil
	}
	if e.Failed != nil && l.begun() { // a run that fails before its start leaves the record of the one before
		e.Event = &message.Event{Time: time.Now().UTC().Format(time.RFC3339), Level: "error", Code: e.Failed.Code, Step: l.last, Message: e.Failed.Message}
	}
	if e.Done != nil && len(e.Done.Files) > 0 && l.begun() {
		return l.moveResults(e.Done.Files)
	}
	if e.Step == nil && e.Event == nil && e.Config == nil && e.Summary == nil {
		return nil
	}
	if err := l.begin(); err != nil {
		return err
	}
	return errors.Join(l.take(e), l.writeSmall())
}

// take adds a message to its file.
func (l *Log) take(e message.Envelope) error {
	switch {
	case e.Config != nil:
		return l.note("run.json", e.Config)
	case e.Summary != nil:
		return l.note("summary.json", e.Summary)
	case e.Step != nil:
		// A run that resumes, or rolls back, repeats some steps: the new line replaces the old ones.
		if e.Step.Step <= l.last {
			l.trim(e.Step.Step - 1) // where that fails, add tries again
		}
		l.last = e.Step.Step
		return l.metrics.add(e.Step)
	case e.Event.Code == "resumed":
		err := l.trim(e.Event.Step)
		if l.keep { // the checkpoints after the one that the run resumes from are not of this run any more
			err = errors.Join(err, l.moveEarlier(e.Event.Step))
		}
		return errors.Join(err, l.events.add(e.Event))
	}
	return l.events.add(e.Event)
}

// Last is the last step on record.
func (l *Log) Last() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.begin()
	return l.last, err
}

// Close writes what waits and closes the files. The error says what of the record is missing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var errs []error
	for _, f := range []*lines{l.metrics, l.events} {
		if f != nil {
			errs = append(errs, f.close())
		}
	}
	if l.disk != nil {
		errs = append(errs, l.writeSmall(), l.disk.Close())
		l.disk, l.metrics, l.events = nil, nil, nil
	}
	return errors.Join(errs...)
}

// begin makes the folder ready. After an error the next call tries again. l.mu is held.
func (l *Log) begin() (err error) {
	if l.begun() {
		return nil
	}
	if l.disk == nil {
		if l.disk, err = openDisk(l.folder); err != nil {
			return fmt.Errorf("job: opening the output folder: %w", err)
		}
	}
	if !l.keep {
		if err := l.moveEarlier(-1, append(slices.Concat(records, results), "best")...); err != nil {
			return err
		}
		for _, name := range records {
			if err := l.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("job: replacing the record of an earlier run: %w", err)
			}
		}
	}
	if l.metrics, err = openLines(l.disk, "metrics.jsonl", l.stepsTo(int(^uint(0)>>1))); err != nil {
		return err
	}
	events, err := openLines(l.disk, "events.jsonl", nil)
	if err == nil {
		l.events = events
	}
	return err
}

// trim drops the lines of metrics.jsonl after step.
func (l *Log) trim(step int) error { return l.metrics.filter(l.stepsTo(step)) }

// stepsTo keeps the lines of steps up to last. It sets the log's last step to that of the last line it keeps.
func (l *Log) stepsTo(last int) func(line []byte) bool {
	l.last = 0
	return func(line []byte) bool {
		var s struct{ Step int }
		if json.Unmarshal(line, &s) != nil || s.Step > last {
			return false
		}
		l.last = max(l.last, s.Step)
		return true
	}
}

// note makes a JSON value the content of a small file, which writeSmall writes.
func (l *Log) note(name string, value json.RawMessage) error {
	var text bytes.Buffer
	if err := json.Indent(&text, value, "", "  "); err != nil {
		return fmt.Errorf("job: %s: %w", name, err)
	}
	text.WriteByte('\n')
	if l.small == nil {
		l.small = map[string][]byte{}
	}
	l.small[name] = text.Bytes()
	return nil
}

// writeSmall writes the small files that have changed.
func (l *Log) writeSmall() error {
	for name, text := range l.small {
		if err := replace(l.disk, name, text); err != nil {
			return fmt.Errorf("job: writing %s: %w", name, err)
		}
		delete(l.small, name)
	}
	return nil
}
