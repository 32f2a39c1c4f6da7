package graph

import "llamatab/engine/device"

// section is what a call of Checkpoint recorded: ranges of the tape's values, commands and records.
type section struct{ values, commands, records span }

type span struct{ from, to int }

// Checkpoint records f, of whose temporaries nothing is kept for the backward walk. When the walk reaches a record of
// f, the commands of f are appended once more, into fresh temporaries that stand in for the old ones from there on:
// the same kernels on the same inputs in the same order, so the gradients are the same bits as without. Neither f
// nor the ops in it know. Kept are the values from before that f reads, and what others read of f.
//
// f may change nothing in place that is older than itself, and nothing may change what f has read.
// Chen et al. 2016, arXiv:1604.06174.
func (t *Tape) Checkpoint(f func() Var) Var {
	from := section{span{from: len(t.values)}, span{from: len(t.commands)}, span{from: len(t.records)}}
	if t.inside {
		Fail("a checkpoint inside a checkpoint")
	}
	t.inside = true
	y := f()
	t.inside = false
	s := from
	s.values.to, s.commands.to, s.records.to = len(t.values), len(t.commands), len(t.records)
	if s.records.from == s.records.to { // nothing in it wants a gradient
		return y
	}
	for _, c := range t.commands[s.commands.from:s.commands.to] {
		for i, a := range c.args {
			root, _ := a.root()
			if s.holds(root) {
				continue
			}
			if c.writes(i) {
				Fail("a checkpoint changes %q, which is older", root.Name)
			}
			t.kept[root] = true
		}
	}
	t.sections = append(t.sections, s)
	return y
}

// holds reports whether the section made the temporary v.
func (s section) holds(v *Value) bool {
	return v.key == nil && v.id >= s.values.from && v.id < s.values.to
}

// writes reports whether the command changes argument i.
func (c *command) writes(i int) bool {
	if c.kind == launch {
		return c.kernel.Bindings[i].Access != device.Read
	}
	return i == 0
}

// recompute appends the commands of the section that record i belongs to, when it is the first of them to be walked.
func (t *Tape) recompute(i int) {
	for len(t.sections) > 0 {
		s := t.sections[len(t.sections)-1]
		if i >= s.records.to {
			return
		}
		t.sections = t.sections[:len(t.sections)-1]
		if i < s.records.from { // none of its records had a gradient
			continue
		}
		for _, v := range t.values[s.values.from:s.values.to] {
			if v.key == nil && v.base == nil {
				fresh := *v
				t.standIns[v] = t.add(&fresh)
			}
		}
		t.phase++
		for _, c := range t.commands[s.commands.from:s.commands.to] {
			c.again = true
			t.push(c)
		}
		t.phase++
		return
	}
}

// current is what holds the value of v from now on: itself, unless it was computed again.
func (t *Tape) current(v Var) Var {
	if now, ok := t.standIns[v]; ok {
		return now
	}
	if v.base == nil {
		return v
	}
	base := t.current(v.base)
	if base == v.base {
		return v
	}
	view := *v
	view.base = base
	t.standIns[v] = t.add(&view)
	return t.standIns[v]
}

// prune drops what was computed again for nobody, such as the last product of a block.
func (t *Tape) prune() {
	needed := map[*Value]bool{}
	kept := len(t.commands)
	for at := len(t.commands) - 1; at >= 0; at-- {
		c := t.commands[at]
		use := !c.again
		for i, a := range c.args {
			root, _ := a.root()
			use = use || c.writes(i) && needed[root]
		}
		if !use {
			continue
		}
		for _, a := range c.args {
			root, _ := a.root()
			needed[root] = true
		}
		kept--
		t.commands[kept] = c
	}
	t.commands = append(t.commands[:0], t.commands[kept:]...)
}
