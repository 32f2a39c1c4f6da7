package graph

import "llamatab/engine/device"

// section is the recording of one call of Checkpoint: ranges of the tape's values, commands and records.
type section struct{ values, commands, records span }

type span struct{ from, to int }

// Checkpoint records f and keeps none of its temporaries for the backward pass. When the backward walk reaches a record
// of f, it appends the commands of f once more, into new temporaries that replace the old ones from there on. These are the
// same kernels on the same inputs in the same order, so the gradients have the same bits as without a checkpoint. f and its
// ops are not written for this. Older values that f reads are kept, and so are values of f that later commands read.
//
// f must not change older values in place, and later commands must not change values that f has read.
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
				recomputed := *v
				t.standIns[v] = t.add(&recomputed)
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

// current is the Var that holds the value of v from now on: v itself, or its recomputed copy.
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

// prune drops recomputed commands whose outputs are not read, such as the last product of a block.
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
