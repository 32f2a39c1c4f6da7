package job

import (
	"cmp"
	"context"
	"io"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// dumpGradients writes the gradients of the mean loss, by parameter name: an adapter's tensors have its keys.
func dumpGradients(s *replay.Setup, st *replay.Stepper, out pretrained.Writer, name string, tokens int) error {
	if err := st.BuildBegin(); err != nil {
		return err
	}
	if err := st.Run(st.ClearWork()); err != nil {
		return err
	}
	if err := s.Batches(s.Train, func(_ int, b *data.Batch) error {
		p, l, err := st.Program(replay.ProgramKey{T: b.T, Gradients: true})
		if err != nil {
			return err
		}
		return st.Run(st.BatchWork(l, b, 0), device.Work{Run: p.Executable})
	}); err != nil {
		return err
	}
	keys := map[*nn.Param]string{}
	if s.Model.Method != nil {
		for _, x := range s.Model.Method.Tensors() {
			keys[x.Param] = x.Key
		}
	}
	var specs []weights.Spec
	params := map[string]*nn.Param{}
	for _, seg := range s.Layout.Segments {
		for _, p := range seg.Params {
			name := cmp.Or(keys[p], p.Name)
			specs, params[name] = append(specs, weights.Spec{Name: name, DType: tensor.F32, Shape: p.FileShape()}), p
		}
	}
	if err := out.File(name, func(w io.Writer) error {
		return out.Tensors(w, specs, nil, func(name string, w io.Writer) error {
			p := params[name]
			return out.Values.Stream(nn.GradOf{Param: p}, p.Shape, p.Transposed, func(raw []byte) error {
				x := make([]float32, len(raw)/4)
				if err := tensor.DecodeF32(x, raw, tensor.F32); err != nil {
					return err
				}
				for i := range x {
					x[i] = float32(float64(x[i]) / float64(tokens))
				}
				_, err := w.Write(tensor.EncodeF32(nil, x, tensor.F32))
				return err
			})
		})
	}); err != nil {
		return err
	}
	return out.Commit(name)
}

// hiddenKey is the key of the hidden states between the trunk and the head.
type hiddenKey struct{}

// logitRows bounds how many rows of logits exist at a time. It is a multiple of what offsets must align to.
const logitRows = 64

// logitDump computes logits in two programs: the trunk writes the hidden states of a micro-batch, and the head makes
// logitRows rows of logits of them at a time.
type logitDump struct {
	setup *replay.Setup
	st    *replay.Stepper
	each  int // rows of logits for one row of the dataset

	hidden, logits device.Buffer
	trunk          *graph.Program
	heads          []*graph.Program // by chunk
	pools          []*graph.Pool
}

// dumpLogits writes the logits of all rows as one tensor (rows, longest, V), of a classification (rows, classes).
func dumpLogits(ctx context.Context, s *replay.Setup, st *replay.Stepper, out pretrained.Writer, name string) error {
	d := &logitDump{setup: s, st: st, each: s.Longest()}
	rows, V := s.Train.Len(), s.Model.Decoder.Head.Out
	shape := tensor.Of(rows, d.each, V)
	if s.Model.Decoder.Classes > 0 {
		d.each, shape = 1, tensor.Of(rows, V)
	}
	defer d.free()
	if err := d.build(); err != nil {
		return err
	}
	if err := out.File(name, func(w io.Writer) error {
		return out.Tensors(w, []weights.Spec{{Name: "logits", DType: tensor.F32, Shape: shape}}, nil, func(_ string, w io.Writer) error {
			return d.write(ctx, out.Host, w)
		})
	}); err != nil {
		return err
	}
	return out.Commit(name)
}

// build allocates the buffers and compiles the trunk and the head of each chunk.
func (d *logitDump) build() (err error) {
	s, decoder := d.setup, d.setup.Model.Decoder
	N := device.CeilDiv(s.BatchRows*d.each, logitRows) * logitRows
	for _, b := range []struct {
		into  *device.Buffer
		n     int
		label string
	}{{&d.hidden, N * decoder.Head.In, "hidden"}, {&d.logits, logitRows * decoder.Head.Out, "logits"}} {
		if *b.into, err = d.st.Dev.Alloc(device.Spec{Len: b.n, Kind: device.Activations, Label: b.label}); err != nil {
			return err
		}
	}
	T := s.Longest()
	if d.trunk, err = d.compile("trunk", -1, func(t *graph.Tape) {
		in := decoder.NewInput(t, s.BatchRows, T, s.RopeRows())
		h := decoder.Output(t, in)
		if decoder.Classes == 0 {
			h = in.OfTokens(t, h)
		}
		t.Copy(t.Extern(graph.Extern{Key: hiddenKey{}, Shape: h.Shape, Name: "hidden"}), h)
	}); err != nil {
		return err
	}
	for chunk := range N / logitRows {
		p, err := d.compile("head", chunk, func(t *graph.Tape) {
			h := t.Extern(graph.Extern{Key: hiddenKey{}, Shape: tensor.Of(logitRows, decoder.Head.In), Name: "hidden"})
			y := decoder.Head.Forward(t, decoder.NewInput(t, s.BatchRows, T, s.RopeRows()), h)
			t.Copy(t.Extern(graph.Extern{Key: replay.LogitsKey{}, Shape: y.Shape, Name: "logits"}), y)
		})
		if err != nil {
			return err
		}
		d.heads = append(d.heads, p)
	}
	return nil
}

// compile makes the program of the trunk, chunk -1, or of the head for a chunk of the hidden states.
func (d *logitDump) compile(label string, chunk int, record func(t *graph.Tape)) (*graph.Program, error) {
	t := graph.NewInferenceTape()
	if err := graph.Record(func() { record(t) }); err != nil {
		return nil, err
	}
	pool, err := graph.NewPool(d.st.Dev, t.Plan())
	if err != nil {
		return nil, err
	}
	d.pools = append(d.pools, pool)
	H := d.setup.Model.Decoder.Head.In
	b := d.st.Binder(d.setup.LayoutOf(d.setup.Longest()))
	find := b.Extern
	b.Extern = func(key any) (device.Slice, error) {
		switch key.(type) {
		case hiddenKey:
			if chunk < 0 {
				return device.Slice{Buf: d.hidden, Len: d.setup.BatchRows * d.each * H}, nil
			}
			return device.Slice{Buf: d.hidden, Off: chunk * logitRows * H, Len: logitRows * H}, nil
		case replay.LogitsKey:
			return device.All(d.logits), nil
		}
		return find(key)
	}
	return t.Compile(d.st.Dev, label, pool, b)
}

// write computes the logits of all rows and writes them in order.
func (d *logitDump) write(ctx context.Context, host report.Host, w io.Writer) error {
	s, V := d.setup, d.setup.Model.Decoder.Head.Out
	rows, T := s.Train.Len(), s.Longest()
	l := s.LayoutOf(T)
	progress := report.NewProgress(host, "logits", "rows", int64(rows))
	for first := 0; first < rows; first += s.BatchRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(s.BatchRows, rows-first)
		samples, err := s.Train.Range(first, first+n)
		if err != nil {
			return err
		}
		b := s.BatchOf(samples, T)
		if err := d.st.Run(d.st.BatchWork(l, b, 0), device.Work{Run: d.trunk.Executable}); err != nil {
			return err
		}
		for c, left := 0, n*d.each; left > 0; c, left = c+1, left-logitRows {
			if err := d.st.Run(device.Work{Run: d.heads[c].Executable}); err != nil {
				return err
			}
			raw, err := d.st.Dev.Read(d.logits, 0, min(left, logitRows)*V)
			if err != nil {
				return err
			}
			if _, err := w.Write(raw); err != nil {
				return err
			}
		}
		progress.Update(int64(first+n), "")
	}
	return nil
}

func (d *logitDump) free() {
	for _, p := range append(d.heads, d.trunk) {
		if p != nil {
			p.Release()
		}
	}
	for _, p := range d.pools {
		p.Free()
	}
	for _, b := range []device.Buffer{d.hidden, d.logits} {
		if b != nil {
			d.st.Dev.Free(b)
		}
	}
}
