package room

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"llamatab/engine/fsdp"
)

// slot is a micro-batch of the current step, or of the evaluation before it.
type slot struct {
	copies    []copyOf // the tabs that compute it
	source    uint32   // the tab whose gradient is pulled, 0: none
	pull      *fsdp.Puller
	left      int // pieces whose gradient is not added yet
	known     bool
	result    fsdp.Ready
	hashes    []uint64 // of its pieces, to compare with an audit's
	senders   []uint32 // of its pieces
	saidBy    uint32   // the tab whose loss and tokens the result has
	audited   bool
	compared  bool     // a second tab has computed the gradient, loss and tokens that were added
	square    float64  // about the sum of squares of its gradient, from every 16th element
	from      []uint32 // tabs whose pieces were added, for the record
	unsoundAt []uint32 // tabs whose result was not finite
	poison    bool     // its result is not finite at any tab: the step will be skipped
	began     time.Time
}

// copyOf is an order to one tab to compute a slot.
type copyOf struct {
	tab   uint32
	epoch uint32
	since time.Time
	ready bool
	said  fsdp.Ready // loss and tokens, once it is ready
}

// done reports whether no tab has to compute the slot any more.
func (s *slot) done() bool { return s.known && s.left == 0 || s.poison }

// without forgets the copy of a tab.
func (s *slot) without(tab uint32) {
	s.copies = slices.DeleteFunc(s.copies, func(c copyOf) bool { return c.tab == tab })
	if s.source == tab {
		s.source, s.pull = 0, nil
	}
}

func (s *slot) copyAt(tab uint32) *copyOf {
	i := slices.IndexFunc(s.copies, func(c copyOf) bool { return c.tab == tab })
	if i < 0 {
		return nil
	}
	return &s.copies[i]
}

// resetSlots begins a step or an evaluation of n slots. pieces is how many pieces of each slot's gradient have to be added.
func (r *Room) resetSlots(n, pieces int) {
	r.slots = make([]*slot, n)
	for k := range r.slots {
		r.slots[k] = &slot{left: pieces, hashes: make([]uint64, pieces), senders: make([]uint32, pieces)}
	}
	clear(r.folded)
	for _, t := range r.tabs {
		t.work = nil
	}
	r.audit, r.toAudit = nil, nil
}

// able reports whether t can be given slots of the current step.
func (r *Room) able(t *tab) bool {
	if !t.attached || t.leaving || t.status.Seq == 0 || r.suspect(t) {
		return false
	}
	if r.run.Strategy.Sharded() {
		return r.sealed()
	}
	for i := range t.keep { // a tab that lacks the last commit applies it before it computes
		if v, ok := t.held[i]; !ok || v+1 < r.step {
			return false
		}
	}
	return len(t.keep) > 0
}

// assign gives each slot that no tab computes to the tab with the least to do, and slots that take too long to a second tab.
func (r *Room) assign() {
	if r.paused {
		return
	}
	var able []*tab
	for _, t := range r.inOrder() {
		if r.able(t) {
			able = append(able, t)
		}
	}
	r.regroup()
	least := func(s *slot, fits func(t *tab) bool) *tab { // the tab with the least to do that may take s
		var best *tab
		for _, t := range able {
			if fits(t) && s.copyAt(t.id) == nil && !slices.Contains(s.unsoundAt, t.id) && (best == nil || len(t.work) < len(best.work)) {
				best = t
			}
		}
		return best
	}
	// Gradients are added in the order of the slots, so all others wait for the first slot that is not done: it is given out
	// even where every tab has its two slots.
	first := slices.IndexFunc(r.slots, func(s *slot) bool { return !s.done() })
	for k, s := range r.slots {
		if s.done() || len(s.copies) > 0 {
			continue
		}
		t := least(s, func(t *tab) bool { return len(t.work) < aheadPerTab || k == first && len(t.work) == aheadPerTab })
		if t == nil {
			if len(s.unsoundAt) > 0 && r.alone(s.unsoundAt) {
				r.poisoned(k, "and no other tab is there to compare with")
			}
			continue
		}
		if !s.began.IsZero() {
			r.Stats.Recomputed++
		}
		r.give(t, k)
	}
	limit := max(copyFloor, copyFactor**r.pace())
	for k, s := range r.slots {
		if s.done() || len(s.copies) == 0 || len(s.copies) >= copiesOfASlot || slices.ContainsFunc(s.copies, func(c copyOf) bool { return c.ready }) {
			continue
		}
		newest := s.copies[len(s.copies)-1]
		owner := r.tabs[newest.tab]
		if r.now.Sub(newest.since) < limit && !r.suspect(owner) {
			continue
		}
		if t := least(s, func(t *tab) bool { return len(t.work) <= aheadPerTab && r.idle(t) }); t != nil {
			r.Stats.Copies++
			r.note("copied", t.id, "slot %d has taken %s %v: %s computes it as well", k, owner.label(), r.now.Sub(newest.since).Round(time.Millisecond), t.label())
			r.give(t, k)
		}
	}
}

// regroup makes as many slots as there are tabs in a run with SumFirst, as long as no slot is given out.
func (r *Room) regroup() {
	tabs := 0
	for _, t := range r.tabs {
		if t.attached && !t.leaving {
			tabs++
		}
	}
	n := r.run.Travelling(tabs)
	if r.phase != Computing || n == len(r.slots) || slices.ContainsFunc(r.slots, func(s *slot) bool { return !s.began.IsZero() }) {
		return
	}
	r.resetSlots(n, len(r.all.Pieces))
	r.chooseAudits()
}

// work is an order to compute a slot.
func (r *Room) work(slot int) fsdp.Work {
	w := fsdp.Work{Epoch: r.nextEpoch(), Step: r.step, Slot: slot, Eval: r.phase == Evaluating}
	if r.run.SumFirst && !w.Eval {
		w.Of = len(r.slots)
	}
	return w
}

// alone tells whether one of the given tabs is there, and no other tab is or may be back in a moment.
func (r *Room) alone(ids []uint32) bool {
	if r.now.Sub(r.opened) < attachWithin { // the tabs of the server's earlier life are coming back
		return false
	}
	some := false
	for _, t := range r.tabs {
		if given := slices.Contains(ids, t.id); !given && r.stays(t.id) {
			return false
		} else if given && t.attached && !t.leaving {
			some = true
		}
	}
	return some
}

// idle reports whether a tab has computed all its slots.
func (r *Room) idle(t *tab) bool {
	for _, w := range t.work {
		if c := r.slots[w.Slot].copyAt(t.id); c == nil || !c.ready {
			return false
		}
	}
	return true
}

func (r *Room) give(t *tab, k int) {
	s := r.slots[k]
	w := r.work(k)
	s.copies = append(s.copies, copyOf{tab: t.id, epoch: w.Epoch, since: r.now})
	if s.began.IsZero() {
		s.began = r.now
	}
	t.work = append(t.work, w)
	t.dirty = true
	code := Given
	if w.Eval {
		code = Evaluates
	}
	r.moment(code, t.id, "%s is to compute slot %d", t.label(), k)
}

// takeBack withdraws a slot from a tab.
func (r *Room) takeBack(id uint32, k int) {
	r.changed = true
	if t := r.tabs[id]; t != nil {
		t.work = slices.DeleteFunc(t.work, func(w fsdp.Work) bool { return w.Slot == k })
		t.dirty = true
	}
	r.slots[k].without(id)
}

// ready handles a tab's message that it has computed a slot.
func (r *Room) ready(t *tab, m fsdp.Ready) {
	if m.Step != r.step || m.Slot >= len(r.slots) || m.Eval != (r.phase == Evaluating) {
		return
	}
	if r.auditReady(t, m) {
		return
	}
	s := r.slots[m.Slot]
	c := s.copyAt(t.id)
	if c == nil || c.ready || c.epoch != m.Epoch || !r.works() {
		return
	}
	took, pace := r.now.Sub(c.since), r.pace()
	if *pace == 0 {
		*pace = took
	}
	*pace += (took - *pace) / 8
	if m.Eval {
		r.evaluated(t, m)
		return
	}
	t.slotTime = took
	if m.Invalid {
		r.unsound(t, m.Slot, "its loss is not a finite number")
		return
	}
	if math.Abs(m.Loss) >= fsdp.TooLarge {
		r.unsound(t, m.Slot, "its loss is 2^62 or more")
		return
	}
	if !r.tokensRight(t, m) {
		return
	}
	c.ready, c.said = true, m
	if s.source == 0 {
		r.pullFrom(s, m.Slot, *c)
	}
}

// tokensRight compares the tokens that a tab says with the data, where the room knows the data. A tab that says another number
// computes with other rows, or lies: it is removed.
func (r *Room) tokensRight(t *tab, m fsdp.Ready) bool {
	if r.cfg.Tokens == nil {
		return true
	}
	from, to := m.Micro(r.run)
	want := r.cfg.Tokens(m.Step, from, to)
	if m.Tokens == want {
		return true
	}
	doubtful := r.phase == Computing && r.holdsUncompared(t.id)
	r.convict(t.id, fmt.Sprintf("slot %d has %d counted tokens, and %s says %d", m.Slot, want, t.label(), m.Tokens), "it counts other tokens than the data has")
	if doubtful {
		r.redo()
	}
	return false
}

// unsound withdraws a slot from a tab whose result is not finite. If two tabs have that result the data is at fault.
func (r *Room) unsound(t *tab, k int, what string) {
	s := r.slots[k]
	r.Stats.NotFinite++
	r.takeBack(t.id, k)
	if !slices.Contains(s.unsoundAt, t.id) {
		s.unsoundAt = append(s.unsoundAt, t.id)
	}
	r.note("unsound", t.id, "slot %d of %s: %s", k, t.label(), what)
	if len(s.unsoundAt) >= 2 {
		r.poisoned(k, "at two tabs")
	}
}

func (r *Room) poisoned(k int, why string) {
	s := r.slots[k]
	s.poison, r.changed = true, true
	for len(s.copies) > 0 {
		r.takeBack(s.copies[0].tab, k)
	}
	if r.phase == Evaluating {
		r.note("poisoned", 0, "slot %d of the evaluation has no finite loss, %s", k, why)
		return
	}
	r.note("poisoned", 0, "slot %d has no finite gradient, %s: the step will be skipped", k, why)
	for g := range r.folded {
		r.passPoison(g)
	}
}

// passPoison skips slots whose gradient is not finite when piece g waits for them.
func (r *Room) passPoison(g int) {
	for int(r.folded[g]) < len(r.slots) && r.slots[r.folded[g]].poison {
		r.folded[g]++
	}
}

// pullFrom begins to pull the missing pieces of a slot's gradient from a tab.
func (r *Room) pullFrom(s *slot, k int, c copyOf) {
	s.source = c.tab
	s.known, s.result, s.saidBy = true, c.said, c.tab // the loss and the tokens of the tab whose gradient it is
	s.pull = fsdp.NewPuller(fsdp.Pull{Kind: fsdp.TypeGradient, Epoch: c.epoch, Step: r.step, Slot: k, To: len(r.all.Pieces)})
	for g, n := range r.folded {
		if int(n) > k {
			s.pull.Got(r.now, g) // it came from another tab
		}
	}
}

// pullGradients asks for more of each slot that is ready: a piece is open to slot k once slots 0 to k-1 are in it. So
// nothing is ever held back, and a room needs no memory but the sum.
func (r *Room) pullGradients() {
	for k, s := range r.slots {
		if s.pull == nil || s.done() {
			continue
		}
		if q := s.pull.Quiet(r.now); q >= stallAfter {
			t := r.tabs[s.source]
			r.note("stalled", t.id, "%s has sent nothing of slot %d for %v", t.label(), k, q.Round(time.Second))
			r.expel(t, fsdp.Bye{Code: "slow", Reason: "pieces that were asked for did not come", Again: true})
			continue
		}
		s.pull.Retry(r.now, retryAfter)
		r.askFor(s.source, s.pull, func(g int) bool { return int(r.folded[g]) == k })
	}
	for k, s := range r.slots { // a copy that was ready while another was pulled
		if s.pull == nil && !s.done() {
			if i := slices.IndexFunc(s.copies, func(c copyOf) bool { return c.ready }); i >= 0 {
				r.pullFrom(s, k, s.copies[i])
				r.askFor(s.source, s.pull, func(g int) bool { return int(r.folded[g]) == k })
			}
		}
	}
}

// askFor sends the pulls that the window allows.
func (r *Room) askFor(tab uint32, p *fsdp.Puller, open func(int) bool) {
	for {
		pull, ok := p.Ask(r.now, r.run.Window, open)
		if !ok {
			return
		}
		r.do(Send{Tab: tab, Message: pull})
	}
}

// gradient adds a piece of a slot's gradient. It reports whether the room had asked for it.
func (r *Room) gradient(t *tab, f fsdp.Frame) bool {
	if r.phase != Computing || f.Step != r.step || int(f.Slot) >= len(r.slots) {
		return false
	}
	k, d := int(f.Slot), r.run.Reduce()
	s := r.slots[k]
	if s.source != t.id || s.pull.Want.Epoch != f.Epoch || int(f.Chunk) >= len(r.all.Pieces) || int(r.folded[f.Chunk]) != k {
		return false
	}
	g := int(f.Chunk)
	p := r.all.Pieces[g]
	if f.Flags&^fsdp.FlagCRC != fsdp.Flag(d) || len(f.Body) != p.Len*d.Size() {
		return false
	}
	if !fsdp.Finite(f.Body, d) {
		r.unsound(t, k, "its gradient has infinities, NaNs or numbers of 2^62 or more")
		return true
	}
	if !s.pull.Got(r.now, g) {
		return false
	}
	part := r.acc[p.Off : p.Off+p.Len]
	if k == 0 {
		clear(part)
	}
	fsdp.Fold(part, f.Body, d)
	if !slices.Contains(s.from, t.id) {
		s.from = append(s.from, t.id)
	}
	s.senders[g] = t.id
	s.hashes[g] = maphash.Bytes(r.secret, f.Body)
	s.square += fsdp.Sample(f.Body, d)
	r.folded[g]++
	r.passPoison(g)
	if int(r.folded[g]) == len(r.slots) {
		r.sums[g] = fsdp.SumSquares(part)
	}
	if s.left--; s.left == len(r.all.Pieces)-1 && s.left > 0 {
		r.moment(Pulled, t.id, "a first piece of slot %d is here from %s", k, t.label())
	}
	if s.left == 0 {
		r.changed = true
		t.slots++
		r.moment(Folded, t.id, "slot %d of %s is added up", k, t.label())
		for len(s.copies) > 0 {
			r.takeBack(s.copies[0].tab, k)
		}
	}
	return true
}
