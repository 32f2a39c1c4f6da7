package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// lines is a file of lines of JSON that grows. A line that cannot be written waits in memory and is written before the next one,
// so that a disk that was full for a while leaves no gap.
type lines struct {
	disk    disk
	name    string
	file    diskFile
	size    int64 // of the whole lines in the file
	torn    bool  // part of a line stands behind them, which could not be cut off
	waiting []byte
	dropped func(line []byte) bool // false for lines that could not be dropped yet; nil for none
}

// openLines opens the file, which is made where there is none, and drops a last line that is torn. Of the others it keeps those
// that keep says, nil for all.
func openLines(d disk, name string, keep func(line []byte) bool) (*lines, error) {
	l := &lines{disk: d, name: name}
	err := l.filter(keep)
	if err == nil {
		if err = l.open(); err != nil {
			err = fmt.Errorf("job: %w", err)
		}
	}
	return l, err
}

// add appends v as a line.
func (l *lines) add(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("job: %s: %w", l.name, err)
	}
	l.waiting = append(append(l.waiting, line...), '\n')
	return l.flush()
}

// flush writes the lines that wait. After an error the file has whole lines only, or is cut to them with the next write.
func (l *lines) flush() error {
	if len(l.waiting) == 0 {
		return nil
	}
	if err := l.drop(); err != nil {
		return err
	}
	err := l.open()
	if err == nil {
		_, err = l.file.Seek(l.size, io.SeekStart)
	}
	if err == nil {
		if _, err = l.file.Write(l.waiting); err != nil {
			l.torn = l.file.Truncate(l.size) != nil
		}
	}
	if err != nil {
		return fmt.Errorf("job: writing %s: %w", l.name, err)
	}
	l.size, l.waiting = l.size+int64(len(l.waiting)), nil
	if l.torn {
		l.torn = l.file.Truncate(l.size) != nil
	}
	return nil
}

func (l *lines) open() (err error) {
	if l.file == nil {
		l.file, err = l.disk.Open(l.name, os.O_WRONLY|os.O_CREATE)
	}
	return err
}

// filter drops a torn last line and the lines for which keep is false, also of those that wait. After an error the next line that
// is added tries again.
func (l *lines) filter(keep func(line []byte) bool) error {
	if keep == nil {
		keep = func([]byte) bool { return true }
	}
	var waiting []byte
	for line := range bytes.Lines(l.waiting) {
		if keep(line) {
			waiting = append(waiting, line...)
		}
	}
	l.waiting = waiting
	if before := l.dropped; before != nil {
		l.dropped = func(line []byte) bool { return before(line) && keep(line) }
	} else {
		l.dropped = keep
	}
	return l.drop()
}

// drop drops the lines of the file that filter was asked to drop.
func (l *lines) drop() error {
	if l.dropped == nil {
		return nil
	}
	data, err := l.disk.ReadFile(l.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("job: %w", err)
	}
	if l.file != nil { // what stands behind is a part of the lines that wait
		data = data[:min(int64(len(data)), l.size)]
	}
	var kept []byte
	for line := range bytes.Lines(data) {
		if line[len(line)-1] == '\n' && l.dropped(line) {
			kept = append(kept, line...)
		}
	}
	switch {
	case len(kept) == len(data):
		err = nil
	case bytes.HasPrefix(data, kept): // needs no room on the disk
		if err = l.open(); err == nil {
			err = l.file.Truncate(int64(len(kept)))
		}
	default:
		if l.file != nil {
			l.file.Close() // before the rename: not every system renames onto an open file
			l.file = nil
		}
		err = replace(l.disk, l.name, kept)
	}
	if err != nil {
		return fmt.Errorf("job: dropping lines of %s: %w", l.name, err)
	}
	l.size, l.dropped = int64(len(kept)), nil
	return nil
}

// close writes what waits and closes the file. The error says how many lines are lost.
func (l *lines) close() error {
	err := l.flush()
	if err != nil {
		err = fmt.Errorf("%d lines are missing at the end of %s: %w", bytes.Count(l.waiting, []byte{'\n'}), l.name, err)
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Sync(), l.file.Close())
		l.file = nil
	}
	return err
}
