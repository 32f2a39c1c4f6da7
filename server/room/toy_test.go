package room

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/tensor"
)

// The toy trainer: gradients that depend on step, slot, place and parameters, spread over 40 binary orders so that
// another order of adding would show, and AdamW in float32 of which every product is rounded.

func mix(xs ...uint64) uint64 {
	h := uint64(0)
	for _, x := range xs {
		h = splitmix(h ^ x)
	}
	return h
}

// toyGradient is element i of a slot's gradient where the parameter is x.
func toyGradient(seed, step uint64, slot, i int, x float32) float32 {
	h := mix(seed, step, uint64(slot), uint64(i))
	g := float32(int32(h)) / (1 << 31)
	g = float32(math.Ldexp(float64(g), -int(h>>32%40)))
	return float32(g + float32(x*0.125))
}

func toyInit(seed uint64, i int) float32 { return float32(int16(mix(seed, 99, uint64(i)))) / (1 << 15) }

func toyTokens(seed, step uint64, slot int) int { return int(mix(seed, 7, step, uint64(slot)) % 9) }

// toyPoison tells whether the data of a slot gives no finite gradient.
func toyPoison(seed, step uint64, slot int) bool { return mix(seed, 5, step, uint64(slot))%31 == 0 }

// toyHeldOut computes a slot of an evaluation where the parameters are x, and tells whether its data gives no finite loss.
func toyHeldOut(run *fsdp.Run, seed uint64, w fsdp.Work, x []float32) (r fsdp.Ready, poisoned bool) {
	r.Work, r.Tokens = w, run.Eval.Tokens[w.Slot]
	for i, v := range x {
		r.Loss += math.Abs(float64(v)) * math.Ldexp(float64(mix(seed, 11, uint64(w.Slot), uint64(i))), -64-i%30)
	}
	confusion := fsdp.Confusion{}
	for row := 0; row < r.Tokens && run.Eval.Classes > 0; row++ {
		h := mix(seed, 13, uint64(w.Slot), uint64(row))
		confusion[fsdp.ClassPair{Truth: int(h % uint64(run.Eval.Classes)), Predicted: int((h>>8 + uint64(math.Float32bits(x[0])>>20)) % uint64(run.Eval.Classes))}]++
	}
	r.Confusion = confusion.List()
	return r, mix(seed, 17, w.Step, uint64(w.Slot))%41 == 0
}

func toyRate(step uint64) float32 { return 0.01 / float32(1+step) }

// toyUpdate is AdamW.
func toyUpdate(p, m, v, g []float32, c fsdp.Commit) {
	const b1, b2, eps, decay = float32(0.9), float32(0.99), float32(1e-6), float32(0.01)
	lr := toyRate(c.Step)
	c1 := float32(1 / (1 - math.Pow(0.9, float64(c.Updates))))
	c2 := float32(1 / (1 - math.Pow(0.99, float64(c.Updates))))
	for i := range p {
		d := float32(g[i] * c.Factor)
		m[i] = float32(b1*m[i]) + float32((1-b1)*d)
		v[i] = float32(b2*v[i]) + float32(float32((1-b2)*d)*d)
		root := float32(math.Sqrt(float64(float32(v[i] * c2))))
		p[i] -= float32(lr * (float32(decay*p[i]) + float32(float32(m[i]*c1)/(root+eps))))
	}
}

// toyState is a reference run: what any run must end with, bit for bit.
type toyState struct {
	p, m, v []float32
	commits []Record
	evals   []fsdp.Evaluated
}

// rounded is x as it is computed with.
func rounded(x float32, d tensor.DType) float32 {
	if d == tensor.BF16 {
		return tensor.F32FromBF16(tensor.BF16FromF32(x))
	}
	return x
}

// toyReference is the run without faults. groups are the numbers of slots of its steps, where tabs add up first.
func toyReference(run *fsdp.Run, table *fsdp.Table, seed uint64, groups []int) toyState {
	n := table.Len
	s := toyState{p: make([]float32, n), m: make([]float32, n), v: make([]float32, n)}
	for i := range s.p {
		s.p[i] = toyInit(seed, i)
	}
	seen := func() []float32 { // as it is computed with
		x := make([]float32, n)
		for i := range x {
			x[i] = rounded(s.p[i], run.Param())
		}
		return x
	}
	evaluate := func(version uint64) {
		if !run.Eval.Due(version) {
			return
		}
		var slots []fsdp.Ready
		for k := range run.Eval.Tokens {
			r, poisoned := toyHeldOut(run, seed, fsdp.Work{Step: version, Slot: k, Eval: true}, seen())
			r.Invalid = poisoned
			slots = append(slots, r)
		}
		before := fsdp.Evaluated{}
		if len(s.evals) > 0 {
			before = s.evals[len(s.evals)-1]
		}
		s.evals = append(s.evals, run.Eval.Sum(version, slots, before))
	}
	updates := 0
	for step := range uint64(run.Steps) {
		evaluate(step)
		sum := make([]float32, n)
		rec := Record{Kind: Committed, Step: step, Applied: true}
		slots, of := run.Slots, 0
		if groups != nil {
			slots, of = groups[step], groups[step]
		}
		x, g := seen(), make([]float32, n)
		for k := range slots {
			r, poisoned := toySlot(run, seed, fsdp.Work{Step: step, Slot: k, Of: of}, x, g)
			for i := range sum {
				sum[i] += rounded(g[i], run.Reduce())
			}
			if poisoned {
				rec.Applied = false
				continue
			}
			rec.Loss += r.Loss
			rec.Tokens += r.Tokens
		}
		square := 0.0
		for _, p := range table.All().Pieces {
			square += fsdp.SumSquares(sum[p.Off : p.Off+p.Len])
		}
		tokens := float64(max(rec.Tokens, 1))
		rec.Loss /= tokens
		rec.Norm = math.Sqrt(square) / tokens
		if rec.Applied {
			updates++
			clip := 1.0
			if run.MaxGradNorm > 0 {
				clip = min(1, run.MaxGradNorm/(rec.Norm+1e-6))
			}
			rec.Factor = float32(clip / tokens)
		} else {
			rec.Loss, rec.Norm = 0, 0
		}
		rec.Updates = updates
		if rec.Applied {
			toyUpdate(s.p, s.m, s.v, sum, rec.Commit())
		}
		s.commits = append(s.commits, rec)
	}
	evaluate(uint64(run.Steps))
	return s
}

// toySlot computes a slot where the parameters are x, and leaves its gradient in g.
func toySlot(run *fsdp.Run, seed uint64, w fsdp.Work, x, g []float32) (r fsdp.Ready, poisoned bool) {
	r.Work = w
	clear(g)
	from, to := w.Micro(run)
	for k := from; k < to; k++ {
		for i := range g {
			one := toyGradient(seed, w.Step, k, i, x[i])
			g[i] += one
			r.Loss += float64(x[i]) * float64(rounded(one, run.Reduce()))
		}
		r.Tokens += toyTokens(seed, w.Step, k)
		poisoned = poisoned || toyPoison(seed, w.Step, k)
	}
	return r, poisoned
}

// toyEngine is the engine of a simulated tab. Like a device it does one thing after the other: what it is told while it
// computes a slot waits for the end of that.
type toyEngine struct {
	s   *sim
	tab *simTab

	shards  map[int]*toyShard
	units   map[int][]float32    // gathered, by unit, float32
	grads   map[fsdp.Work][]byte // on the wire's type
	fetch   []int                // units still to be gathered for the slot under way
	now     *fsdp.Work           // the slot under way
	own     []int                // shards that were there when that began
	behind  []func()             // what waits for its end
	heard   uint64               // the version that the last step it has heard of leads to
	judged  map[uint64]bool      // versions of whose evaluations it has heard
	applied map[uint64]bool      // steps
}

type toyShard struct {
	p, m, v, g []float32
	version    uint64
}

func newToy(s *sim, tab *simTab) *toyEngine {
	return &toyEngine{s: s, tab: tab, shards: map[int]*toyShard{}, units: map[int][]float32{}, grads: map[fsdp.Work][]byte{}, judged: map[uint64]bool{}, applied: map[uint64]bool{}}
}

func key(w fsdp.Work) fsdp.Work { return fsdp.Work{Step: w.Step, Slot: w.Slot, Eval: w.Eval} }

func (e *toyEngine) Compute(w fsdp.Work) {
	if e.now != nil {
		e.s.fail("tab %d computes two slots at a time", e.tab.id)
	}
	e.now, e.own = &w, e.tab.worker.Whole()
	e.fetch = nil
	if e.s.run.Strategy.Sharded() {
		for u := range e.s.table.Units {
			e.fetch = append(e.fetch, u)
		}
		if e.s.run.Strategy.Gathers() == 2 && !w.Eval { // and again for backward, in reverse; the last unit is still there
			for u := len(e.s.table.Units) - 1; u >= 0; u-- {
				e.fetch = append(e.fetch, u)
			}
		}
	}
	e.s.after(e.tab.pace(), e.tab, e.goOn(e.now))
}

// then does what the worker wants of the device, in its turn.
func (e *toyEngine) then(f func()) {
	if e.now != nil {
		e.behind = append(e.behind, f)
		return
	}
	f()
}

// end ends the slot under way.
func (e *toyEngine) end() {
	waiting := e.behind
	e.now, e.fetch, e.behind = nil, nil, nil
	for _, f := range waiting {
		f()
	}
}

// goOn goes on with a slot if it is still the one under way.
func (e *toyEngine) goOn(w *fsdp.Work) func() {
	return func() {
		if e.now == w {
			e.next()
		}
	}
}

// next gathers the next unit, or computes.
func (e *toyEngine) next() {
	if len(e.fetch) > 0 {
		u := e.fetch[0]
		e.units[u] = make([]float32, e.s.table.Units[u].Len)
		for i := range e.units[u] {
			e.units[u][i] = float32(math.NaN())
		}
		e.fill(u)
		e.tab.worker.Gather(e.s.now, u, e.own)
		return
	}
	w := *e.now
	run, seed := e.s.run, e.s.seed
	x := e.parameters(w.Step)
	e.end()
	if w.Eval {
		r, poisoned := toyHeldOut(run, seed, w, x)
		if poisoned && !e.s.sound {
			r.Loss = math.NaN()
		}
		if e.tab.broken {
			switch mix(seed, w.Step, uint64(w.Slot)) % 6 {
			case 0:
				r.Loss = math.Inf(1)
			case 1:
				r.Loss = -1e9
			case 2:
				r.Tokens++
			case 3:
				r.Confusion = append(r.Confusion, fsdp.ConfusionCount{Truth: 99, Rows: 1})
			}
		}
		e.tab.worker.Computed(e.s.now, r)
		return
	}
	g := make([]float32, len(x))
	r, poisoned := toySlot(run, seed, w, x, g)
	if !e.s.sound && poisoned {
		if w.Slot%2 == 0 {
			r.Loss = math.NaN()
		} else {
			g[len(g)-1] = float32(math.Inf(1))
		}
	}
	switch {
	case e.tab.lies && e.s.lied != nil:
		e.lie(&r, g)
	case e.tab.lies:
		switch mix(seed, w.Step, uint64(w.Slot)) % 9 {
		case 0, 1, 2:
			g[0] += 1
		case 3:
			r.Tokens *= 1_000_000
		case 4:
			r.Tokens++
		case 5:
			r.Loss += 1
		}
	}
	if e.tab.broken && mix(seed, w.Step, uint64(w.Slot))%2 == 0 {
		g[len(g)/2] = float32(math.NaN())
	}
	e.grads[key(w)] = tensor.EncodeF32(nil, g, run.Reduce())
	e.tab.worker.Computed(e.s.now, r)
}

// parameters are all parameters as they are computed with, of a version.
func (e *toyEngine) parameters(version uint64) []float32 {
	t := e.s.table
	x := make([]float32, t.Len)
	if e.s.run.Strategy.Sharded() {
		at := 0
		for u := range t.Units {
			copy(x[at:], e.units[u])
			at += t.Units[u].Len
		}
		for i := range x {
			if x[i] != x[i] {
				e.s.fail("tab %d computes with a parameter that was not gathered", e.tab.id)
			}
		}
		return x
	}
	for i := range t.Shards {
		s := e.shards[i]
		if v, ok := e.tab.worker.Held(i); !ok || v != version {
			e.s.fail("tab %d computes step %d with shard %d of version %d", e.tab.id, version, i, v)
			return x
		}
		t.Shard(i).Flat(0, t.Shard(i).Len, func(at int, sp fsdp.Span) {
			for j := range sp.Len {
				x[sp.Off+j] = rounded(s.p[at+j], e.s.run.Param())
			}
		})
	}
	return x
}

func (e *toyEngine) Forget(w fsdp.Work) {
	delete(e.grads, key(w))
	if e.now != nil && key(*e.now) == key(w) {
		e.end()
		e.s.after(time.Millisecond, e.tab, func() { e.tab.worker.Computed(e.s.now, fsdp.Ready{Work: w}) })
	}
}

func (e *toyEngine) Init(shard int) { e.then(func() { e.init(shard) }) }

func (e *toyEngine) init(shard int) {
	v := e.s.table.Shard(shard)
	s := &toyShard{p: make([]float32, v.Len), m: make([]float32, v.Len), v: make([]float32, v.Len), g: make([]float32, v.Len)}
	v.Flat(0, v.Len, func(at int, sp fsdp.Span) {
		for j := range sp.Len {
			s.p[at+j] = toyInit(e.s.seed, sp.Off+j)
		}
	})
	e.shards[shard] = s
}

func (e *toyEngine) Committed(c fsdp.Commit) {
	if c.Step < e.heard || e.s.run.Eval.Due(e.heard) && !e.judged[e.heard] {
		e.s.fail("tab %d hears of step %d after version %d, whose evaluation it has not heard of, or twice", e.tab.id, c.Step, e.heard)
	}
	for step := e.heard; step < c.Step; step++ {
		if e.applied[step] {
			e.s.fail("tab %d hears of step %d, but not of step %d, which it has applied", e.tab.id, c.Step, step)
		}
	}
	e.heard = c.Step + 1
}

func (e *toyEngine) Evaluated(got fsdp.Evaluated) {
	if e.judged[got.Version] || got.Version != e.heard {
		e.s.fail("tab %d hears of the evaluation of version %d after that of version %d, or twice", e.tab.id, got.Version, e.heard)
	}
	e.judged[got.Version] = true
	for _, want := range e.s.want.evals {
		if want.Version == got.Version && !reflect.DeepEqual(got, want) {
			e.s.fail("tab %d hears of the evaluation %+v, want %+v", e.tab.id, got, want)
		}
	}
}

func (e *toyEngine) Drop(shard int) { e.then(func() { delete(e.shards, shard) }) }

func (e *toyEngine) Apply(shard int, c fsdp.Commit) {
	e.applied[c.Step] = true
	e.then(func() { e.apply(shard, c) })
}

func (e *toyEngine) apply(shard int, c fsdp.Commit) {
	s := e.shards[shard]
	if s.version > c.Step { // it may be smaller: skipped steps change the number only
		e.s.fail("tab %d applies step %d to shard %d of version %d", e.tab.id, c.Step, shard, s.version)
		return
	}
	e.s.after(e.tab.pace()/4, e.tab, func() {
		if c.Step < uint64(len(e.s.want.commits)) && e.s.want.commits[c.Step].Factor != c.Factor {
			e.s.fail("step %d has factor %v, want %v", c.Step, c.Factor, e.s.want.commits[c.Step].Factor)
		}
		toyUpdate(s.p, s.m, s.v, s.g, c)
		s.version = c.Step + 1
		e.tab.worker.Applied(e.s.now, shard)
	})
}

// numbers are those of a bulk frame.
type numbers []byte

func (n numbers) Len() int { return len(n) }

func (e *toyEngine) Put(f fsdp.Header, body fsdp.Body) {
	v := e.s.table.Shard(int(f.Slot))
	if f.Type == fsdp.TypeParam {
		p := v.Pieces[f.Chunk]
		x := make([]float32, p.Len)
		tensor.DecodeF32(x, body.(numbers), e.s.run.Param())
		first := 0
		for u := range p.Unit {
			first += e.s.table.Units[u].Len
		}
		v.Flat(p.Off, p.Len, func(at int, sp fsdp.Span) { copy(e.units[p.Unit][sp.Off-first:], x[at:at+sp.Len]) })
		return
	}
	e.then(func() { e.keep(f, v, body) })
}

// keep puts a piece of a shard where it belongs.
func (e *toyEngine) keep(f fsdp.Header, v *fsdp.View, body fsdp.Body) {
	s := e.shards[int(f.Slot)]
	if s == nil {
		e.init(int(f.Slot))
		s = e.shards[int(f.Slot)]
	}
	part, p := fsdp.StatePiece(v, int(f.Chunk))
	into := s.g
	if f.Type == fsdp.TypeState {
		into = [][]float32{s.p, s.m, s.v}[part]
		s.version = f.Step
	}
	tensor.DecodeF32(into[p.Off:p.Off+p.Len], body.(numbers), tensor.F32)
}

func (e *toyEngine) Gathered(unit int) {
	e.fetch = e.fetch[1:]
	e.s.after(e.tab.pace()/8, e.tab, e.goOn(e.now))
}

// fill puts what the tab has itself into the unit.
func (e *toyEngine) fill(unit int) {
	first := 0
	for u := range unit {
		first += e.s.table.Units[u].Len
	}
	x := e.units[unit]
	for _, i := range e.own {
		s := e.shards[i]
		e.s.table.Shard(i).Flat(0, e.s.table.Shard(i).Len, func(at int, sp fsdp.Span) {
			for j := range sp.Len {
				if o := sp.Off + j - first; o >= 0 && o < len(x) {
					x[o] = rounded(s.p[at+j], e.s.run.Param())
				}
			}
		})
	}
}

func (e *toyEngine) Finished() { e.tab.finished = true }

// bytes are those of a piece that the room pulls.
func (e *toyEngine) bytes(h fsdp.Header, p fsdp.Piece) []byte {
	if h.Type == fsdp.TypeGradient {
		size := e.s.run.Reduce().Size()
		g, ok := e.grads[fsdp.Work{Step: h.Step, Slot: int(h.Slot)}]
		if !ok {
			e.s.fail("tab %d is asked for a gradient that it has let go", e.tab.id)
			return nil
		}
		return g[size*p.Off : size*(p.Off+p.Len)]
	}
	s := e.shards[int(h.Slot)]
	if s == nil {
		return nil
	}
	if h.Type == fsdp.TypeParam {
		return tensor.EncodeF32(nil, s.p[p.Off:p.Off+p.Len], e.s.run.Param())
	}
	part, _ := fsdp.StatePiece(e.s.table.Shard(int(h.Slot)), int(h.Chunk))
	return tensor.EncodeF32(nil, [][]float32{s.p, s.m, s.v}[part][p.Off:p.Off+p.Len], tensor.F32)
}

// pace is how long a slot takes the tab, this time.
func (t *simTab) pace() time.Duration {
	return time.Duration(float64(t.speed) * (0.8 + 0.4*t.s.rng.Float64()))
}

func (t *simTab) String() string { return fmt.Sprintf("tab %d", t.id) }
