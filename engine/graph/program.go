package graph

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/tensor"
)

// Plan is the memory of a tape's temporaries. Two temporaries whose lifetimes are disjoint may share a slot.
type Plan struct {
	// Slots are the sizes in bytes of the buffers that hold all temporaries, largest first; Packed those of the buffers
	// of numbers of two bytes, which are of type Stored.
	Slots, Packed []int64
	Stored        tensor.DType
	// Temporaries is the number of bytes of all temporaries without sharing.
	Temporaries int64
	// Units is the number of bytes of slots that each unit's temporaries use at the moment of most use. Slots that are free
	// at that moment are under "". The sum is all bytes.
	Units map[string]int64
}

// Bytes is the sum of the slots.
func (p Plan) Bytes() int64 {
	var n int64
	for _, s := range p.Specs() {
		n += s.Bytes()
	}
	return n
}

// Specs are the buffers of the slots, the packed ones last.
func (p Plan) Specs() []device.Spec {
	var specs []device.Spec
	for _, s := range []struct {
		sizes []int64
		dtype tensor.DType
		label string
	}{{p.Slots, tensor.F32, "activations %d"}, {p.Packed, p.Stored, "packed activations %d"}} {
		for i, size := range s.sizes {
			specs = append(specs, device.Spec{DType: s.dtype, Len: int(size) / s.dtype.Size(), Kind: device.Activations, Label: fmt.Sprintf(s.label, i)})
		}
	}
	return specs
}

// slots is the list that v's slot is in.
func (p *Plan) slots(v *Value) *[]int64 {
	if v.DType.Size() == 2 {
		return &p.Packed
	}
	return &p.Slots
}

// Plan assigns a slot to every temporary, the largest first: the first slot that is free for its whole lifetime, or a new
// one. Slots are whole buffers, since WebGPU forbids one launch to read and write two parts of the same buffer.
// Pisarchyk & Lee 2020, arXiv:2001.03288, "greedy by size".
func (t *Tape) Plan() Plan {
	t.lower()
	t.liveness()
	var temps []*Value
	for _, v := range t.values {
		if v.key == nil && v.base == nil && v.first >= 0 {
			temps = append(temps, v)
		}
	}
	slices.SortFunc(temps, func(a, b *Value) int {
		return cmp.Or(cmp.Compare(b.bytes(), a.bytes()), a.first-b.first, a.id-b.id)
	})
	plan := Plan{Stored: t.stored}
	tenants := map[*[]int64][]tenancy{}
	for _, v := range temps {
		plan.Temporaries += v.bytes()
		sizes := plan.slots(v)
		v.slot = slices.IndexFunc(tenants[sizes], func(s tenancy) bool { return s.free(v) })
		if v.slot < 0 {
			v.slot = len(*sizes)
			*sizes, tenants[sizes] = append(*sizes, v.bytes()), append(tenants[sizes], nil)
		}
		tenants[sizes][v.slot].take(v)
	}
	plan.Units = t.units(temps, plan)
	return plan
}

// units finds the command at which temporaries have most bytes, and the units that use the slots there.
func (t *Tape) units(temps []*Value, plan Plan) map[string]int64 {
	change := make([]int64, len(t.commands)+1)
	for _, v := range temps {
		change[v.first] += v.bytes()
		change[v.last+1] -= v.bytes()
	}
	var live, most int64
	peak := 0
	for at, d := range change {
		if live += d; live > most {
			most, peak = live, at
		}
	}
	units := map[string]int64{"": plan.Bytes()}
	for _, v := range temps {
		if v.first <= peak && peak <= v.last {
			size := (*plan.slots(v))[v.slot]
			units[v.unit] += size
			units[""] -= size
		}
	}
	return units
}

// tenancy is the values of a slot, in the order of their lifetimes.
type tenancy []*Value

// before is the number of values that begin before v ends.
func (s tenancy) before(v *Value) int {
	at, _ := slices.BinarySearchFunc(s, v.last+1, func(w *Value, end int) int { return w.first - end })
	return at
}

// free reports whether the slot has no other value during the lifetime of v.
func (s tenancy) free(v *Value) bool {
	at := s.before(v)
	return at == 0 || s[at-1].last < v.first
}

func (s *tenancy) take(v *Value) { *s = slices.Insert(*s, s.before(v), v) }

// liveness finds the first and the last command that touch each value.
func (t *Tape) liveness() {
	for _, v := range t.values {
		v.first = -1
	}
	for at, c := range t.commands {
		for _, a := range c.args {
			root, _ := a.root()
			if root.first < 0 {
				root.first = at
			}
			root.last = at
		}
	}
}

// Pool is the memory of programs' temporaries. A program must not read a temporary that another program of the same pool
// wrote.
type Pool struct {
	dev          device.Device
	bufs, packed []device.Buffer
}

// NewPool makes a pool with the given slots, all allocated at once. Plans are merged with MergePlans.
func NewPool(dev device.Device, p Plan) (*Pool, error) {
	pool := &Pool{dev: dev}
	specs := p.Specs()
	for i, s := range specs {
		b, err := dev.Alloc(s)
		if err != nil {
			pool.Free()
			return nil, fmt.Errorf("graph: slot %d of %d: %w", i, len(specs), err)
		}
		if i < len(p.Slots) {
			pool.bufs = append(pool.bufs, b)
		} else {
			pool.packed = append(pool.packed, b)
		}
	}
	return pool, nil
}

// Free frees the memory.
func (p *Pool) Free() {
	for _, b := range slices.Concat(p.bufs, p.packed) {
		p.dev.Free(b)
	}
	p.bufs, p.packed = nil, nil
}

// of is the buffer of v, nil where the pool does not fit the plan.
func (p *Pool) of(v *Value) device.Buffer {
	bufs := p.bufs
	if v.DType.Size() == 2 {
		bufs = p.packed
	}
	if v.slot >= len(bufs) || bufs[v.slot].Spec().Bytes() < v.bytes() || bufs[v.slot].Spec().DType != v.DType {
		return nil
	}
	return bufs[v.slot]
}

// MergePlans is the smallest plan in which each of the given ones fits.
func MergePlans(plans ...Plan) Plan {
	var m, largest Plan
	for _, p := range plans {
		m.Temporaries = max(m.Temporaries, p.Temporaries)
		m.Slots, m.Packed = merge(m.Slots, p.Slots), merge(m.Packed, p.Packed)
		if p.Stored != tensor.F32 {
			m.Stored = p.Stored
		}
		if p.Bytes() > largest.Bytes() {
			largest = p
		}
	}
	m.Units = map[string]int64{}
	maps.Copy(m.Units, largest.Units)
	m.Units[""] += m.Bytes() - largest.Bytes()
	return m
}

// merge is the larger of both sizes at every index. It changes a.
func merge(a, b []int64) []int64 {
	for i, size := range b {
		if i == len(a) {
			a = append(a, 0)
		}
		a[i] = max(a[i], size)
	}
	return a
}

// Binder gives a compilation the memory outside the tape and the variants of kernels.
type Binder struct {
	Extern func(key any) (device.Slice, error)
	// Prepare is called with all launches before Choose is called with each. It may be nil.
	Prepare func([]*device.Launch) error
	Choose  func(l *device.Launch) (device.Variant, error) // nil: always the first variant
	// Inspect may return a launch to run after one that has written a value, to examine the value before it changes again.
	// It may be nil.
	Inspect func(w Written, at device.Slice) *device.Launch
}

// Written is a value that a launch has just written.
type Written struct {
	Var
	Kernel   string
	Args     []Var // of the launch
	Gradient bool
}

// Key is the key of v's memory outside the tape, nil for a temporary.
func (v *Value) Key() any { root, _ := v.root(); return root.key }

// Unit is the unit of the model that v belongs to.
func (v *Value) Unit() string { return v.unit }

// Program is a tape made ready for replay.
type Program struct {
	device.Executable
	Label string
}

// Compile plans, binds and prepares the tape's commands. The pool must fit the tape's plan.
func (t *Tape) Compile(dev device.Device, label string, pool *Pool, b Binder) (*Program, error) {
	cmds, _, err := t.resolve(pool, b)
	if err != nil {
		return nil, fmt.Errorf("graph: %s: %w", label, err)
	}
	exe, err := dev.Compile(label, cmds)
	if err != nil {
		return nil, fmt.Errorf("graph: %s: %w", label, err)
	}
	return &Program{exe, label}, nil
}

// Part is a run of a tape's commands that uses outside memory of at most one unit.
type Part struct {
	*Program
	Unit     int // -1: of none
	Keys     map[any]bool
	Backward bool // it belongs to the backward walk
}

// CompileParts is Compile in parts, to be replayed in order, so that outside memory can be filled and emptied between
// them. unit is the unit that the memory of a key belongs to, -1 for memory that is always filled. A part ends where the
// next command uses another unit's memory, and where the backward pass begins.
func (t *Tape) CompileParts(dev device.Device, label string, pool *Pool, b Binder, unit func(key any) int) (parts []Part, err error) {
	cmds, of, err := t.resolve(pool, b)
	if err != nil {
		return nil, fmt.Errorf("graph: %s: %w", label, err)
	}
	defer func() {
		if err != nil {
			for _, p := range parts {
				p.Release()
			}
		}
	}()
	part, from := Part{Unit: -1, Keys: map[any]bool{}}, 0
	end := func(to int) error {
		if from == to {
			return nil
		}
		exe, err := dev.Compile(fmt.Sprintf("%s, part %d", label, len(parts)), cmds[from:to])
		if err != nil {
			return fmt.Errorf("graph: %s: %w", label, err)
		}
		part.Program = &Program{exe, label}
		parts = append(parts, part)
		part, from = Part{Unit: -1, Keys: map[any]bool{}, Backward: part.Backward}, to
		return nil
	}
	for i := range cmds {
		c := &t.commands[of[i]]
		uses, keys := -1, map[any]bool{}
		for _, a := range c.args {
			key := a.Key()
			if key == nil {
				continue
			}
			if u := unit(key); u >= 0 {
				if uses >= 0 && u != uses {
					return parts, fmt.Errorf("graph: %s: %q is used together with memory of another unit", label, a.Name)
				}
				uses, keys[key] = u, true
			}
		}
		if uses >= 0 && part.Unit >= 0 && uses != part.Unit || c.phase > 0 && !part.Backward {
			if err := end(i); err != nil {
				return parts, err
			}
			part.Backward = c.phase > 0
		}
		if uses >= 0 {
			part.Unit = uses
			maps.Copy(part.Keys, keys)
		}
	}
	return parts, end(len(cmds))
}

// locator finds the memory of values, each extern once.
type locator struct {
	pool    *Pool
	binder  Binder
	externs map[*Value]device.Slice
}

func (l *locator) locate(v *Value) (device.Slice, error) {
	root, off := v.root()
	if root.key == nil {
		buf := l.pool.of(root)
		if buf == nil {
			return device.Slice{}, fmt.Errorf("slot %d needs %d bytes of %s that the pool lacks", root.slot, root.bytes(), root.DType)
		}
		return device.Slice{Buf: buf, Off: off, Len: v.Shape.Size()}, nil
	}
	s, ok := l.externs[root]
	if !ok {
		var err error
		if s, err = l.binder.Extern(root.key); err != nil {
			return s, fmt.Errorf("%q: %w", root.Name, err)
		}
		if s.Len != root.elements() || s.Buf.Spec().DType != root.DType {
			return s, fmt.Errorf("%q: memory of %d %s for shape %v of %s", root.Name, s.Len, s.Buf.Spec().DType, root.Shape, root.DType)
		}
		l.externs[root] = s
	}
	return device.Slice{Buf: s.Buf, Off: s.Off + off, Len: v.elements()}, nil
}

// bind makes a device command of each of the tape's commands, with its memory.
func (t *Tape) bind(l *locator) (bound []device.Command, launches []*device.Launch, err error) {
	bound = make([]device.Command, len(t.commands))
	for at, c := range t.commands {
		args := make([]device.Slice, len(c.args))
		for i, a := range c.args {
			if args[i], err = l.locate(a); err != nil {
				return nil, nil, err
			}
		}
		switch c.kind {
		case copyRange:
			bound[at].Copy = &device.Copy{Dst: args[0], Src: args[1]}
		case clearRange:
			bound[at].Clear = &args[0]
		default:
			bound[at].Launch = &device.Launch{Kernel: c.kernel, Params: c.params, Dims: c.dims, Args: args}
			launches = append(launches, bound[at].Launch)
		}
	}
	return bound, launches, nil
}

// resolve binds the tape's commands to memory and chooses their variants. of[i] is the index of the command that device
// command i comes from.
func (t *Tape) resolve(pool *Pool, b Binder) (cmds []device.Command, of []int, err error) {
	t.Plan()
	if pool == nil {
		pool = &Pool{}
	}
	bound, launches, err := t.bind(&locator{pool, b, map[*Value]device.Slice{}})
	if err != nil {
		return nil, nil, err
	}
	if b.Prepare != nil {
		if err := b.Prepare(launches); err != nil {
			return nil, nil, err
		}
	}
	for at, c := range t.commands {
		cmds, of = append(cmds, bound[at]), append(of, at)
		l := bound[at].Launch
		if l == nil {
			continue
		}
		if len(c.kernel.Variants) > 0 {
			v := c.kernel.Variants[0]
			if b.Choose != nil {
				var err error
				if v, err = b.Choose(l); err != nil {
					return nil, nil, err
				}
			}
			l.Use(v)
		}
		for i, a := range c.args {
			if b.Inspect == nil || !c.writes(i) {
				continue
			}
			root, _ := a.root()
			if inspection := b.Inspect(Written{a, c.kernel.Name, c.args, t.gradients[root]}, l.Args[i]); inspection != nil {
				cmds, of = append(cmds, device.Command{Launch: inspection}), append(of, at)
			}
		}
	}
	return cmds, of, nil
}

// Externs lists the outside memory that the tape uses, in the order of its first mention.
func (t *Tape) Externs() []Extern {
	t.liveness()
	var list []Extern
	for _, v := range t.values {
		if v.key != nil && v.first >= 0 {
			list = append(list, Extern{Key: v.key, Shape: v.Shape, DType: v.DType, Quant: v.quant, Name: v.Name})
		}
	}
	return list
}
