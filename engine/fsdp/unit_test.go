package fsdp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"llamatab/engine/tensor"
)

func llamaParams(layers int) []Param {
	p := []Param{{"embed", tensor.Of(512, 64), "embed"}}
	for i := range layers {
		u := "block " + string(rune('0'+i))
		p = append(p, Param{"norm", tensor.Of(64), u}, Param{"q", tensor.Of(64, 64), u}, Param{"k", tensor.Of(30, 64), u}, Param{"down", tensor.Of(64, 172), u})
	}
	return append(p, Param{"final", tensor.Of(64), "head"}, Param{"gate", tensor.Of(), "head"})
}

func TestWrap(t *testing.T) {
	params := llamaParams(3)
	for policy, want := range map[string][]int{
		"transformer": {1, 4, 4, 4, 2},
		"none":        {15},
		"size:4000":   {1, 2, 2, 2, 2, 2, 2, 2}, // each ends at the parameter that makes it large enough
	} {
		units, err := Wrap(params, policy)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		n := 0
		for _, u := range units {
			got = append(got, len(u.Params))
			n += u.Len
		}
		if policy != "size:4000" && !slices.Equal(got, want) {
			t.Errorf("%s: units of %v parameters, want %v", policy, got, want)
		}
		if policy == "size:4000" {
			for _, u := range units[:len(units)-1] {
				if last := u.Params[len(u.Params)-1].Shape.Size(); u.Len < 4000 || u.Len-last >= 4000 {
					t.Errorf("%s: a unit of %d elements that ends with one of %d", policy, u.Len, last)
				}
			}
		}
		total := 0
		for _, p := range params {
			total += p.Shape.Size()
		}
		if n != total {
			t.Errorf("%s: %d elements in units, want %d", policy, n, total)
		}
	}
	for _, bad := range []string{"", "layers", "size:", "size:0", "size:x"} {
		if _, err := Wrap(params, bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("policy %q: %v", bad, err)
		}
	}
}

// TestTable: whatever the shapes, the shards cover every element once, rows stay together, and pieces cover views.
func TestTable(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var params []Param
		for i := range 1 + rng.IntN(6) {
			shape := tensor.Of()
			for range rng.IntN(4) {
				shape = append(shape, 1+rng.IntN(9))
			}
			params = append(params, Param{"p", shape, string(rune('a' + i/2))})
		}
		units, err := Wrap(params, []string{"transformer", "none", "size:20"}[rng.IntN(3)])
		if err != nil {
			t.Fatal(err)
		}
		table, err := NewTable(units, 1+rng.IntN(9), 1+rng.IntN(50))
		if err != nil {
			t.Fatal(err)
		}
		owner := make([]int, table.Len)
		total := 0
		for i := range table.Shards {
			v := table.Shard(i)
			total += v.Len
			v.Flat(0, v.Len, func(_ int, s Span) {
				for j := range s.Len {
					if owner[s.Off+j] != 0 {
						t.Fatalf("seed %d: element %d is in shards %d and %d", seed, s.Off+j, owner[s.Off+j]-1, i)
					}
					owner[s.Off+j] = i + 1
				}
			})
			checkPieces(t, seed, table, v)
		}
		checkPieces(t, seed, table, table.All())
		if total != table.Len {
			t.Fatalf("seed %d: shards of %d elements, want %d", seed, total, table.Len)
		}
		off, padded := 0, 0
		for _, p := range params {
			rows, width := p.rows(), p.width()
			each := (rows + table.Shards - 1) / table.Shards
			padded += each * table.Shards * width
			for r := range rows {
				for j := range width {
					if owner[off+r*width+j] != r/each+1 {
						t.Fatalf("seed %d: row %d of %v is in shard %d, want %d", seed, r, p.Shape, owner[off+r*width+j]-1, r/each)
					}
				}
			}
			off += rows * width
		}
		if got := table.Padding(); got != padded-table.Len {
			t.Errorf("seed %d: padding %d, want %d", seed, got, padded-table.Len)
		}
	}
}

func checkPieces(t *testing.T, seed uint64, table *Table, v *View) {
	t.Helper()
	starts := make([]int, len(table.Units)+1)
	for u := range table.Units {
		starts[u+1] = starts[u] + table.Units[u].Len
	}
	at := 0
	for _, p := range v.Pieces {
		if p.Off != at || p.Len < 1 || p.Len > table.Piece {
			t.Fatalf("seed %d: piece %+v at %d", seed, p, at)
		}
		seen := 0
		v.Flat(p.Off, p.Len, func(k int, s Span) {
			if k != seen || s.Off < starts[p.Unit] || s.Off+s.Len > starts[p.Unit+1] {
				t.Fatalf("seed %d: piece %+v has span %+v at %d, outside of its unit", seed, p, s, k)
			}
			seen += s.Len
		})
		if seen != p.Len {
			t.Fatalf("seed %d: spans of piece %+v have %d elements", seed, p, seen)
		}
		at += p.Len
	}
	if at != v.Len {
		t.Fatalf("seed %d: pieces of %d elements, want %d", seed, at, v.Len)
	}
	for u := range table.Units {
		from, to := v.UnitPieces(u)
		for i, p := range v.Pieces {
			if (p.Unit == u) != (from <= i && i < to) {
				t.Fatalf("seed %d: pieces [%d, %d) of unit %d, but piece %d is of unit %d", seed, from, to, u, i, p.Unit)
			}
		}
	}
}

func TestRunRefuses(t *testing.T) {
	good := Run{ID: "r", Strategy: FullShard, Wrap: "none", Params: llamaParams(1), Slots: 4, Shards: 4, Steps: 10, ReduceDType: "bfloat16", ParamDType: "float32"}
	if _, err := good.Table(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Run){
		"id":          func(r *Run) { r.ID = "" },
		"strategy":    func(r *Run) { r.Strategy = "ZERO" },
		"slots":       func(r *Run) { r.Slots = 0 },
		"shards":      func(r *Run) { r.Shards = MaxShards + 1 },
		"steps":       func(r *Run) { r.Steps = 0 },
		"reduce_":     func(r *Run) { r.ReduceDType = "int8" },
		"param_":      func(r *Run) { r.ParamDType = "" },
		"policy":      func(r *Run) { r.Wrap = "x" },
		"window":      func(r *Run) { r.Window = 65 },
		"checkpoint":  func(r *Run) { r.Checkpoint = -1 },
		"pieces":      func(r *Run) { r.Piece = MaxPiece + 1 },
		"too large":   func(r *Run) { r.Params = []Param{{"p", tensor.Of(1<<40, 1<<40), ""}} },
		"max_grad":    func(r *Run) { r.MaxGradNorm = -1 },
		"units":       func(r *Run) { r.Params = nil },
		"negative or": func(r *Run) { r.Params = []Param{{"p", tensor.Of(-3, 4), ""}} },
	} {
		r := good
		change(&r)
		if _, err := r.Table(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	r := good
	r.Strategy = NoShard
	if table, err := r.Table(); err != nil || table.Shards != 1 {
		t.Errorf("NO_SHARD has %d shards, %v", table.Shards, err)
	}
}

// TestForecast holds the formulas against sums over what a step moves.
func TestForecast(t *testing.T) {
	const P, V, N = 1200, 4, 4
	for s, want := range map[Strategy]Traffic{
		NoShard:     {Up: 2 * P, Down: 4 * P},
		ShardGradOp: {Up: 2*P + 2*P/N, Down: 4*P/N + 2*P*3/4},
		FullShard:   {Up: 2*P + 2*P/N, Down: 4*P/N + 2*2*P*3/4},
		HybridShard: {Up: 2*P + 2*P/N, Down: 4*P/N + 2*2*P*3/4},
	} {
		if got := Forecast(s, P, V, N, 2, 2); got != want {
			t.Errorf("%s: %+v, want %+v", s, got, want)
		}
	}
	if got := Forecast(FullShard, P, V, 1, 2, 4); got != (Traffic{Up: 8*P + 4*P, Down: 4 * P}) {
		t.Errorf("a group of one: %+v", got)
	}
}

func TestPuller(t *testing.T) {
	now := time.Unix(0, 0)
	p := NewPuller(Pull{Kind: TypeReduced, From: 2, To: 9})
	ask := func(window int, open func(int) bool) [2]int {
		pull, ok := p.Ask(now, window, open)
		if !ok {
			return [2]int{}
		}
		return [2]int{pull.From, pull.To}
	}
	if got := ask(3, nil); got != [2]int{2, 5} {
		t.Errorf("first %v", got)
	}
	if got := ask(3, nil); got != [2]int{} {
		t.Errorf("beyond the window: %v", got)
	}
	if !p.Got(now, 3) || p.Got(now, 3) || p.Got(now, 1) || p.Got(now, 9) {
		t.Error("a piece counts once, and only if it is one of these")
	}
	if got := ask(3, func(i int) bool { return i != 6 }); got != [2]int{5, 6} {
		t.Errorf("after one came: %v", got)
	}
	now = now.Add(3 * time.Second)
	if q := p.Quiet(now); q != 3*time.Second {
		t.Errorf("quiet for %v", q)
	}
	p.Retry(now, 2*time.Second)
	if got := ask(3, nil); got != [2]int{2, 3} {
		t.Errorf("again: %v", got)
	}
	if got := ask(3, nil); got != [2]int{4, 6} {
		t.Errorf("again, past what is there: %v", got)
	}
	p.Retry(now, 2*time.Second)
	if got := ask(3, nil); got != [2]int{} {
		t.Errorf("a retry at once: %v", got)
	}
	if q := p.Quiet(now); q != 3*time.Second {
		t.Errorf("asking again is no progress: quiet for %v", q)
	}
	for i := 2; i < 9; i++ {
		p.Got(now, i)
	}
	if !p.Done() || p.Quiet(now) != 0 {
		t.Error("all came and it is not done")
	}
}
