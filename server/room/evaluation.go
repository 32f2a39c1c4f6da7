package room

import (
	"slices"
	"time"

	"llamatab/engine/fsdp"
)

// works reports whether slots are given out.
func (r *Room) works() bool { return r.phase == Computing || r.phase == Evaluating }

// pace is the moving mean of the time from a slot's order to its result, separate for steps and evaluations.
func (r *Room) pace() *time.Duration {
	if r.phase == Evaluating {
		return &r.evalPace
	}
	return &r.stepPace
}

// evaluationDue reports whether the current version is still to be evaluated.
func (r *Room) evaluationDue() bool {
	_, done := r.evals[r.step]
	return !done && r.run.Eval.Due(r.step)
}

// evaluated handles a slot's result.
func (r *Room) evaluated(t *tab, m fsdp.Ready) {
	if fault := r.run.Eval.Fault(m); fault != "" {
		r.unsound(t, m.Slot, fault)
		return
	}
	s := r.slots[m.Slot]
	s.known, s.result, s.from, r.changed = true, m, []uint32{t.id}, true
	for len(s.copies) > 0 {
		r.takeBack(s.copies[0].tab, m.Slot)
	}
}

// conclude logs the evaluation once the results of all slots are there. Tabs are told of it after that.
func (r *Room) conclude() {
	if slices.ContainsFunc(r.slots, func(s *slot) bool { return !s.done() }) {
		return
	}
	rec := Record{Kind: Evaluated, Step: r.step, Epoch: r.epoch}
	var results []fsdp.Ready
	for _, s := range r.slots {
		if s.poison {
			s.result = fsdp.Ready{Invalid: true}
		}
		results, rec.Slots = append(results, s.result), append(rec.Slots, s.from)
	}
	last := uint64(0)
	for version := range r.evals {
		last = max(last, version)
	}
	e := r.run.Eval.Sum(r.step, results, r.evals[last])
	rec.Eval = &e
	r.phase = Deciding
	r.do(Append{rec})
}

// evalsFor lists the evaluations that a tab is sent together with commits.
func (r *Room) evalsFor(t *tab, commits []fsdp.Commit) (list []fsdp.Evaluated) {
	add := func(version uint64) {
		if e, ok := r.evals[version]; ok && (len(list) == 0 || list[len(list)-1].Version < version) {
			list = append(list, e)
		}
	}
	add(0)
	add(t.status.Awaits)
	for _, c := range commits {
		add(c.Step + 1)
	}
	return list
}

// lacksEval reports whether a tab awaits an evaluation that is done and was not sent to it.
func (r *Room) lacksEval(t *tab) bool {
	_, done := r.evals[t.status.Awaits]
	return t.status.Awaits > 0 && done && !slices.ContainsFunc(t.sent.Evals, func(e fsdp.Evaluated) bool { return e.Version == t.status.Awaits })
}
