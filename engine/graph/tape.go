package graph

import (
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Var is a tensor on a tape.
type Var = *Value

// Value is what a Var points to. Its fields are fixed when it is made.
type Value struct {
	Shape tensor.Shape
	DType tensor.DType
	Name  string

	quant quant.Format // of an extern that is a quantised matrix, whose words are then of type U32
	key   any          // of an extern: what the binder finds the memory by
	base  *Value       // of a view: the value it lies in
	off   int          // of a view: first element in base
	wants bool         // a gradient is to be computed
	grad  *Value       // of an extern that trains: its persistent gradient

	output bool // it is the output of an op; see Tape.Store
	full   bool // see Tape.Full

	id          int
	unit        string // of the model that it belongs to; see Tape.Enter
	first, last int    // commands that touch the value, once the tape is planned; first < 0: none
	slot        int
}

// Dim2 is the shape as (rows, columns): all but the last dimension multiplied, and the last.
func (v *Value) Dim2() (rows, cols int) {
	cols = v.Shape[len(v.Shape)-1]
	if cols == 0 {
		return 0, 0
	}
	return v.Shape.Size() / cols, cols
}

// elements is the number of elements of the buffer that v fills: of a quantised matrix, its words.
func (v *Value) elements() int {
	if v.quant != quant.Plain {
		return v.quant.Words(v.Dim2())
	}
	return v.Shape.Size()
}

// bytes is the size of v in a buffer.
func (v *Value) bytes() int64 { return device.Spec{DType: v.DType, Len: v.Shape.Size()}.Bytes() }

// WantsGrad reports whether something that trains lies upstream of v.
func (v *Value) WantsGrad() bool { return v.wants }

func (v *Value) root() (root *Value, off int) {
	for v.base != nil {
		off += v.off
		v = v.base
	}
	return v, off
}

// Extern describes memory that lives outside the tape: a parameter, a batch, a state.
type Extern struct {
	Key   any
	Shape tensor.Shape
	DType tensor.DType
	// Quant is the format of a quantised matrix, whose DType is then U32 and whose shape is that of the matrix.
	Quant quant.Format
	Name  string
	// GradKey is the key of the gradient's memory, nil for memory that does not train. Launches always add to this
	// gradient, and its owner clears it.
	GradKey any
}

type command struct {
	kernel *device.Kernel
	params device.Params
	dims   any
	args   []Var // of a launch; of a copy: dst, src; of a clear: dst
	kind   kind
	again  bool // it recomputes a value of a checkpoint
	phase  int  // see lowering
}

type kind uint8

const (
	launch kind = iota
	copyRange
	clearRange
)

type record struct {
	y    Var
	fn   func(dy Var)
	unit string
}

// Tape records launches, and for each op the function that records its gradient.
type Tape struct {
	values   []*Value
	externs  map[any]*Value
	commands []command
	records  []record
	owed     map[*Value]int // records not yet walked, by output
	unit     string         // see Enter

	grads     map[*Value]*Value
	holders   map[*Value]int  // by gradient, the number of values that it is the gradient of and whose records are still to be walked
	written   map[*Value]bool // gradients that already have a value
	gradients map[*Value]bool
	inference bool

	sections []section         // checkpoints that the backward walk has not reached
	inside   bool              // a checkpoint is being recorded
	kept     map[*Value]bool   // values that checkpoints read and that must not change any more
	standIns map[*Value]*Value // the recomputed copy of a value

	stored    tensor.DType // of activations
	lossScale Var          // nil for 1
	phase     int          // of the commands that are being recorded; see lowering
	lowered   bool         // the commands are in their final form
}

// NewInferenceTape makes an empty tape on which nothing wants a gradient.
func NewInferenceTape() *Tape {
	t := NewTape()
	t.inference = true
	return t
}

// NewTape makes an empty tape.
func NewTape() *Tape {
	return &Tape{
		externs: map[any]*Value{}, owed: map[*Value]int{}, grads: map[*Value]*Value{},
		holders: map[*Value]int{}, written: map[*Value]bool{}, gradients: map[*Value]bool{},
		kept: map[*Value]bool{}, standIns: map[*Value]*Value{},
	}
}

// Record runs f, which records on a tape, and returns its panic as an error.
func Record(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(recordingError); ok {
				err = e
				return
			}
			panic(r)
		}
	}()
	f()
	return nil
}

type recordingError string

func (e recordingError) Error() string { return string(e) }

// Fail ends recording: the message names the op and the shapes that do not fit.
func Fail(format string, args ...any) {
	panic(recordingError("graph: " + fmt.Sprintf(format, args...)))
}

func (t *Tape) add(v *Value) Var {
	v.id, v.unit, v.slot = len(t.values), t.unit, -1
	t.values = append(t.values, v)
	return v
}

// Enter sets the unit of the model, such as a block, that the following values belong to. The backward walk enters each
// record's unit again, so a plan can tell which unit's activations and gradients are in memory.
func (t *Tape) Enter(unit string) { t.unit = unit }

// New makes a temporary of type F32.
func (t *Tape) New(shape tensor.Shape) Var { return t.add(&Value{Shape: shape, DType: tensor.F32}) }

// Extern is a Var for memory outside the tape. The same key gives the same Var.
func (t *Tape) Extern(e Extern) Var {
	if v, ok := t.externs[e.Key]; ok {
		return v
	}
	v := t.add(&Value{Shape: e.Shape, DType: e.DType, Name: e.Name, key: e.Key, quant: e.Quant})
	t.externs[e.Key] = v
	if e.GradKey != nil && !t.inference {
		v.wants = true
		v.grad = t.Extern(Extern{Key: e.GradKey, Shape: e.Shape, DType: tensor.F32, Name: "d " + e.Name})
		t.gradients[v.grad], t.written[v.grad] = true, true
	}
	return v
}

// Rows is the view of rows [from, to) of v seen as (rows, columns). It must start on a device's offset alignment,
// which the device checks.
func (t *Tape) Rows(v Var, from, to int) Var {
	rows, cols := v.Dim2()
	if from < 0 || to > rows || from >= to {
		Fail("rows %d to %d of %v", from, to, v.Shape)
	}
	if from == 0 && to == rows {
		return v
	}
	return t.add(&Value{Shape: tensor.Of(to-from, cols), DType: v.DType, Name: v.Name, base: v, off: from * cols, wants: v.wants})
}

// Want panics unless v has the given shape.
func (t *Tape) Want(op string, v Var, shape tensor.Shape) {
	if !v.Shape.Equal(shape) {
		Fail("%s: %q has shape %v, want %v", op, v.Name, v.Shape, shape)
	}
}

// Launch appends a kernel launch. An output needs a gradient when an input does. A launch that writes a gradient which
// already has a value gets the parameter ACCUMULATE and adds to it. A gradient that is updated in place starts from zero.
func (t *Tape) Launch(k *device.Kernel, dims any, args ...Var) { t.LaunchWith(k, nil, dims, args...) }

// LaunchWith is Launch with parameters for the shader.
func (t *Tape) LaunchWith(k *device.Kernel, params device.Params, dims any, args ...Var) {
	if len(args) != len(k.Bindings) {
		Fail("%s: %d arguments for %d bindings", k.Name, len(args), len(k.Bindings))
	}
	wants, add, replace := false, 0, 0
	for i, a := range args {
		if a == nil {
			Fail("%s: no %s", k.Name, k.Bindings[i].Name)
		}
		wants = wants || a.wants
		root, _ := a.root()
		if k.Bindings[i].Access == device.Write && t.gradients[root] {
			if t.written[root] {
				add++
			} else {
				replace++
			}
		}
	}
	for i, a := range args {
		root, _ := a.root()
		switch {
		case k.Bindings[i].Access == device.Read:
		case !t.gradients[root]:
			a.wants = a.wants || wants
		case !t.written[root] && (add > 0 && replace > 0 || k.Bindings[i].Access == device.Update):
			t.Clear(a) // ACCUMULATE holds for all outputs of a launch: a new one is cleared, then added to
			fallthrough
		default:
			t.written[root] = true
		}
	}
	if add > 0 {
		params = params.With(device.Params{"ACCUMULATE": true})
	}
	t.push(command{kernel: k, params: params, dims: dims, args: args})
}

// Copy appends dst = src.
func (t *Tape) Copy(dst, src Var) {
	if dst.Shape.Size() != src.Shape.Size() {
		Fail("copy of %v to %v", src.Shape, dst.Shape)
	}
	if root, _ := dst.root(); t.gradients[root] {
		t.written[root] = true
	}
	dst.wants = dst.wants || src.wants && !t.gradients[dst]
	t.push(command{kind: copyRange, args: []Var{dst, src}})
}

// Clear appends dst = 0.
func (t *Tape) Clear(dst Var) { t.push(command{kind: clearRange, args: []Var{dst}}) }

func (t *Tape) push(c command) {
	if t.lowered {
		Fail("a launch is recorded after the tape was planned")
	}
	c.args, c.phase = slices.Clone(c.args), t.phase
	for i, a := range c.args {
		c.args[i] = t.current(a)
		if root, _ := c.args[i].root(); t.kept[root] && c.writes(i) {
			Fail("%q is changed after a checkpoint has read it", root.Name)
		}
	}
	t.commands = append(t.commands, c)
}

// OnBackward registers the function that records the gradients of an op with output y. The backward walk calls it with dy,
// if y has a gradient. An op that changes y in place registers y again. The records run in reverse order.
func (t *Tape) OnBackward(y Var, fn func(dy Var)) {
	y.output = true
	if y.wants {
		t.records = append(t.records, record{y, fn, t.unit})
		t.owed[y]++
	}
}

// Accumulate calls fn to launch the kernel that computes the gradient of x, if x needs one.
func (t *Tape) Accumulate(x Var, fn func(dx Var)) {
	if x.wants {
		fn(t.gradient(x))
	}
}

// gradient is the Var of dx, which launches may add to.
func (t *Tape) gradient(x Var) Var {
	if x.grad != nil {
		return x.grad
	}
	g := t.grads[x]
	if g == nil {
		if x.base != nil {
			Fail("gradient of a view of %q", x.base.Name)
		}
		g = t.newGradient(x)
	} else if t.holders[g] > 1 { // it is still the gradient of another value: add to a copy
		t.holders[g]--
		c := t.newGradient(x)
		t.Copy(c, g)
		g = c
	}
	return g
}

func (t *Tape) newGradient(x Var) Var {
	g := t.New(x.Shape)
	t.gradients[g] = true
	t.grads[x], t.holders[g] = g, 1
	return g
}

// Alias makes dy the gradient of x without a copy, as for the terms of a sum. It reports false where x already has a
// gradient, to which the caller must add dy.
func (t *Tape) Alias(x, dy Var) bool {
	if !x.wants {
		return true
	}
	if x.grad != nil || t.grads[x] != nil || x.base != nil {
		return false
	}
	t.grads[x] = dy
	t.gradients[dy], t.written[dy] = true, true
	t.holders[dy]++
	return true
}

// Grad is the gradient of x once Backward has run, nil when there is none.
func (t *Tape) Grad(x Var) Var {
	if x.grad != nil {
		return x.grad
	}
	return t.grads[x]
}

// Seed makes dy the gradient of y that Backward starts from.
func (t *Tape) Seed(y, dy Var) {
	if !t.Alias(y, dy) {
		Fail("second seed for %q", y.Name)
	}
}

// Backward walks the records in reverse and appends the launches that compute gradients.
func (t *Tape) Backward() {
	t.phase++
	for i := len(t.records) - 1; i >= 0; i-- {
		r := t.records[i]
		t.owed[r.y]--
		dy := t.grads[r.y]
		if dy == nil {
			continue
		}
		t.Enter(r.unit)
		t.recompute(i)
		r.fn(dy) // it reads dy, so no launch of fn may change dy for another holder
		if t.owed[r.y] == 0 {
			t.holders[t.grads[r.y]]-- // all records of r.y are walked: a term that shares dy may now change it in place
		}
	}
	t.records = nil
	t.prune()
}

// Launches is the number of kernel launches recorded so far.
func (t *Tape) Launches() int {
	n := 0
	for _, c := range t.commands {
		if c.kind == launch {
			n++
		}
	}
	return n
}

// Flops is the number of floating-point operations of the launches recorded so far. Only matrix products and attention
// count theirs.
func (t *Tape) Flops() float64 {
	return t.FlopsBy(func(_ any, flops float64) float64 { return flops })
}

// FlopsBy is Flops where correct replaces the number of operations of a launch with these dimensions.
func (t *Tape) FlopsBy(correct func(dims any, flops float64) float64) float64 {
	n := 0.0
	for _, c := range t.commands {
		if c.kind == launch && c.kernel.Flops != nil {
			n += correct(c.dims, c.kernel.Flops(c.dims))
		}
	}
	return n
}

// DimsBytes is the size of the launches' dimensions on a device. Each distinct one starts on a multiple of
// device.DimsAlign.
func (t *Tape) DimsBytes() int64 {
	t.lower()
	seen := map[string]bool{}
	var n int64
	for _, c := range t.commands {
		if c.kind != launch {
			continue
		}
		words := string((&device.Launch{Kernel: c.kernel, Dims: c.dims}).Words())
		if !seen[words] {
			seen[words] = true
			n += int64(device.CeilDiv(len(words), device.DimsAlign) * device.DimsAlign)
		}
	}
	return n
}
