package tabs

import (
	"fmt"
	"maps"
	"slices"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// resume continues the record of an earlier process. Steps that the room committed and that process did not record are
// recorded from the room's log. Tabs report them again when they replay them, and those reports are ignored.
func (t *tabsRun) resume(eval *fsdp.Evaluation) error {
	commits, evals := t.host.Earlier()
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.step, err = t.log.Last(); err != nil || len(commits) == 0 {
		return err
	}
	t.resumedAt = t.step
	t.record(roomEvent("info", "resumed", len(commits), nil, fmt.Sprintf("the room resumes after step %d, its last commit", len(commits))))
	if t.step >= len(commits) {
		return nil
	}
	lines, err := t.recoverSteps(commits, evals)
	if err != nil {
		return err
	}
	n := uint64(len(lines))
	if eval.Due(n) && !slices.ContainsFunc(evals, func(e fsdp.Evaluated) bool { return e.Version == n }) {
		lines = lines[:n-1] // a tab reports this step once it is evaluated
	}
	for ; t.step < len(lines); t.step++ {
		t.record(message.Envelope{Type: "step", Step: &lines[t.step]})
	}
	return nil
}

// observe records a message of a tab. A step is recorded once, from the tab that reports it first. Everything else is
// recorded from the lead tab only.
func (t *tabsRun) observe(tab *runTab, e message.Envelope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case e.Step != nil:
		if _, known := t.reported[e.Step.Step]; !known && e.Step.Step > t.step {
			t.reported[e.Step.Step] = *e.Step
			t.recordSteps(false)
		}
		return
	case e.Span != nil:
		t.trace.add(tab.rank, *e.Span)
		return
	case tab != t.lead() || e.Event != nil && e.Event.Step > 0 && e.Event.Step <= t.resumedAt: // a tab that replays a step repeats its events
		return
	case e.Summary != nil:
		t.summary = e.Summary
	}
	t.record(e)
}

// recordSteps records steps in order. Each line combines what a tab reported and what the room measured. A step waits for
// the room's measurement, except at the end of the run.
func (t *tabsRun) recordSteps(end bool) {
	for _, n := range slices.Sorted(maps.Keys(t.reported)) {
		step := t.reported[n]
		use, known := t.stepUse[n]
		if !known && !end {
			return
		}
		if known {
			t.total.add(use, &step)
		}
		delete(t.reported, n)
		delete(t.stepUse, n)
		t.step = n
		t.record(message.Envelope{Type: "step", Step: &step})
	}
}

// account fetches from the room what steps took.
func (t *tabsRun) account(end bool) {
	steps := t.host.Steps(t.total.next)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, use := range steps {
		t.stepUse[int(use.Step)+1] = use
		t.total.next = use.Step + 1
	}
	t.recordSteps(end)
}

// record writes a message to the run's files and shows it.
func (t *tabsRun) record(e message.Envelope) {
	if e.Done == nil && e.Failed == nil {
		switch err := t.log.Record(e); {
		case err == nil:
			t.waiting = false
		case !t.log.Begun():
			t.cancel(err)
		case !t.waiting: // the log keeps what the disk does not take
			t.waiting = true
			t.progress.Observe(roomEvent("warning", "storage_full", 0, nil, fmt.Sprintf("the record of the run waits in memory until the disk takes it: %v", err)))
		}
	}
	t.progress.Observe(e)
}
