package fsdp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/tensor"
)

// Strategy says which tab holds what, under torch's names (torch/distributed/fsdp/api.py, ShardingStrategy).
type Strategy string

const (
	FullShard   Strategy = "FULL_SHARD"    // parameters are gathered for forward and again for backward: ZeRO-3
	ShardGradOp Strategy = "SHARD_GRAD_OP" // parameters are gathered once a step: ZeRO-2
	NoShard     Strategy = "NO_SHARD"      // every tab holds everything: DDP
	HybridShard Strategy = "HYBRID_SHARD"  // FULL_SHARD inside a group of tabs, every group holds everything
)

// Strategies lists all of them.
var Strategies = []Strategy{FullShard, ShardGradOp, NoShard, HybridShard}

// Sharded reports whether a tab holds only a part, so that parameters must be gathered to compute.
func (s Strategy) Sharded() bool { return s != NoShard }

// Gathers is how often a step gathers the parameters.
func (s Strategy) Gathers() int {
	switch s {
	case FullShard, HybridShard:
		return 2
	case ShardGradOp:
		return 1
	}
	return 0
}

// Param is a parameter that trains.
type Param struct {
	Name  string       `json:"name"`
	Shape tensor.Shape `json:"shape"`
	Unit  string       `json:"unit"` // of the model: the embedding, a block, norm and head
}

// rows is the size of dimension 0, width the product of all others; a scalar has one row.
func (p Param) rows() int {
	if len(p.Shape) == 0 {
		return 1
	}
	return p.Shape[0]
}

func (p Param) width() int {
	if p.rows() == 0 {
		return 0
	}
	return p.Shape.Size() / p.rows()
}

// Unit is a group of parameters that is gathered and reduced at a time: in FSDP, what one fully_shard call wraps.
type Unit struct {
	Name   string
	Params []Param
	Len    int // elements
}

// Wrap groups parameters into units by an auto-wrap policy: "transformer" follows the model, "size:N" closes a unit
// once it has N elements, "none" makes one of all. The order of the parameters stays.
func Wrap(params []Param, policy string) ([]Unit, error) {
	least, sized := 0, false
	if n, ok := strings.CutPrefix(policy, "size:"); ok {
		v, err := strconv.Atoi(n)
		if err != nil || v < 1 {
			return nil, fmt.Errorf("fsdp: wrap policy %q: %q is not a number of elements", policy, n)
		}
		least, sized = v, true
	} else if policy != "transformer" && policy != "none" {
		return nil, fmt.Errorf("fsdp: no wrap policy %q: use transformer, size:N or none", policy)
	}
	var units []Unit
	for i, p := range params {
		ends := i == 0
		switch {
		case i == 0:
		case sized:
			ends = units[len(units)-1].Len >= least
		case policy == "transformer":
			ends = p.Unit != params[i-1].Unit
		}
		if ends {
			units = append(units, Unit{Name: p.Unit})
		}
		u := &units[len(units)-1]
		u.Params, u.Len = append(u.Params, p), u.Len+p.Shape.Size()
		if policy != "transformer" {
			u.Name = fmt.Sprintf("unit %d", len(units)-1)
		}
	}
	return units, nil
}

// Limits of a table.
const (
	MaxUnits    = 1 << 14
	MaxParams   = 1 << 16
	MaxElements = 1 << 34
	MaxShards   = 1024
	MaxSlots    = 1 << 14
	MaxPiece    = MaxBulk / 4 // elements, float32
)

// Table lays out units and shards. The flat parameters are all elements of all units in order; offsets count in them.
type Table struct {
	Units  []Unit
	Shards int
	Piece  int // elements that travel in a frame, at most
	Len    int // elements in all

	all    *View
	shards []*View
}

// Span is a run of flat parameters.
type Span struct{ Off, Len int }

// Piece is a run of elements of a view that travels in one frame, all of one unit.
type Piece struct{ Unit, Off, Len int }

// View is a part of the flat parameters, in order: all of them, or one shard.
type View struct {
	Spans  []Span
	Pieces []Piece
	Len    int
	starts []int // of each span in the view
}

// NewTable cuts units into shards and views into pieces. A shard has the rows [i·⌈R/S⌉, (i+1)·⌈R/S⌉) of each parameter
// of R rows, as far as there are any: FSDP2's chunks on dim 0, whose padding holds nothing and does not travel.
func NewTable(units []Unit, shards, piece int) (*Table, error) {
	t := &Table{Units: units, Shards: shards, Piece: piece}
	if shards < 1 || shards > MaxShards {
		return nil, fmt.Errorf("fsdp: %d shards, want 1 to %d", shards, MaxShards)
	}
	if piece < 1 || piece > MaxPiece {
		return nil, fmt.Errorf("fsdp: pieces of %d elements, want 1 to %d", piece, MaxPiece)
	}
	if len(units) == 0 || len(units) > MaxUnits {
		return nil, fmt.Errorf("fsdp: %d units, want 1 to %d", len(units), MaxUnits)
	}
	params := 0
	for i := range units {
		u, n := &units[i], 0
		for _, p := range u.Params {
			size, err := p.Shape.CheckedSize()
			if err != nil || size == 0 || size > MaxElements-t.Len-n {
				return nil, fmt.Errorf("fsdp: parameter %q of shape %v is empty, negative or too large", p.Name, p.Shape)
			}
			n += size
		}
		u.Len, t.Len, params = n, t.Len+n, params+len(u.Params)
	}
	if params > MaxParams || t.Len == 0 {
		return nil, fmt.Errorf("fsdp: %d parameters with %d elements, want 1 to %d parameters", params, t.Len, MaxParams)
	}
	t.all = t.view(0, 1)
	for i := range shards {
		t.shards = append(t.shards, t.view(i, shards))
	}
	return t, nil
}

// All is the view of everything.
func (t *Table) All() *View { return t.all }

// Shard is the view of shard i.
func (t *Table) Shard(i int) *View { return t.shards[i] }

func (t *Table) view(i, of int) *View {
	v := &View{}
	flat := 0
	for unit, u := range t.Units {
		first := v.Len
		for _, p := range u.Params {
			each := (p.rows() + of - 1) / of
			from, to := min(i*each, p.rows()), min((i+1)*each, p.rows())
			if n := (to - from) * p.width(); n > 0 {
				v.add(Span{flat + from*p.width(), n})
			}
			flat += p.Shape.Size()
		}
		for off := first; off < v.Len; off += t.Piece {
			v.Pieces = append(v.Pieces, Piece{unit, off, min(t.Piece, v.Len-off)})
		}
	}
	return v
}

func (v *View) add(s Span) {
	if n := len(v.Spans); n > 0 && v.Spans[n-1].Off+v.Spans[n-1].Len == s.Off {
		v.Spans[n-1].Len += s.Len
	} else {
		v.Spans, v.starts = append(v.Spans, s), append(v.starts, v.Len)
	}
	v.Len += s.Len
}

// Flat calls f for the runs of flat parameters that elements off to off+n-1 of the view are; at counts from off.
func (v *View) Flat(off, n int, f func(at int, s Span)) {
	i, ok := slices.BinarySearch(v.starts, off)
	if !ok {
		i--
	}
	for at := 0; at < n; i++ {
		skip := off + at - v.starts[i]
		s := Span{v.Spans[i].Off + skip, min(v.Spans[i].Len-skip, n-at)}
		f(at, s)
		at += s.Len
	}
}

// UnitPieces are the numbers [from, to) of the pieces of a unit; none where a small unit left nothing for a shard.
func (v *View) UnitPieces(unit int) (from, to int) {
	byUnit := func(p Piece, u int) int { return p.Unit - u }
	from, _ = slices.BinarySearchFunc(v.Pieces, unit, byUnit)
	to, _ = slices.BinarySearchFunc(v.Pieces, unit+1, byUnit)
	return from, to
}

// Padding is the number of elements by which S equal shards would exceed the parameters: S·⌈R/S⌉−R rows of each.
func (t *Table) Padding() int {
	n := 0
	for _, u := range t.Units {
		for _, p := range u.Params {
			n += ((p.rows()+t.Shards-1)/t.Shards*t.Shards - p.rows()) * p.width()
		}
	}
	return n
}
