package replay

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

// Inspector is the program of a micro-batch with a launch after each of its launches that checks the values it wrote.
type Inspector struct {
	st      *Stepper
	program *graph.Program
	layout  BatchLayout
	report  device.Buffer
	written []graph.Written
}

// Inspect compiles the inspector of a micro-batch's program.
func (st *Stepper) Inspect(key ProgramKey) (p *Inspector, err error) {
	tape, err := st.Setup.record(key)
	if err != nil {
		return nil, err
	}
	p = &Inspector{st: st, layout: st.Setup.LayoutOf(key.T)}
	const outputs = 4 // the most outputs of a launch
	if p.report, err = st.Dev.Alloc(device.Spec{DType: tensor.I32, Len: outputs * tape.Launches(), Kind: device.Staging, Label: "report"}); err != nil {
		return nil, err
	}
	b := st.Binder(p.layout)
	b.Inspect = func(w graph.Written, at device.Slice) *device.Launch {
		if w.DType != tensor.F32 {
			return nil
		}
		p.written = append(p.written, w)
		return op.FirstNonFinite(at, device.All(p.report), len(p.written)-1)
	}
	if p.program, err = tape.Compile(st.Dev, "inspection", st.pool, b); err != nil {
		p.Free()
		return nil, err
	}
	return p, nil
}

// Free releases the program and its memory.
func (p *Inspector) Free() {
	if p.program != nil {
		p.program.Release()
	}
	p.st.Dev.Free(p.report)
}

// Run computes a micro-batch and returns the first tensor with a value that is not finite, nil if all are finite.
func (p *Inspector) Run(b *data.Batch, seed uint64) (*graph.Written, error) {
	if err := p.st.Run(p.st.BatchWork(p.layout, b, seed), device.Work{Run: p.program.Executable}); err != nil {
		return nil, err
	}
	raw, err := p.st.Dev.Read(p.report, 0, len(p.written))
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

// NameOf describes a tensor for people: by the parameter that it was computed with, else by its kernel. unit is its unit.
func NameOf(w graph.Written) (tensor, unit string) {
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
