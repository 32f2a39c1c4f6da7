package room

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"llamatab/engine/fsdp"
)

// Kind says what a record is about.
type Kind string

const (
	Opened    Kind = "opened"   // the first record: the room's config, code and secret
	Reopened  Kind = "reopened" // the server was started again
	Started   Kind = "started"
	Committed Kind = "committed"
	Evaluated Kind = "evaluated"
	Saved     Kind = "saved"   // a checkpoint is complete
	Rewound   Kind = "rewound" // the run goes on from version Step again, as what later ones are made from is lost
	Removed   Kind = "removed" // a tab was removed and may not come back
	Locked    Kind = "locked"  // no further tab may join
	Unlocked  Kind = "unlocked"
)

// Record is an entry of a room's log. Each holds the hash of the one before, so a change of any is noticed.
type Record struct {
	Kind  Kind   `json:"kind"`
	Prev  string `json:"prev"`            // hash of the record before
	Fence uint64 `json:"fence,omitempty"` // of the lease under which it was written
	Epoch uint32 `json:"epoch,omitempty"`
	Step  uint64 `json:"step"` // of a commit; version of a checkpoint or an evaluation

	Config json.RawMessage `json:"config,omitempty"`
	Code   string          `json:"code,omitempty"`   // lets people in
	Secret []byte          `json:"secret,omitempty"` // makes the tokens of tabs and owner
	Tab    uint32          `json:"tab,omitempty"`
	Blobs  []string        `json:"blobs,omitempty"` // states of the shards

	Applied bool            `json:"applied,omitempty"`
	Factor  float32         `json:"factor,omitempty"`
	Updates int             `json:"updates,omitempty"`
	Loss    float64         `json:"loss,omitempty"` // mean over the step's tokens
	Norm    float64         `json:"norm,omitempty"` // of the gradient of that, before clipping
	Tokens  int             `json:"tokens,omitempty"`
	Reduced string          `json:"reduced,omitempty"` // the blob of the reduced gradient
	Slots   [][]uint32      `json:"slots,omitempty"`   // the tabs that each slot's gradient, or loss, came from
	Eval    *fsdp.Evaluated `json:"eval,omitempty"`    // what an evaluation has found

	Hash string `json:"-"` // of the record itself
}

// Commit is what tabs are told of a committed step.
func (r Record) Commit() fsdp.Commit {
	return fsdp.Commit{Step: r.Step, Applied: r.Applied, Factor: r.Factor, Updates: r.Updates, Loss: r.Loss, Norm: r.Norm, Tokens: r.Tokens}
}

// Chain encodes a record that follows the one with hash prev, and sets the record's hash.
func Chain(rec *Record, prev string, fence uint64) []byte {
	rec.Prev, rec.Fence = prev, fence
	text, err := json.Marshal(rec)
	if err != nil { // loss and norm are checked to be finite
		panic(err)
	}
	rec.Hash = hashOf(text)
	return text
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ErrDamaged is wrapped by what is wrong with a log beyond its end.
var ErrDamaged = errors.New("the room's log is damaged")

// ErrUnborn tells that a room's log has no record: the server was ended before the room was opened.
var ErrUnborn = errors.New("there is no such room, or its first record was never written")

// ParseLog reads the records of a log whose last whole entry is followed by tail, and checks that nothing is missing before
// the end.
func ParseLog(entries [][]byte, tail Tail) ([]Record, error) {
	records, err := ParseRecords(entries)
	switch {
	case err != nil:
		return nil, err
	case tail.Middle:
		return nil, fmt.Errorf("%w: record %d, at byte %d, has changed, and whole records follow it", ErrDamaged, tail.Entries, tail.Offset)
	case tail.Entries == 0 && tail.Complete:
		return nil, fmt.Errorf("%w: its first record, which holds the room's config, has changed", ErrDamaged)
	}
	return records, nil
}

// ParseRecords reads the records of a log and checks their chain and their fences.
func ParseRecords(entries [][]byte) ([]Record, error) {
	var records []Record
	prev, fence := "", uint64(0)
	for i, text := range entries {
		var rec Record
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&rec); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrDamaged, i, err)
		}
		if rec.Prev != prev {
			return nil, fmt.Errorf("%w: record %d does not follow the one before", ErrDamaged, i)
		}
		if rec.Fence < fence {
			return nil, fmt.Errorf("%w: record %d was written under lease %d after lease %d", ErrDamaged, i, rec.Fence, fence)
		}
		rec.Hash = hashOf(text)
		prev, fence = rec.Hash, rec.Fence
		records = append(records, rec)
	}
	return records, nil
}

// OpenedConfig is the config that a log's first record holds.
func OpenedConfig(records []Record) (Config, error) {
	var cfg Config
	if len(records) == 0 || records[0].Kind != Opened {
		return cfg, fmt.Errorf("%w: it does not begin with the room's config", ErrDamaged)
	}
	if err := json.Unmarshal(records[0].Config, &cfg); err != nil {
		return cfg, fmt.Errorf("%w: the room's config: %w", ErrDamaged, err)
	}
	return cfg, nil
}

// history is what the records of a log lead to: the commits and evaluations that count.
type history struct {
	commits []fsdp.Commit
	evals   []fsdp.Evaluated
}

func (h *history) add(r Record) {
	switch r.Kind {
	case Committed:
		h.commits = append(h.commits, r.Commit())
	case Evaluated:
		h.evals = append(h.evals, *r.Eval)
	case Rewound:
		h.commits = h.commits[:r.Step]
		h.evals = slices.DeleteFunc(h.evals, func(e fsdp.Evaluated) bool { return e.Version > r.Step })
	}
}
