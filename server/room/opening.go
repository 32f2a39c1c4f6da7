package room

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// opening is a room that was brought to where its log ends.
type opening struct {
	room    *Room
	records []Record // of the log, the one of this life included
	fence   uint64
	notes   []levelNote
	faults  []Damaged // blobs that the room needs and that are missing or too short
}

type levelNote struct {
	level slog.Level
	note  Note
}

// openRoom opens a room that is under a lease: it follows the log, writes the record of this life, compares the blobs that are
// there with those that are needed, and deletes what nothing needs. first is the first record of a new room, nil for one that
// has a log. A log that cannot be followed to its end is left as it is.
func openRoom(id string, store Storage, lease Lease, first *Record) (*opening, error) {
	entries, tail, err := store.Read(id)
	if err != nil {
		return nil, err
	}
	records, err := ParseLog(entries, tail)
	if err != nil {
		return nil, err
	}
	prev := ""
	switch n := len(records); {
	case first != nil && n > 0:
		return nil, fmt.Errorf("room: there is a room %s already", id)
	case first == nil && n == 0:
		return nil, ErrUnborn
	case first == nil:
		first = &Record{Kind: Reopened}
		prev = records[n-1].Hash
		if last := records[n-1].Fence; last >= lease.Fence() {
			if err := lease.Raise(last + 1); err != nil {
				return nil, fmt.Errorf("room: the lease of %s: %w", id, err)
			}
		}
	}
	o := &opening{fence: lease.Fence()}
	text := Chain(first, prev, o.fence)
	o.records = append(records, *first)
	cfg, err := OpenedConfig(o.records)
	if err != nil {
		return nil, err
	}
	if o.room, err = New(cfg, o.records); err != nil {
		return nil, err
	}
	if err := store.Append(id, len(records), text); err != nil {
		return nil, err
	}
	o.noteTail(tail)
	return o, o.compare(id, store, tail.Torn())
}

// noteTail tells that the log ended in bytes that are no whole entry.
func (o *opening) noteTail(tail Tail) {
	n := len(tail.Bytes)
	if n == 0 {
		return
	}
	note, level := Note{Code: "log_torn", Step: o.room.step}, slog.LevelInfo
	note.Text = fmt.Sprintf("the log ended in %d bytes of a record that was never written whole: they were cut off", n)
	if !tail.Torn() {
		note.Code, level = "log_damaged", slog.LevelWarn
		note.Text = fmt.Sprintf("the log's last record has changed since it was written: its %d bytes are kept in the file log.cut.%d, and the room goes on at step %d",
			n, tail.Offset, o.room.step)
	}
	o.notes = append(o.notes, levelNote{level, note})
}

// compare finds the blobs that are needed and not whole, and deletes those that nothing needs: where all of the log is known.
// A blob whose length is right is verified when it is read.
func (o *opening) compare(id string, store Storage, sweep bool) error {
	list, err := store.List(id)
	if err != nil {
		return err
	}
	there, live := map[string]int64{}, o.room.Live()
	var dead []string
	for _, b := range list {
		there[b.Name] = b.Size
		if _, needed := live[b.Name]; !needed && (sweep || strings.Contains(b.Name, ".")) {
			dead = append(dead, b.Name)
		}
	}
	for hash, want := range live {
		if size, ok := there[hash]; !ok {
			o.faults = append(o.faults, Damaged{hash, &BlobError{hash, errors.New("it is missing")}})
		} else if size != want {
			o.faults = append(o.faults, Damaged{hash, &BlobError{hash, fmt.Errorf("it has %d bytes instead of %d", size, want)}})
		}
	}
	return store.Delete(id, dead...)
}
