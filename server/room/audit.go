package room

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"llamatab/engine/fsdp"
)

// audit has a slot computed by a second tab of the same platform and compares, piece by piece, before the step is
// decided. Where two differ, more are asked until two agree: tabs of one platform compute the same bits.
type audit struct {
	slot   int
	class  string // the platform of the tabs that computed it
	why    string
	since  time.Time
	work   fsdp.Work // of the tab that computes it now
	tab    uint32
	hashes []uint64
	said   fsdp.Ready // loss and tokens of that tab
	pull   *fsdp.Puller
	barred []uint32
	voters []voter // the first is the gradient that was added, by one or more tabs
}

// voter is a result of the slot.
type voter struct {
	tab     uint32 // that said the loss and the number of tokens
	hashes  []uint64
	senders []uint32 // of the pieces; nil: tab sent them all
	loss    float64
	tokens  int
}

// has reports whether a tab had a part in the result.
func (v voter) has(tab uint32) bool { return v.tab == tab || slices.Contains(v.senders, tab) }

// wrong lists the tabs that sent what differs from the result that is right.
func (v voter) wrong(right voter) (tabs []uint32) {
	if v.loss != right.loss || v.tokens != right.tokens || v.senders == nil {
		tabs = append(tabs, v.tab)
	}
	for g, tab := range v.senders {
		if v.hashes[g] != right.hashes[g] && !slices.Contains(tabs, tab) {
			tabs = append(tabs, tab)
		}
	}
	return tabs
}

// agrees reports whether two tabs computed the same gradient, loss and tokens.
func (v voter) agrees(w voter) bool {
	return v.loss == w.loss && v.tokens == w.tokens && slices.Equal(v.hashes, w.hashes)
}

// auditPatience bounds how long a step waits for an audit.
const auditPatience = 20 * time.Second

// chooseAudits picks slots of the step at random, each with the probability that the room's config gives. No tab can know them
// before.
func (r *Room) chooseAudits() {
	h := splitmix(splitmix(r.cfg.Schedule) ^ r.step)
	for k := range r.slots {
		if h = splitmix(h); float64(h>>11)/(1<<53) < r.cfg.Audit {
			r.toAudit = append(r.toAudit, k)
		}
	}
	r.nextAudit()
}

// nextAudit begins the audit of the next slot that is to be audited, and reports whether it has.
func (r *Room) nextAudit() bool {
	if r.audit != nil || len(r.toAudit) == 0 {
		return false
	}
	r.audit = &audit{slot: r.toAudit[0], why: "by chance"}
	r.toAudit = r.toAudit[1:]
	return true
}

// splitmix is the mixing function of Steele, Lea & Flood 2014.
func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// without takes the audit from a tab that is gone.
func (a *audit) without(tab uint32) {
	if a != nil && a.tab == tab {
		a.tab, a.pull = 0, nil
	}
}

// involves reports whether a tab takes part in the audit.
func (a *audit) involves(tab uint32) bool {
	return a != nil && (a.tab == tab || slices.ContainsFunc(a.voters, func(v voter) bool { return v.has(tab) }))
}

// auditReady handles the auditor's message that it has computed the slot. It reports whether the message was the auditor's.
func (r *Room) auditReady(t *tab, m fsdp.Ready) bool {
	a := r.audit
	if a == nil || a.tab != t.id || m.Work != a.work {
		return false
	}
	if m.Invalid {
		r.unfit(t, "its loss is not a finite number")
	} else if !r.tokensRight(t, m) {
		return true
	} else if a.pull == nil {
		a.said = m
		a.pull = fsdp.NewPuller(fsdp.Pull{Kind: fsdp.TypeGradient, Epoch: m.Epoch, Step: m.Step, Slot: m.Slot, To: len(a.hashes)})
	}
	return true
}

// gradient hashes a piece of the auditor's gradient; the piece itself is not kept.
func (a *audit) gradient(r *Room, t *tab, f fsdp.Frame) bool {
	if a == nil || a.tab != t.id || a.pull == nil || f.Step != a.work.Step || int(f.Slot) != a.slot || f.Epoch != a.work.Epoch ||
		int(f.Chunk) >= len(a.hashes) || len(f.Body) != r.all.Pieces[f.Chunk].Len*r.run.Reduce().Size() || !a.pull.Got(r.now, int(f.Chunk)) {
		return false
	}
	if !fsdp.Finite(f.Body, r.run.Reduce()) {
		r.unfit(t, "its gradient has infinities, NaNs or numbers of 2^62 or more")
		return true
	}
	a.hashes[f.Chunk] = maphash.Bytes(r.secret, f.Body)
	return true
}

// unfit withdraws the audit from a tab whose result is not finite; another tab is asked. Where two tabs have such a result the
// data is at fault, so the results that are finite are wrong.
func (r *Room) unfit(t *tab, what string) {
	a := r.audit
	r.Stats.NotFinite++
	r.note("unsound", t.id, "the audit of slot %d at %s: %s", a.slot, t.label(), what)
	a.barred = append(a.barred, t.id)
	r.takeBack(t.id, a.slot)
	a.tab, a.pull = 0, nil
	if len(a.barred) < 2 {
		return
	}
	r.audit = nil
	redo := false
	for _, v := range a.voters {
		redo = redo || r.holdsUncompared(v.tab)
		if slices.ContainsFunc(v.senders, func(tab uint32) bool { return tab != v.tab }) {
			continue // which of several tabs sent what should not be finite is not known
		}
		r.convict(v.tab, fmt.Sprintf("slot %d, audited because %s: the result of tab %d is finite, those of two others are not", a.slot, a.why, v.tab),
			"its result is finite, and what two others computed is not")
	}
	if redo {
		r.redo()
	}
}

// runAudit takes the next step of an open audit: choose an auditor, pull its gradient, compare.
func (r *Room) runAudit() {
	a := r.audit
	if a == nil || !r.slots[a.slot].done() {
		return
	}
	s := r.slots[a.slot]
	if a.voters == nil {
		if a.class = r.classOf(s.from); s.poison || a.class == "" {
			r.audit = nil
			return
		}
		s.audited = true
		a.voters, a.since = []voter{{s.saidBy, s.hashes, s.senders, s.result.Loss, s.result.Tokens}}, r.now
		r.Stats.Audits++
	}
	if a.tab == 0 {
		t := r.auditor(a)
		if t == nil && r.reopened && r.now.Sub(r.opened) < auditPatience {
			return // the server was started again, and tabs are on their way back
		}
		if t == nil {
			r.closeAudit("nobody is there to compare with")
			return
		}
		a.tab, a.hashes = t.id, make([]uint64, len(r.all.Pieces))
		a.work = r.work(a.slot)
		t.work = append(t.work, a.work)
		t.dirty = true
	}
	if r.now.Sub(a.since) >= auditPatience {
		r.closeAudit("it took too long")
		return
	}
	if a.pull == nil {
		return
	}
	a.pull.Retry(r.now, retryAfter)
	r.askFor(a.tab, a.pull, nil)
	if a.pull.Done() {
		a.voters = append(a.voters, voter{tab: a.tab, hashes: a.hashes, loss: a.said.Loss, tokens: a.said.Tokens})
		r.takeBack(a.tab, a.slot)
		a.tab, a.pull = 0, nil
		r.compareVotes()
	}
}

// auditor is a tab of the same platform that does not take part in the audit yet, nil if there is none.
func (r *Room) auditor(a *audit) *tab {
	for _, t := range r.inOrder() {
		if r.able(t) && t.platform == a.class && !slices.Contains(a.barred, t.id) && !slices.ContainsFunc(a.voters, func(v voter) bool { return v.has(t.id) }) {
			return t
		}
	}
	return nil
}

// classOf is the platform of tabs, "" where they are of several or one is forgotten: their results cannot be compared.
func (r *Room) classOf(tabs []uint32) (class string) {
	for i, id := range tabs {
		t := r.tabs[id]
		if t == nil || i > 0 && t.platform != class {
			return ""
		}
		class = t.platform
	}
	return class
}

func (r *Room) closeAudit(why string) {
	a := r.audit
	if a.tab != 0 {
		r.takeBack(a.tab, a.slot)
	}
	if len(a.voters) > 1 {
		var who []string
		for _, v := range a.voters {
			who = append(who, fmt.Sprintf("tab %d", v.tab))
		}
		r.note("disputed", a.voters[0].tab, "%s computed different gradients for slot %d, and %s", strings.Join(who, " and "), a.slot, why)
	}
	r.audit = nil
}

// mostVoters bounds how many tabs compute the slot. If no two of them agree, the platform does not compute equal bits.
const mostVoters = 5

// compareVotes compares the last voter's gradient with the others': two equal ones are right.
func (r *Room) compareVotes() {
	a := r.audit
	last := a.voters[len(a.voters)-1]
	right := slices.IndexFunc(a.voters[:len(a.voters)-1], func(v voter) bool { return v.agrees(last) })
	if right < 0 {
		a.since = r.now
		if len(a.voters) == mostVoters {
			r.closeAudit("no two agree")
			return
		}
		r.runAudit() // one more
		return
	}
	r.audit = nil
	r.slots[a.slot].compared = right == 0
	redo := false
	for i, v := range a.voters {
		if i != right && !v.agrees(last) {
			// Its results in other slots of the step may be wrong as well.
			for _, tab := range v.wrong(last) {
				redo = redo || r.holdsUncompared(tab)
				r.convict(tab, fmt.Sprintf("slot %d, audited because %s: tab %d sent another gradient, loss or number of tokens than two others", a.slot, a.why, tab),
					"its result differs from what two others computed")
			}
		}
	}
	if redo {
		r.redo()
	}
}

// holdsUncompared reports whether the step holds results of a tab that nobody compared.
func (r *Room) holdsUncompared(tab uint32) bool {
	return slices.ContainsFunc(r.slots, func(s *slot) bool { return !s.compared && slices.Contains(s.from, tab) })
}

// redo computes the step again, without the tabs that were removed.
func (r *Room) redo() {
	r.note("redone", 0, "step %d is computed again without the tabs that were removed", r.step)
	r.begin()
}

// convict removes a tab for good whose result is wrong. note is for the diary, reason for the tab.
func (r *Room) convict(id uint32, note, reason string) {
	r.Stats.Liars++
	r.removed[id] = true
	r.do(Append{Record{Kind: Removed, Tab: id, Epoch: r.epoch}})
	r.note("lied", id, "%s", note)
	r.doubt(id)
	if t := r.tabs[id]; t != nil {
		r.expel(t, fsdp.Bye{Code: "lied", Reason: reason})
	}
}
