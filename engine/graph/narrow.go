package graph

import (
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/tensor"
)

// Format says how numbers of two bytes are made of float32 and turned back, by kernels with the dimensions Elements.
// Two lie in a word.
type Format struct {
	Round  Conversion // x: rounded in place
	Keep   Conversion // x, y: x rounded in place, and y the same, packed
	Unpack Conversion // x, y: y = x, widened
}

// Conversion is a kernel with the parameters of one format.
type Conversion struct {
	Kernel *device.Kernel
	Params device.Params
}

// Elements are the dimensions of a kernel that treats all elements alike.
type Elements struct{ N uint32 }

var formats = map[tensor.DType]Format{}

// RegisterFormat makes a format known, for externs and for Tape.Store.
func RegisterFormat(d tensor.DType, f Format) { formats[d] = f }

// Store makes activations numbers of type d, BF16 or F16: what an op hands on is rounded to d before anybody reads it,
// and what the backward walk needs of it lies packed until then. Sums inside ops, the statistics that ops save for
// themselves and the gradients of parameters stay float32. So do gradients of activations, but with F16, as in all of
// its training: there they are F16 too, which is what ScaleLoss is for. F32 stores everything as it is.
func (t *Tape) Store(d tensor.DType) { t.stored = d }

// ScaleLoss multiplies all gradients by the first element of s, so that small ones do not vanish in F16.
func (t *Tape) ScaleLoss(s Var) { t.lossScale = s }

// LossScale is what an op that computes a loss multiplies the gradient by that it starts; nil for 1.
func (t *Tape) LossScale() Var { return t.lossScale }

// Full exempts v from rounding, as is right for a loss.
func (t *Tape) Full(v Var) { v.full = true }

// lower rewrites the recorded commands for numbers of two bytes: it rounds and packs what Store asks for, tells kernels
// what their arguments hold, and unpacks, once a phase, for those that read float32 only.
func (t *Tape) lower() {
	if t.lowered {
		return
	}
	t.lowered = true
	l := lowering{Tape: t, facts: map[*Value]*fact{}, wide: map[*Value]widened{}}
	l.gather()
	commands := t.commands
	t.commands = make([]command, 0, len(commands))
	for _, c := range commands {
		l.rewrite(c)
	}
}

// lowering is a rewriting under way. A phase of the tape is the forward pass, a stretch of the backward walk, or a
// checkpoint's forward pass again.
type lowering struct {
	*Tape
	facts map[*Value]*fact
	wide  map[*Value]widened // of packed values: the newest float32 copy
	dirty []*Value           // written, and not yet rounded
	phase int                // of the last command
}

// fact is what is known of a value that is stored in two bytes.
type fact struct {
	written, read int // last phase that writes it, and that reads it
	again         bool
	packed        *Value
}

type widened struct {
	v     *Value
	phase int
}

// narrow reports whether a value is stored in two bytes.
func (t *Tape) narrow(v *Value) bool {
	switch {
	case t.stored == tensor.F32 || v.key != nil || v.DType != tensor.F32:
		return false
	case t.gradients[v]:
		return t.stored == tensor.F16
	}
	return v.output && !v.full
}

// gather finds out when values are written and read.
func (l *lowering) gather() {
	for _, c := range l.commands {
		for i, a := range c.args {
			root, _ := a.root()
			if !l.narrow(root) {
				continue
			}
			f := l.facts[root]
			if f == nil {
				f = &fact{written: c.phase}
				l.facts[root] = f
			}
			if c.writes(i) {
				f.again = f.again || f.written != c.phase
				f.written = c.phase
			} else {
				f.read = c.phase
			}
		}
	}
}

// kept reports whether the value is packed for a later phase. One that several phases change stays as it is.
func (f *fact) kept() bool { return !f.again && f.read > f.written }

func (l *lowering) rewrite(c command) {
	if c.phase != l.phase {
		for _, v := range slices.Clone(l.dirty) { // what is read in a later phase only
			l.settle(v)
		}
		l.phase = c.phase
	}
	for i, a := range c.args {
		if root, _ := a.root(); !c.writes(i) && slices.Contains(l.dirty, root) {
			l.settle(root)
		}
	}
	for i, a := range c.args {
		if c.writes(i) {
			continue
		}
		root, off := a.root()
		packed := root
		if f := l.facts[root]; f != nil {
			if packed = f.packed; packed == nil || f.written == c.phase {
				continue
			}
		} else if root.DType.Size() != 2 {
			continue
		}
		knows := device.Never
		if c.kind == launch {
			knows = c.kernel.Bindings[i].Packed
		}
		switch {
		case knows == device.Words:
		case knows == device.Either && off*packed.DType.Size()%device.DefaultLimits.OffsetAlignment == 0:
			c.args[i] = l.within(packed, a, off)
			c.params = c.params.With(c.kernel.Bindings[i].PackedParams(packed.DType))
		default:
			c.args[i] = l.within(l.widen(packed), a, off)
		}
	}
	l.commands = append(l.commands, c)
	for i, a := range c.args {
		root, _ := a.root()
		if !c.writes(i) {
			continue
		}
		delete(l.wide, root) // a packed extern that is changed in place
		if l.facts[root] != nil && !slices.Contains(l.dirty, root) {
			l.dirty = append(l.dirty, root)
		}
	}
}

// within is the part of v that a is of its own root, from element off on.
func (l *lowering) within(v *Value, a Var, off int) Var {
	if a.base == nil {
		return v
	}
	return l.add(&Value{Shape: a.Shape, DType: v.DType, Name: a.Name, base: v, off: off})
}

// settle rounds a value that is complete, and packs it where a later phase needs it.
func (l *lowering) settle(v *Value) {
	l.dirty = slices.DeleteFunc(l.dirty, func(w *Value) bool { return w == v })
	f := l.facts[v]
	switch {
	case f.kept():
		if f.packed == nil {
			f.packed = l.temporary(v, l.stored)
		}
		l.convert(formats[l.stored].Keep, v, f.packed)
	case f.read >= f.written:
		l.convert(formats[l.stored].Round, v)
	}
}

// widen is a float32 copy of a packed value for this phase.
func (l *lowering) widen(packed *Value) *Value {
	w, ok := l.wide[packed]
	if !ok || w.phase != l.phase {
		w = widened{l.temporary(packed, tensor.F32), l.phase}
		l.wide[packed] = w
		l.convert(formats[packed.DType].Unpack, packed, w.v)
	}
	return w.v
}

// temporary is a new one, for a value of another type.
func (l *lowering) temporary(v *Value, d tensor.DType) *Value {
	n := l.add(&Value{Shape: v.Shape, DType: d, Name: v.Name})
	n.unit = v.unit
	return n
}

func (l *lowering) convert(c Conversion, args ...Var) {
	l.commands = append(l.commands, command{
		kernel: c.Kernel, params: c.Params, dims: Elements{uint32(args[0].Shape.Size())}, args: args, phase: l.phase,
	})
}
