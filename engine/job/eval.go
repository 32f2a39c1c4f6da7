package job

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// evalRows is the number of rows of a micro-batch in an evaluation.
const evalRows = 4

// scored is the score of one model of a comparison on a dataset.
type scored struct {
	Name       string         `json:"name,omitempty"`
	Type       string         `json:"peft_type,omitempty"`
	Loss       message.Float  `json:"loss"`
	Perplexity *message.Float `json:"perplexity"`
	Tokens     int            `json:"tokens"`
	Accuracy   *message.Float `json:"accuracy,omitempty"` // of a classification
	F1         *message.Float `json:"f1,omitempty"`
}

// eval measures the model on a dataset, or each model of a comparison.
func (j *Job) eval(ctx context.Context) error {
	e := j.Job.Eval
	if e == nil {
		return report.Fail("job", report.ExitConfig, "", fmt.Errorf("nothing to evaluate was named"))
	}
	if j.compares() && (e.DumpLogits != "" || e.DumpGradients != "") {
		return report.Fail("config", report.ExitConfig, "Give one --adapter.", fmt.Errorf("dumps are of one adapter, and %d are compared", len(j.Compare)))
	}
	s, err := j.openModel()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	s.BatchRows = evalRows
	if e.BatchSize > 0 {
		s.BatchRows = e.BatchSize
	}
	if e.DumpGradients == "" {
		s.Model.Freeze()
	} else if err := trainOnly(s.Model, e.Trainable); err != nil {
		return err
	}
	s.Gradients = e.DumpGradients != ""
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	o := replay.DataOptions{Format: e.Format}
	if e.MaxLength > 0 {
		o.MaxLength = &e.MaxLength
	}
	if s.Train, err = s.LoadData(o); err != nil {
		return err
	}
	if s.Train.Classes != nil {
		s.Model.Classes = s.Train.Classes
	}
	if !j.compares() { // a comparison chooses no kernel variants, so that all its models use the same ones
		s.Repeats = device.CeilDiv(len(s.Train.Samples), s.BatchRows) * s.Model.Decoder.Layers
	}
	s.Valid = s.Train // so the plan covers the loss without gradients too
	var scores []scored
	if err := j.withModels(ctx, s, func(a *pretrained.Adapter, st *replay.Stepper) error {
		if err := st.Build(j.Host); err != nil {
			return err
		}
		m, err := s.Measure(s.Train, st, j.Host)
		if err != nil {
			return err
		}
		r := scored{Loss: message.Float(m.Loss), Perplexity: replay.Perplexity(m.Loss), Tokens: m.Tokens, Accuracy: m.Accuracy, F1: m.F1}
		if a != nil {
			r.Name, r.Type = a.Name, a.Config.Type
		}
		scores = append(scores, r)
		return j.dump(ctx, s, st, m.Tokens)
	}); err != nil {
		return err
	}
	answer := map[string]any{"rows": len(s.Train.Samples)}
	if j.compares() {
		answer["base"], answer["adapters"] = scores[0], scores[1:]
	} else {
		one := scores[0]
		answer["loss"], answer["perplexity"], answer["tokens"] = one.Loss, one.Perplexity, one.Tokens
		if one.Accuracy != nil {
			answer["accuracy"], answer["f1"] = one.Accuracy, one.F1
		}
	}
	result, err := json.Marshal(answer)
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// trainOnly makes the named parts of the base model those that gradients are dumped for.
func trainOnly(m *pretrained.Model, trainable []string) error {
	parts, err := config.ParseParts(trainable, "--trainable")
	if err != nil {
		return report.Fail("config", report.ExitConfig, "See llamatab eval --help.", err)
	}
	pretrained.Untie(m.Decoder, parts)
	chosen, err := pretrained.Choose(m.Decoder, parts, "--trainable")
	if err != nil {
		return err
	}
	for p := range chosen {
		p.Trainable = true
	}
	return nil
}

// dump writes the logits and the gradients of the mean loss, where the job asks for them.
func (j *Job) dump(ctx context.Context, s *replay.Setup, st *replay.Stepper, tokens int) error {
	e, out := j.Job.Eval, pretrained.Writer{Host: j.Host, Values: st.Mem}
	if e.DumpLogits != "" {
		if err := dumpLogits(ctx, s, st, out, e.DumpLogits); err != nil {
			return err
		}
	}
	if e.DumpGradients != "" {
		return dumpGradients(s, st, out, e.DumpGradients, tokens)
	}
	return nil
}

// dumpGradients writes the gradients of the mean loss, by parameter name: an adapter's tensors have its keys.
func dumpGradients(s *replay.Setup, st *replay.Stepper, out pretrained.Writer, name string, tokens int) error {
	if err := st.BuildBegin(); err != nil {
		return err
	}
	if err := st.Run(device.Work{Run: st.Begin.Executable}); err != nil {
		return err
	}
	if err := s.Batches(s.Train, func(_ int, b *data.Batch) error {
		p, l, err := st.Program(replay.ProgramKey{T: b.T, Gradients: true})
		if err != nil {
			return err
		}
		return st.Run(device.Work{Buf: st.Batch, Data: l.Encode(b, 0)}, device.Work{Run: p.Executable})
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

// dumpLogits writes the logits of all rows as one tensor (rows, longest, V), of a classification (rows, classes).
func dumpLogits(ctx context.Context, s *replay.Setup, st *replay.Stepper, out pretrained.Writer, name string) error {
	rows, T, V, H := len(s.Train.Samples), s.Longest(), s.Model.Decoder.Head.Out, s.Model.Decoder.Head.In
	each, shape := T, tensor.Of(rows, T, V) // logits a row
	if s.Model.Decoder.Classes > 0 {
		each, shape = 1, tensor.Of(rows, V)
	}
	N := device.CeilDiv(s.BatchRows*each, logitRows) * logitRows
	alloc := func(n int, label string) (device.Buffer, error) {
		return st.Dev.Alloc(device.Spec{Len: n, Class: device.Activations, Label: label})
	}
	hidden, err := alloc(N*H, "hidden")
	if err != nil {
		return err
	}
	defer st.Dev.Free(hidden)
	logits, err := alloc(logitRows*V, "logits")
	if err != nil {
		return err
	}
	defer st.Dev.Free(logits)
	compile := func(label string, l replay.BatchLayout, chunk int, record func(t *graph.Tape)) (*graph.Program, *graph.Pool, error) {
		t := graph.NewInferenceTape()
		if err := graph.Record(func() { record(t) }); err != nil {
			return nil, nil, err
		}
		pool, err := graph.NewPool(st.Dev, t.Plan())
		if err != nil {
			return nil, nil, err
		}
		b := st.Binder(l)
		find := b.Extern
		b.Extern = func(key any) (device.Slice, error) {
			switch key.(type) {
			case hiddenKey:
				if chunk < 0 {
					return device.Slice{Buf: hidden, Len: s.BatchRows * each * H}, nil
				}
				return device.Slice{Buf: hidden, Off: chunk * logitRows * H, Len: logitRows * H}, nil
			case replay.LogitsKey:
				return device.All(logits), nil
			}
			return find(key)
		}
		p, err := t.Compile(st.Dev, label, pool, b)
		return p, pool, err
	}
	l := s.LayoutOf(T)
	trunk, pool, err := compile("trunk", l, -1, func(t *graph.Tape) {
		in := s.Model.Decoder.NewInput(t, s.BatchRows, T, s.RopeRows())
		h := s.Model.Decoder.Output(t, in)
		if s.Model.Decoder.Classes == 0 {
			h = in.OfTokens(t, h)
		}
		t.Copy(t.Extern(graph.Extern{Key: hiddenKey{}, Shape: h.Shape, Name: "hidden"}), h)
	})
	if err != nil {
		return err
	}
	defer pool.Free()
	defer trunk.Release()
	var heads []*graph.Program
	for chunk := range N / logitRows {
		p, pool, err := compile("head", l, chunk, func(t *graph.Tape) {
			h := t.Extern(graph.Extern{Key: hiddenKey{}, Shape: tensor.Of(logitRows, H), Name: "hidden"})
			y := s.Model.Decoder.Head.Forward(t, s.Model.Decoder.NewInput(t, s.BatchRows, T, s.RopeRows()), h)
			t.Copy(t.Extern(graph.Extern{Key: replay.LogitsKey{}, Shape: y.Shape, Name: "logits"}), y)
		})
		if err != nil {
			return err
		}
		defer pool.Free()
		defer p.Release()
		heads = append(heads, p)
	}
	progress := report.NewProgress(out.Host, "logits", "rows", int64(rows))
	if err := out.File(name, func(w io.Writer) error {
		return out.Tensors(w, []weights.Spec{{Name: "logits", DType: tensor.F32, Shape: shape}}, nil, func(_ string, w io.Writer) error {
			for first := 0; first < rows; first += s.BatchRows {
				if err := ctx.Err(); err != nil {
					return err
				}
				n := min(s.BatchRows, rows-first)
				b := s.BatchOf(s.Train.Samples[first:first+n], T)
				if err := st.Run(device.Work{Buf: st.Batch, Data: l.Encode(b, 0)}, device.Work{Run: trunk.Executable}); err != nil {
					return err
				}
				for c, left := 0, n*each; left > 0; c, left = c+1, left-logitRows {
					if err := st.Run(device.Work{Run: heads[c].Executable}); err != nil {
						return err
					}
					raw, err := st.Dev.Read(logits, 0, min(left, logitRows)*V)
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
		})
	}); err != nil {
		return err
	}
	return out.Commit(name)
}
