package fsdp

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"llamatab/engine/tensor"
)

// Run describes what a room trains. It holds all that decides the result, and nothing about the tabs that take part.
type Run struct {
	ID          string          `json:"id"`
	Strategy    Strategy        `json:"strategy"`
	Wrap        string          `json:"wrap"` // auto-wrap policy, see Wrap
	Params      []Param         `json:"params"`
	Slots       int             `json:"slots"` // micro-batches of a step
	SumFirst    bool            `json:"sum_first,omitempty"`
	Shards      int             `json:"shards"`        // 1 under NO_SHARD
	Steps       int             `json:"steps"`         // of the whole run
	ReduceDType string          `json:"reduce_dtype"`  // "bfloat16" or "float32": gradients on the wire; the sum is float32
	ParamDType  string          `json:"param_dtype"`   // "bfloat16" or "float32": parameters that are gathered; masters are float32
	MaxGradNorm float64         `json:"max_grad_norm"` // 0: no clipping
	Checkpoint  int             `json:"checkpoint"`    // steps from one checkpoint of the room to the next
	Piece       int             `json:"piece"`         // elements in a frame, at most
	Window      int             `json:"window"`        // pieces under way from one peer, at most
	Eval        *Evaluation     `json:"eval,omitempty"`
	Job         json.RawMessage `json:"job,omitempty"` // the run.json, for the tab's engine
}

// With SumFirst ("reproducible": false) a step has as many slots as there are tabs. A tab adds the gradients of its micro-batches
// before it rounds them, and sends one sum. That is less traffic, and the result depends on the number of tabs at each step,
// which the log records.

// Travelling is the number of gradients that tabs send in a step of n tabs.
func (r *Run) Travelling(n int) int {
	if r.SumFirst {
		return max(1, min(n, r.Slots))
	}
	return r.Slots
}

// Defaults for a run that does not say.
const (
	DefaultPiece      = 128 << 10 // 256 KiB of bfloat16
	DefaultWindow     = 4
	DefaultCheckpoint = 50
)

var dtypes = map[string]tensor.DType{"bfloat16": tensor.BF16, "float32": tensor.F32}

// Reduce is the type of gradients on the wire.
func (r *Run) Reduce() tensor.DType { return dtypes[r.ReduceDType] }

// Param is the type of gathered parameters.
func (r *Run) Param() tensor.DType { return dtypes[r.ParamDType] }

// Flag is the header flag of d.
func Flag(d tensor.DType) uint16 {
	if d == tensor.BF16 {
		return FlagBF16
	}
	return FlagF32
}

// Table checks the run, fills in defaults and lays out units and shards. A run may come from another program, so every field is
// checked.
func (r *Run) Table() (*Table, error) {
	if r.Piece == 0 {
		r.Piece = DefaultPiece
	}
	if r.Window == 0 {
		r.Window = DefaultWindow
	}
	if r.Checkpoint == 0 {
		r.Checkpoint = DefaultCheckpoint
	}
	if r.Strategy == NoShard {
		r.Shards = 1
	}
	known := false
	for _, s := range Strategies {
		known = known || s == r.Strategy
	}
	switch {
	case r.ID == "" || len(r.ID) > 64:
		return nil, errors.New("fsdp: a run needs an id of at most 64 bytes")
	case !known:
		return nil, fmt.Errorf("fsdp: no strategy %q: use one of %v", r.Strategy, Strategies)
	case r.Slots < 1 || r.Slots > MaxSlots:
		return nil, fmt.Errorf("fsdp: %d slots, want 1 to %d", r.Slots, MaxSlots)
	case r.Steps < 1:
		return nil, fmt.Errorf("fsdp: %d steps, want at least 1", r.Steps)
	case r.Window < 1 || r.Window > 64:
		return nil, fmt.Errorf("fsdp: a window of %d pieces, want 1 to 64", r.Window)
	case r.Checkpoint < 1:
		return nil, fmt.Errorf("fsdp: a checkpoint every %d steps, want at least 1", r.Checkpoint)
	case !(r.MaxGradNorm >= 0) || math.IsInf(r.MaxGradNorm, 0):
		return nil, fmt.Errorf("fsdp: max_grad_norm %v, want 0 or more", r.MaxGradNorm)
	}
	for name, d := range map[string]string{"reduce_dtype": r.ReduceDType, "param_dtype": r.ParamDType} {
		if _, ok := dtypes[d]; !ok {
			return nil, fmt.Errorf("fsdp: %s %q: use bfloat16 or float32", name, d)
		}
	}
	if err := r.Eval.check(); err != nil {
		return nil, err
	}
	units, err := Wrap(r.Params, r.Wrap)
	if err != nil {
		return nil, err
	}
	return NewTable(units, r.Shards, r.Piece)
}

// StatePieces is the number of pieces of a shard's state: its masters, first and second moments one after another.
func StatePieces(v *View) int { return 3 * len(v.Pieces) }

// StatePiece is the part, 0 to 2, and the piece of it that piece i of a shard's state is.
func StatePiece(v *View, i int) (part int, p Piece) {
	return i / len(v.Pieces), v.Pieces[i%len(v.Pieces)]
}
