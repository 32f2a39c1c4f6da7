//go:build js

package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"llamatab/engine/device"
	"llamatab/engine/device/webgpu"
	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/optim"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
)

// spy keeps what passes through a device: the commands compiled last and the runs submitted last.
type spy struct {
	*webgpu.Device
	commands []device.Command
	runs     []device.Work
}

// Compile implements device.Device.
func (s *spy) Compile(label string, cmds []device.Command) (device.Executable, error) {
	s.commands = cmds
	return s.Device.Compile(label, cmds)
}

// Submit implements device.Device.
func (s *spy) Submit(work ...device.Work) error {
	s.runs = nil
	for _, w := range work {
		if w.Run != nil {
			s.runs = append(s.runs, w)
		}
	}
	return s.Device.Submit(work...)
}

// program is a recorded computation with memory of its own, ready to run.
type program struct {
	exe      device.Executable
	launches []choice
	free     func()
}

// choice is a launch as it was recorded, and the variant that tuning chose for it.
type choice struct {
	device.Launch
	variant string
}

// input brings memory of the name onto the tape, with a gradient if it trains.
func input(t *graph.Tape, name string, trains bool, shape ...int) graph.Var {
	e := graph.Extern{Key: name, Shape: tensor.Of(shape...), Name: name}
	if trains {
		e.GradKey = "d" + name
	}
	return t.Extern(e)
}

// compile records, tunes and compiles, with the given values in the inputs and random ones in the others. It runs the
// result once, so that temporaries hold what they will.
func (l *lab) compile(label string, given map[any][]byte, record func(t *graph.Tape)) (p *program, err error) {
	var bufs []device.Buffer
	var pool *graph.Pool
	p = &program{}
	p.free = func() {
		if p.exe != nil {
			p.exe.Release()
		}
		if pool != nil {
			pool.Free()
		}
		for _, b := range bufs {
			l.dev.Free(b)
		}
	}
	defer func() {
		if err != nil {
			p.free()
		}
	}()
	t := graph.NewTape()
	if err := graph.Record(func() { record(t) }); err != nil {
		return nil, err
	}
	memory := map[any]device.Slice{}
	for _, e := range t.Externs() {
		b, err := l.dev.Alloc(device.Spec{DType: e.DType, Len: e.Shape.Size(), Kind: device.Staging, Label: e.Name})
		if err != nil {
			return nil, err
		}
		bufs, memory[e.Key] = append(bufs, b), device.All(b)
		values, ok := given[e.Key]
		if !ok {
			values = noise(4 * e.Shape.Size())
		}
		if err := l.dev.Write(b, 0, values); err != nil {
			return nil, err
		}
	}
	if pool, err = graph.NewPool(l.dev, t.Plan()); err != nil {
		return nil, err
	}
	tuner := tune.New(l.dev, nil, tune.Default) // with a budget as fresh as a run's
	s := &spy{Device: l.dev}
	var tuned []choice
	compiled, err := t.Compile(s, label, pool, graph.Binder{
		Extern: func(key any) (device.Slice, error) { return memory[key], nil },
		Choose: func(launch *device.Launch) (device.Variant, error) {
			v, err := tuner.Choose(launch)
			tuned = append(tuned, choice{*launch, v.Name})
			return v, err
		},
	})
	if err != nil {
		return nil, err
	}
	p.exe = compiled.Executable
	for _, c := range s.commands {
		switch {
		case c.Launch == nil:
		case len(c.Launch.Kernel.Variants) == 0:
			p.launches = append(p.launches, choice{Launch: *c.Launch})
		default: // which says the variant's parameters too: take it as it was
			p.launches, tuned = append(p.launches, tuned[0]), tuned[1:]
		}
	}
	if err := l.dev.Submit(device.Work{Run: p.exe}); err != nil {
		return nil, err
	}
	return p, l.dev.Sync()
}

// noise is n bytes of F32 numbers of about ±1. They repeat, for making them must not take longer than measuring.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, min(n/4, 1<<16))
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	b := tensor.EncodeF32(nil, x, tensor.F32)
	return bytes.Repeat(b, n/len(b)+1)[:n]
}

// kernels measures every launch of what record records, in every variant that fits the adapter.
func (l *lab) kernels(name, shape string, given map[any][]byte, record func(t *graph.Tape)) ([]Kernel, error) {
	p, err := l.compile(name, given, record)
	if err != nil {
		return nil, err
	}
	defer p.free()
	var rows []Kernel
	for _, c := range p.launches {
		variants := c.Kernel.Variants
		if len(variants) == 0 {
			variants = []device.Variant{{}}
		}
		for _, v := range variants {
			if v.Fits != nil && !v.Fits(l.Adapter, l.Limits, c.Dims) {
				continue
			}
			row := Kernel{Op: name, Shape: shape, Kernel: c.Kernel.Name, Variant: v.Name, Chosen: v.Name == c.variant}
			if err := l.time(&row, c.Launch, v); err != nil {
				if row.Chosen {
					return nil, err
				}
				row.Error = err.Error()
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// time fills in a row's numbers.
func (l *lab) time(row *Kernel, launch device.Launch, v device.Variant) error {
	launch.Use(v)
	exe, err := l.dev.Compile("bench "+row.Kernel, []device.Command{{Launch: &launch}})
	if err != nil {
		return err
	}
	defer exe.Release()
	took, err := l.dev.Measure(device.Work{Run: exe})
	if err != nil {
		return err
	}
	row.Seconds = took.Seconds()
	row.GBPS = float64(traffic(&launch)) / row.Seconds / 1e9
	if f := launch.Kernel.Flops; f != nil {
		row.GFLOPS = f(launch.Dims) / row.Seconds / 1e9
	}
	if memory := l.Peak.ShaderCopy; memory > 0 { // else the limits themselves are being measured
		row.OfLimit = max(row.GFLOPS/l.Peak.MultiplyAdd, row.GBPS/memory)
	}
	return nil
}

// traffic is the number of bytes that a launch must at least move.
func traffic(l *device.Launch) int64 {
	var n int64
	seen := map[device.Slice]bool{}
	for i, a := range l.Args {
		if seen[a] {
			continue
		}
		seen[a] = true
		size := int64(a.Len) * int64(a.Buf.Spec().DType.Size())
		if access := l.Kernel.Bindings[i].Access; access == device.Update || access == device.Write && l.Params.Bool("ACCUMULATE") {
			size *= 2
		}
		n += size
	}
	return n
}

// add measures kernels for the report.
func (l *lab) add(name, shape string, given map[any][]byte, record func(t *graph.Tape)) error {
	rows, err := l.kernels(name, shape, given, record)
	l.Kernels = append(l.Kernels, rows...)
	return err
}

// backward adds the gradients that a random dy gives.
func backward(t *graph.Tape, y graph.Var) {
	t.Seed(y, input(t, "dy", false, y.Shape...))
	t.Backward()
}

// linear measures the three forms of matrix product.
func (l *lab) linear() error {
	for _, s := range l.sizes.linear {
		rows, in, out := s[0], s[1], s[2]
		if err := l.add("linear", fmt.Sprintf("%d rows %d→%d", rows, in, out), nil, func(t *graph.Tape) {
			backward(t, op.Linear(t, []op.Term{{X: input(t, "x", true, rows, in), W: input(t, "w", true, out, in), Scale: 1}}, nil))
		}); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) attention() error {
	s := l.sizes.attention
	s.Scale = float32(1 / math.Sqrt(float64(s.HeadDim)))
	var positions []byte
	for i := range s.B * s.T {
		positions = binary.LittleEndian.AppendUint32(positions, uint32(i%s.T))
	}
	shape := fmt.Sprintf("%d×%d, heads %d/%d×%d", s.B, s.T, s.Heads, s.KVHeads, s.HeadDim)
	return l.add("attention", shape, map[any][]byte{"positions": positions}, func(t *graph.Tape) {
		q := input(t, "q", true, s.B*s.T, s.Heads*s.HeadDim)
		k, v := input(t, "k", true, s.B*s.T, s.KVHeads*s.HeadDim), input(t, "v", true, s.B*s.T, s.KVHeads*s.HeadDim)
		at := t.Extern(graph.Extern{Key: "positions", Shape: tensor.Of(s.B * s.T), DType: tensor.I32, Name: "positions"})
		backward(t, op.Attention(t, q, k, v, at, s))
	})
}

func (l *lab) norm() error {
	n, c := l.sizes.norm[0], l.sizes.norm[1]
	return l.add("rmsnorm", fmt.Sprintf("%d×%d", n, c), nil, func(t *graph.Tape) {
		backward(t, op.RMSNorm(t, input(t, "x", true, n, c), input(t, "w", true, c), 1e-5))
	})
}

// optimizer measures an update that is applied: one of a gradient and a loss that are finite.
func (l *lab) optimizer() error {
	n := l.sizes.weights
	zero := make([]byte, 4*n)
	given := map[any][]byte{
		"m": zero, "v": zero, "state": zero[:4*optim.NumState],
		"scalars": optim.Scalars{LR: 1e-5, Tokens: 1, Step: 1, Beta1: 0.9, Beta2: 0.999}.Bytes(),
	}
	return l.add("adamw", fmt.Sprint(n), given, func(t *graph.Tape) {
		g, scalars, state := input(t, "g", false, n), input(t, "scalars", false, optim.NumScalars), input(t, "state", false, optim.NumState)
		optim.FinishNorm(t, optim.SumSquares(t, g), input(t, "loss", false, 1), scalars, state, 1)
		optim.AdamW(t, input(t, "p", false, n), g, input(t, "m", false, n), input(t, "v", false, n), scalars, state,
			optim.AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, LRScale: 1})
	})
}
