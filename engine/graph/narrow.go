package graph

import (
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Format is the kernels that convert float32 to two-byte numbers and back. Their dimensions are Elements. Two packed numbers
// share a word.
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

// Elements are the dimensions of an elementwise kernel.
type Elements struct{ N uint32 }

var formats = map[tensor.DType]Format{}

// RegisterFormat registers the format of a type, for externs and for Tape.Store.
func RegisterFormat(d tensor.DType, f Format) { formats[d] = f }

// Store makes activations numbers of type d, BF16 or F16. The output of an op is rounded to d before another op reads it,
// and outputs that the backward pass reads are packed until then. Sums inside ops, statistics that ops save for their
// backward pass, and gradients of parameters stay float32. Gradients of activations stay float32 with BF16 and are F16 with
// F16, which needs ScaleLoss. With d = F32 nothing is rounded.
func (t *Tape) Store(d tensor.DType) { t.stored = d }

// ScaleLoss multiplies all gradients by the first element of s, so that small ones do not become zero in F16.
func (t *Tape) ScaleLoss(s Var) { t.lossScale = s }

// LossScale is the factor by which an op that computes a loss multiplies its gradient, nil for 1.
func (t *Tape) LossScale() Var { return t.lossScale }

// Full exempts v from rounding. A loss is exempt.
func (t *Tape) Full(v Var) { v.full = true }

// lower rewrites the recorded commands for two-byte numbers. It rounds and packs values as Store sets, gives kernels the
// parameters for packed arguments, and unpacks a value once in a phase for kernels that read float32 only.
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

// lowering is the state of lower. A phase of the tape is the forward pass, a part of the backward pass, or the recomputed
// forward pass of a checkpoint.
type lowering struct {
	*Tape
	facts map[*Value]*fact
	wide  map[*Value]widened // of packed values: the newest float32 copy
	dirty []*Value           // written and not yet rounded
	phase int                // of the last command
}

// fact is the use of a value that is stored in two bytes.
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

// gather finds the phases in which values are written and read.
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

// kept reports whether the value is packed for a later phase. A value that several phases change is not packed.
func (f *fact) kept() bool { return !f.again && f.read > f.written }

func (l *lowering) rewrite(c command) {
	if c.phase != l.phase {
		for _, v := range slices.Clone(l.dirty) { // values that only a later phase reads
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
		if root.quant != quant.Plain {
			if a != root || c.kind != launch || c.kernel.Bindings[i].Packed != device.Either {
				Fail("%q is quantised, and what reads it cannot unpack it", root.Name)
			}
			c.params = c.params.With(c.kernel.Bindings[i].QuantizedParams(int(root.quant)))
			continue
		}
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

// within is the view of v that corresponds to the view a of its root. It begins at element off.
func (l *lowering) within(v *Value, a Var, off int) Var {
	if a.base == nil {
		return v
	}
	return l.add(&Value{Shape: a.Shape, DType: v.DType, Name: a.Name, base: v, off: off})
}

// settle rounds a value that is complete, and packs it where a later phase reads it.
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

// temporary makes a temporary of type d with the shape, name and unit of v.
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
