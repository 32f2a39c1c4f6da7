package train

import (
	"encoding/binary"
	"fmt"
	"strings"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// finding is what first went wrong in a step that was not finite.
type finding struct {
	tensor string
	unit   string
	rows   []int // of the dataset: those that do it alone, or all of the micro-batch where none does
	some   bool  // only some of the micro-batch's rows do it, so the cause is in them and not in the weights
}

// diagnose runs the micro-batches of a step again and finds the tensor that was the first, in the order of execution,
// to hold a NaN or an infinity, and the rows that it came from. The step has left the weights as they were. The one after
// it, which is submitted already, may have changed them since: then the trouble may not show again, and tensor is "".
//
// The programs are those of the step with a launch after each of its launches that looks at what it has written.
func (t *Trainer) diagnose(l *landed) (f finding, err error) {
	if err := t.stepper.run(device.Work{Run: t.stepper.begin.Executable}); err != nil {
		return f, err
	}
	for k, rows := range l.rows {
		b := t.collate(rows)
		p, err := t.stepper.inspect(programKey{b.T, true, t.setup.stageAt(l.Step.Step - 1)})
		if err != nil {
			return f, err
		}
		defer p.free()
		seed := maskSeed(t.cfg.Training.Seed, l.position, k)
		first, err := p.run(b, seed)
		if err != nil {
			return f, err
		}
		if first == nil {
			continue
		}
		f.tensor, f.unit = describe(*first)
		for i, row := range rows { // alone, each in its own place
			alone := make([]data.Sample, len(rows))
			alone[i] = t.setup.Train.Samples[row]
			if err := t.stepper.run(device.Work{Run: t.stepper.begin.Executable}); err != nil {
				return f, err
			}
			if first, err = p.run(t.setup.batchOf(alone, b.T), seed); err != nil {
				return f, err
			} else if first != nil {
				f.rows = append(f.rows, row)
			}
		}
		f.some = len(f.rows) > 0 && len(f.rows) < len(rows)
		if f.rows == nil {
			f.rows = rows
		}
		return f, nil
	}
	if l.overflow != "" { // every gradient is finite, their squares are not
		f.tensor, f.unit = "the sum of squares of the gradients of "+l.overflow, l.overflow
	}
	return f, nil
}

// inspector is the program of a micro-batch that looks at everything it writes.
type inspector struct {
	st      *stepper
	program *graph.Program
	layout  batchLayout
	report  device.Buffer
	written []graph.Written
}

// inspect compiles the inspector of a micro-batch's program.
func (st *stepper) inspect(key programKey) (p *inspector, err error) {
	tape, err := st.setup.record(key)
	if err != nil {
		return nil, err
	}
	p = &inspector{st: st, layout: st.setup.layoutOf(key.T)}
	const outputs = 4 // of a launch, at most
	if p.report, err = st.dev.Alloc(device.Spec{DType: tensor.I32, Len: outputs * tape.Launches(), Class: device.Staging, Label: "report"}); err != nil {
		return nil, err
	}
	b := st.binder(p.layout)
	b.Inspect = func(w graph.Written, at device.Slice) *device.Launch {
		if w.DType != tensor.F32 {
			return nil
		}
		p.written = append(p.written, w)
		return op.FirstNonFinite(at, device.All(p.report), len(p.written)-1)
	}
	if p.program, err = tape.Compile(st.dev, "inspection", st.pool, b); err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

func (p *inspector) free() {
	if p.program != nil {
		p.program.Release()
	}
	p.st.dev.Free(p.report)
}

// run returns the first value that is not finite, nil when all are.
func (p *inspector) run(b *data.Batch, seed uint64) (*graph.Written, error) {
	if err := p.st.run(device.Work{Buf: p.st.batch, Data: p.layout.encode(b, seed)}, device.Work{Run: p.program.Executable}); err != nil {
		return nil, err
	}
	raw, err := p.st.dev.Read(p.report, 0, len(p.written))
	if err != nil {
		return nil, err
	}
	for i := range p.written {
		if binary.LittleEndian.Uint32(raw[4*i:]) != op.Finite {
			return &p.written[i], nil
		}
	}
	return nil, nil
}

// describe names a value for people, by the parameter that it was made with where there is one, and its unit.
func describe(w graph.Written) (tensor, unit string) {
	unit = w.Unit()
	switch key := w.Key().(type) {
	case nn.GradOf:
		return "the gradient of " + key.Name, key.Param.Unit
	case lossKey:
		return "the loss", unit
	}
	for _, a := range w.Args {
		p, ok := a.Key().(*nn.Param)
		if !ok {
			continue
		}
		module := strings.TrimSuffix(p.Name, ".weight")
		if w.Gradient {
			return "the gradient of the input of " + module, unit
		}
		return "the output of " + module, unit
	}
	kernel := strings.ReplaceAll(strings.TrimSuffix(w.Kernel, "_forward"), "_", " ")
	if w.Gradient {
		return fmt.Sprintf("a gradient in %s (%s)", unit, kernel), unit
	}
	return fmt.Sprintf("the output of %s in %s", kernel, unit), unit
}
