package room

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"

	"llamatab/engine/fsdp"
)

// Inspection is what can be told of a room that no server has open.
type Inspection struct {
	ID      string
	Records int    // that can be followed, from the first on
	Bytes   int64  // of the log that these take
	Rest    int64  // bytes of the log behind them
	Err     error  // why the log cannot be followed to its end, nil if it can
	Step    uint64 // that the run goes on with
	Steps   int
	Saved   uint64   // version of the last checkpoint
	Blobs   int      // that the run may need
	Damaged []string // those that are missing or have changed, by what they are

	room *Room
}

// Whole reports whether nothing is damaged. A torn record at the end of the log is no damage.
func (i *Inspection) Whole() bool { return i.Err == nil && len(i.Damaged) == 0 }

// unlocked opens the lease of a room without counting it up, so that no server opens the room meanwhile.
func (l *Local) unlocked(room string) (file, error) {
	if !ValidID(room) {
		return nil, fmt.Errorf("room: %q cannot name a room", room)
	}
	lease, err := l.files.Open(l.path(room, "lease"), os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	if err := lease.Lock(); err != nil {
		lease.Close()
		return nil, fmt.Errorf("room: %s: %w", room, err)
	}
	return lease, nil
}

// Inspect reads all of a room and changes nothing: each record of the log, and each blob that the run may need.
func (l *Local) Inspect(room string) (*Inspection, error) {
	lease, err := l.unlocked(room)
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	return l.inspect(room)
}

func (l *Local) inspect(id string) (*Inspection, error) {
	log, err := l.files.Open(l.path(id, "log"), os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	defer log.Close()
	all, err := readAll(log)
	if err != nil {
		return nil, fmt.Errorf("room: reading the log: %w", err)
	}
	i := &Inspection{ID: id}
	entries, tail := parseEntries(all)
	if !tail.Torn() {
		i.Err = fmt.Errorf("%w: record %d, at byte %d, has changed", ErrDamaged, tail.Entries, tail.Offset)
	}
	for n := len(entries); n > 0; n-- { // the longest part that can be followed
		records, err := ParseRecords(entries[:n])
		if err == nil {
			var cfg Config
			if cfg, err = OpenedConfig(records); err == nil {
				i.room, err = New(cfg, records)
			}
		}
		if err == nil {
			i.Records = n
			break
		}
		i.Err = err
	}
	for _, text := range entries[:i.Records] {
		i.Bytes += int64(entryHeader + len(text))
	}
	i.Rest = int64(len(all)) - i.Bytes
	if i.room == nil {
		if i.Err == nil {
			i.Err = ErrUnborn
		}
		return i, nil
	}
	i.Step, i.Steps, i.Saved = i.room.step, i.room.run.Steps, i.room.base.version
	live := i.room.Live()
	i.Blobs = len(live)
	for hash, size := range live {
		if _, err := l.Get(id, hash, 0, size); err != nil {
			what, _ := i.room.blobName(hash)
			i.Damaged = append(i.Damaged, fmt.Sprintf("%s: %v", what, err))
		}
	}
	slices.Sort(i.Damaged)
	return i, nil
}

// ErrNothing tells that a room needs no repair.
var ErrNothing = errors.New("the log is whole")

// Repair ends the log of a room behind the last record that can be followed. What it cuts off is kept beside the log as log.cut.N.
func (l *Local) Repair(room string) (*Inspection, error) {
	lease, err := l.unlocked(room)
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	i, err := l.inspect(room)
	if err != nil {
		return nil, err
	}
	if i.Err == nil {
		return i, ErrNothing
	}
	if i.Records == 0 {
		return i, fmt.Errorf("room: %w, and no record can be kept", i.Err)
	}
	log, err := l.files.Open(l.path(room, "log"), os.O_RDWR)
	if err != nil {
		return i, fmt.Errorf("room: %w", err)
	}
	defer log.Close()
	all, err := readAll(log)
	if err != nil {
		return i, fmt.Errorf("room: reading the log: %w", err)
	}
	place := l.path(room, fmt.Sprintf("log.cut.%d", i.Bytes))
	if _, err := l.files.Size(place); !errors.Is(err, fs.ErrNotExist) {
		return i, fmt.Errorf("room: %s is there already: an earlier repair has kept it", place)
	}
	if err := l.write(place, all[i.Bytes:]); err != nil {
		return i, fmt.Errorf("room: keeping what is cut off: %w", err)
	}
	if err := errors.Join(log.Truncate(i.Bytes), log.Sync()); err != nil {
		return i, fmt.Errorf("room: cutting off the log: %w", err)
	}
	return i, nil
}

// Replay computes the decision about each step again whose reduced gradient is stored, and compares norm and factor with the
// log's. It returns the steps that it has compared.
func (l *Local) Replay(room string) (steps []uint64, err error) {
	lease, err := l.unlocked(room)
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	i, err := l.inspect(room)
	if err != nil {
		return nil, err
	}
	if i.Err != nil {
		return nil, i.Err
	}
	r := i.room
	for step, c := range r.commits {
		if c.Reduced == "" {
			continue
		}
		data, err := l.Get(room, c.Reduced, 0, int64(4*r.table.Len))
		if err != nil {
			return nil, fmt.Errorf("room: the gradient of step %d: %w", step, err)
		}
		if norm, factor := r.decision(r.flat(data), c.Tokens); norm != c.Norm || factor != c.Factor {
			return nil, fmt.Errorf("room: the gradient of step %d has norm %v and factor %v, the log says %v and %v", step, norm, factor, c.Norm, c.Factor)
		}
		steps = append(steps, step)
	}
	slices.Sort(steps)
	return steps, nil
}

// flat puts a reduced gradient, which is stored shard after shard, in the order of the parameters.
func (r *Room) flat(data []byte) []float32 {
	acc := make([]float32, r.table.Len)
	for i := range r.table.Shards {
		for _, s := range r.table.Shard(i).Spans {
			fsdp.Fold(acc[s.Off:s.Off+s.Len], data, 0)
			data = data[4*s.Len:]
		}
	}
	return acc
}

// decision computes norm and factor of a step as decide does.
func (r *Room) decision(acc []float32, count int) (norm float64, factor float32) {
	square := 0.0
	for _, p := range r.all.Pieces {
		square += fsdp.SumSquares(acc[p.Off : p.Off+p.Len])
	}
	tokens := float64(max(count, 1))
	norm = math.Sqrt(square) / tokens
	return norm, r.factor(norm, tokens)
}
