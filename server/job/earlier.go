package job

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// earlierPrefix begins the names of folders that keep what earlier runs left in an output folder: earlier-1, earlier-2, …
const earlierPrefix = "earlier-"

// records are the files that a Log writes.
var records = []string{"metrics.jsonl", "events.jsonl", "summary.json", "run.json"}

// checkpointStep is the step of a checkpoint's folder, by its name.
func checkpointStep(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, message.CheckpointPrefix)
	step, err := strconv.Atoi(digits)
	return step, ok && err == nil && step >= 0
}

// results are the folders of what a run has trained.
var results = []string{"adapter", "model"}

// moveEarlier moves the checkpoints of an earlier run after a step, and what else of it names holds, into a new folder, so that
// they are neither lost nor taken for those of the run that begins. Without such a checkpoint it moves nothing. What the run
// reads stays where it is.
func (l *Log) moveEarlier(after int, names ...string) error {
	entries, err := l.disk.ReadDir(".")
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	var moved []string
	for _, entry := range entries {
		name := entry.Name()
		if step, ok := checkpointStep(name); ok && step > after && entry.IsDir() && !l.reads(name) {
			moved = append(moved, name)
		}
	}
	slices.SortFunc(moved, func(a, b string) int {
		i, _ := checkpointStep(a)
		j, _ := checkpointStep(b)
		return i - j
	})
	return l.setAside(moved, names...)
}

// moveResults moves the results that the run, which has ended, did not write: they are those of an earlier run.
func (l *Log) moveResults(written []string) error {
	var older []string
	for _, name := range results {
		_, err := l.disk.Lstat(name)
		if err == nil && !slices.Contains(written, name) && !l.reads(name) {
			older = append(older, name)
		}
	}
	return l.setAside(older)
}

// setAside moves what moved names, and what there is of more and the run does not read, to the next folder of an earlier run.
// Where moved is empty it does nothing.
func (l *Log) setAside(moved []string, more ...string) error {
	if len(moved) == 0 {
		return nil
	}
	entries, err := l.disk.ReadDir(".")
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	taken := 0 // the highest number of such a folder
	for _, entry := range entries {
		if digits, ok := strings.CutPrefix(entry.Name(), earlierPrefix); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				taken = max(taken, n)
			}
		}
	}
	into := earlierPrefix + strconv.Itoa(taken+1)
	if err := l.disk.Mkdir(into, 0o777); err != nil {
		return fmt.Errorf("job: keeping what an earlier run left: %w", err)
	}
	for _, name := range slices.Concat(moved, more) {
		if l.reads(name) {
			continue
		}
		err := l.disk.Rename(name, path.Join(into, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("job: keeping what an earlier run left: %w", err)
		}
	}
	l.disk.SyncFolder(into)
	l.disk.SyncFolder(".")
	if l.Earlier != nil {
		l.Earlier(filepath.Join(l.folder, into), moved)
	}
	return nil
}

// reads reports whether the run reads files below a folder of the output folder.
func (l *Log) reads(name string) bool {
	folder, err := filepath.Abs(filepath.Join(l.folder, name))
	return err == nil && slices.ContainsFunc(l.Inputs, func(path string) bool {
		return path == folder || strings.HasPrefix(path, folder+string(filepath.Separator))
	})
}
