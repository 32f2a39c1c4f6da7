package graph

import (
	"math/rand/v2"
	"strings"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/tensor"
)

// fold writes a number that depends on every element that it reads: out = 1 + Σ i·x_i over both inputs.
var fold = &device.Kernel{
	Name: "fold", Bindings: []device.Binding{{Name: "a"}, {Name: "b"}, {Name: "out", Access: device.Write}},
	Ref: func(c *device.Call) {
		sum := 1.0
		for _, x := range [][]float64{c.F(0), c.F(1)} {
			for i, v := range x {
				sum += float64(i+1) * v / 1024
			}
		}
		for i, out := 0, c.F(2); i < len(out); i++ {
			out[i] = sum / float64(i+1)
		}
	},
}

type outKey struct{}

// Temporaries that are alive at the same command never share a slot, and sharing changes no result.
func TestPlanRandomTapes(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		tape := NewTape()
		vars := []Var{tape.New(tensor.Of(1 + r.IntN(50)))}
		tape.Clear(vars[0])
		for i := range 1 + r.IntN(40) {
			tape.Enter(string(rune('a' + i/10)))
			window := vars[max(0, len(vars)-1-r.IntN(12)):]
			y := tape.New(tensor.Of(1 + r.IntN(200)))
			tape.Launch(fold, struct{ N uint32 }{}, window[r.IntN(len(window))], window[r.IntN(len(window))], y)
			vars = append(vars, y)
		}
		last := vars[len(vars)-1]
		tape.Copy(tape.Extern(Extern{Key: outKey{}, Shape: last.Shape}), last)
		plan := tape.Plan()

		var sum int64
		for i, a := range tape.values {
			if a.key != nil || a.first < 0 {
				continue
			}
			size := int64(4 * a.Shape.Size())
			sum += size
			if plan.Slots[a.slot] < size {
				t.Fatalf("seed %d: %d bytes in a slot of %d", seed, size, plan.Slots[a.slot])
			}
			for _, b := range tape.values[:i] {
				if b.key == nil && b.first >= 0 && a.slot == b.slot && a.first <= b.last && b.first <= a.last {
					t.Fatalf("seed %d: values alive in commands %d to %d and %d to %d share slot %d", seed, a.first, a.last, b.first, b.last, a.slot)
				}
			}
		}
		if plan.Temporaries != sum || plan.Bytes() > sum {
			t.Fatalf("seed %d: %d bytes in slots, %d counted of %d", seed, plan.Bytes(), plan.Temporaries, sum)
		}
		var owned int64
		for _, n := range plan.Units {
			owned += n
		}
		if owned != plan.Bytes() {
			t.Fatalf("seed %d: units have %d bytes of %d", seed, owned, plan.Bytes())
		}
		for i := 1; i < len(plan.Slots); i++ {
			if plan.Slots[i] > plan.Slots[i-1] {
				t.Fatalf("seed %d: slots %v are not sorted", seed, plan.Slots)
			}
		}

		shared := execute(t, tape, last, plan)
		for i, v := range tape.values { // the same with a slot for each
			v.base, v.slot = nil, i
		}
		alone := reference(tape, last)
		for i := range alone {
			if shared[i] != alone[i] {
				t.Fatalf("seed %d: element %d is %v with sharing, %v without", seed, i, shared[i], alone[i])
			}
		}
	}
}

func execute(t *testing.T, tape *Tape, last Var, plan Plan) []float64 {
	t.Helper()
	dev := cpu.New()
	pool, err := NewPool(dev, plan)
	if err != nil {
		t.Fatal(err)
	}
	out, err := dev.Alloc(device.Spec{Len: last.Shape.Size()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := tape.Compile(dev, "test", pool, Binder{Extern: func(any) (device.Slice, error) { return device.All(out), nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Submit(device.Work{Run: p.Executable}); err != nil {
		t.Fatal(err)
	}
	pool.Free()
	if n := dev.Usage()[device.Activations]; n != 0 {
		t.Errorf("%d bytes of the pool were not given back", n)
	}
	return cpu.Floats(out)
}

// reference runs a tape's commands with memory of its own for every value.
func reference(tape *Tape, last Var) []float64 {
	mem := map[Var][]float64{}
	of := func(v Var) []float64 {
		if mem[v] == nil {
			mem[v] = make([]float64, v.Shape.Size())
		}
		return mem[v]
	}
	for _, c := range tape.commands {
		switch c.kind {
		case launch:
			var args []any
			for _, a := range c.args {
				args = append(args, of(a))
			}
			c.kernel.Ref(device.NewCall(&device.Launch{Kernel: c.kernel, Dims: c.dims}, args))
		case copyRange:
			copy(of(c.args[0]), of(c.args[1]))
		}
	}
	return of(last)
}

func TestMergePlans(t *testing.T) {
	m := MergePlans(Plan{Slots: []int64{100, 8}, Temporaries: 300}, Plan{Slots: []int64{40, 20, 4}, Temporaries: 70}, Plan{})
	if m.Bytes() != 124 || len(m.Slots) != 3 || m.Slots[0] != 100 || m.Slots[1] != 20 || m.Slots[2] != 4 || m.Temporaries != 300 {
		t.Errorf("%+v", m)
	}
}

func TestCompileRefuses(t *testing.T) {
	dev := cpu.New()
	tape := NewTape()
	x := tape.New(tensor.Of(8))
	tape.Clear(x)
	tape.Copy(tape.Extern(Extern{Key: outKey{}, Shape: x.Shape, Name: "result"}), x)
	buf := func(n int) device.Slice {
		b, err := dev.Alloc(device.Spec{Len: n})
		if err != nil {
			t.Fatal(err)
		}
		return device.All(b)
	}
	find := func(s device.Slice) Binder {
		return Binder{Extern: func(any) (device.Slice, error) { return s, nil }}
	}
	if _, err := tape.Compile(dev, "small", nil, find(buf(8))); err == nil || !strings.Contains(err.Error(), "pool") {
		t.Errorf("without a pool: %v", err)
	}
	pool, err := NewPool(dev, tape.Plan())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tape.Compile(dev, "wrong", pool, find(buf(7))); err == nil || !strings.Contains(err.Error(), `"result"`) {
		t.Errorf("memory of another size: %v", err)
	}
	l := device.DefaultLimits
	l.MaxBuffer = 16
	small := cpu.WithLimits(l)
	if _, err := NewPool(small, Plan{Slots: []int64{16, 32}}); err == nil || small.Usage().Total() != 0 {
		t.Errorf("a pool that does not fit: %v, %d bytes left", err, small.Usage().Total())
	}
}

func TestRecordMistakes(t *testing.T) {
	for part, f := range map[string]func(*Tape){
		"copy of":     func(t *Tape) { t.Copy(t.New(tensor.Of(2)), t.New(tensor.Of(3))) },
		"arguments":   func(t *Tape) { t.Launch(fold, nil, t.New(tensor.Of(2))) },
		"no b":        func(t *Tape) { t.Launch(fold, nil, t.New(tensor.Of(2)), nil, t.New(tensor.Of(2))) },
		"rows 1 to 4": func(t *Tape) { t.Rows(t.New(tensor.Of(3, 2)), 1, 4) },
		"want":        func(t *Tape) { t.Want("op", t.New(tensor.Of(3, 2)), tensor.Of(2, 3)) },
		"second seed": func(t *Tape) { x := trains(t); t.Seed(x, t.New(x.Shape)) },
	} {
		err := Record(func() { f(NewTape()) })
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one that says %q", err, part)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a foreign panic was swallowed")
		}
	}()
	Record(func() { panic("foreign") })
}

// trains is an extern with a gradient, which cannot be seeded.
func trains(t *Tape) *Value {
	return t.Extern(Extern{Key: outKey{}, Shape: tensor.Of(2), GradKey: "gradient"})
}

// What a unit needs backwards belongs to it, and the walk is where most memory is in use.
func TestPlanUnits(t *testing.T) {
	tape := NewTape()
	in := tape.Extern(Extern{Key: outKey{}, Shape: tensor.Of(8), GradKey: "d"})
	x := in
	for _, unit := range []string{"one", "two"} {
		tape.Enter(unit)
		saved, from := tape.New(tensor.Of(64)), x
		tape.Launch(fold, struct{ N uint32 }{}, x, x, saved)
		x = tape.New(tensor.Of(8))
		tape.Launch(fold, struct{ N uint32 }{}, from, from, x)
		tape.OnBackward(x, func(dx Var) {
			work := tape.New(tensor.Of(100))
			tape.Launch(fold, struct{ N uint32 }{}, dx, saved, work)
			tape.Accumulate(from, func(d Var) { tape.Launch(fold, struct{ N uint32 }{}, work, dx, d) })
		})
	}
	tape.Enter("end")
	tape.Seed(x, tape.New(x.Shape))
	tape.Backward()
	plan := tape.Plan()
	// In the walk of "two": both saved values, its own 100 floats and dx.
	if got := plan.Units; got["one"] != 4*64 || got["two"] != 4*(64+100) || got["end"] != 4*8 {
		t.Errorf("units %v of slots %v", got, plan.Slots)
	}
	merged := MergePlans(Plan{Slots: []int64{8, 8, 8, 8, 8, 8, 8, 8, 8, 8}}, plan)
	if merged.Units["one"] != plan.Units["one"] || merged.Units[""] != plan.Units[""]+merged.Bytes()-plan.Bytes() {
		t.Errorf("merged %v of slots %v", merged.Units, merged.Slots)
	}
}
