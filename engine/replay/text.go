package replay

import (
	"fmt"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
)

// recordDecode records the decoding of one token on a new tape, with caches for the longest text.
func (s *Setup) recordDecode() (*graph.Tape, error) {
	t := graph.NewInferenceTape()
	err := graph.Record(func() {
		y := s.Model.Decoder.Decode(t, s.Model.Decoder.NewToken(t, 1, s.RopeRows()), s.RopeRows()) // (1, V)
		t.Copy(t.Extern(graph.Extern{Key: LogitsKey{}, Shape: y.Shape, Name: logitsSpec}), y)
	})
	return t, err
}

// recordVirtual records the writing of virtual tokens into the caches on a new tape.
func (s *Setup) recordVirtual() (*graph.Tape, error) {
	t := graph.NewInferenceTape()
	err := graph.Record(func() { s.Model.Decoder.DecodeVirtual(t, s.Model.Decoder.NewToken(t, 1, s.RopeRows()), s.RopeRows()) })
	return t, err
}

const logitsSpec = "logits"

// decodeSpecs are the buffers that only generation needs: the logits, and each layer's caches.
func (s *Setup) decodeSpecs() map[any]device.Spec {
	specs := map[any]device.Spec{LogitsKey{}: {Len: s.Model.Decoder.Vocab, Kind: device.Activations, Label: logitsSpec}}
	for i := range s.Model.Decoder.Layers {
		for _, values := range []bool{false, true} {
			specs[nn.CacheKey{Layer: i, Values: values}] = device.Spec{
				Len: s.RopeRows() * s.Model.Decoder.KVHeads * s.Model.Decoder.HeadDim, Kind: device.Activations, Label: fmt.Sprintf("cache of layer %d", i),
			}
		}
	}
	return specs
}

// Text is a growing text. The keys and values of its tokens stay on the device, so each token is computed once.
type Text struct {
	st      *Stepper
	bufs    map[any]device.Buffer
	program *graph.Program
	layout  BatchLayout
	Length  int // tokens in the caches, with the virtual ones
}

// NewText begins an empty text. The stepper's setup is one of ForText, or has Decodes set.
func NewText(st *Stepper) (*Text, error) {
	x := &Text{st: st, bufs: map[any]device.Buffer{}, layout: newBatchLayout(1, 1, 0, false, 0, st.Setup.Limits)}
	for key, spec := range st.Setup.decodeSpecs() {
		b, err := st.Dev.Alloc(spec)
		if err != nil {
			x.Free()
			return nil, err
		}
		x.bufs[key] = b
	}
	var err error
	if x.program, err = x.compile("one token", st.Setup.recordDecode); err == nil {
		err = x.begin()
	}
	if err != nil {
		x.Free()
		return nil, err
	}
	return x, nil
}

// compile compiles a tape with the text's buffers.
func (x *Text) compile(label string, record func() (*graph.Tape, error)) (*graph.Program, error) {
	t, err := record()
	if err != nil {
		return nil, err
	}
	b := x.st.Binder(x.layout)
	find := b.Extern
	b.Extern = func(key any) (device.Slice, error) {
		if buf, ok := x.bufs[key]; ok {
			return device.All(buf), nil
		}
		return find(key)
	}
	return t.Compile(x.st.Dev, label, x.st.pool, b)
}

// begin writes the adapter's virtual tokens into the caches.
func (x *Text) begin() error {
	d := x.st.Setup.Model.Decoder
	if d.Virtual() == 0 {
		return nil
	}
	p, err := x.compile("virtual tokens", x.st.Setup.recordVirtual)
	if err != nil {
		return err
	}
	defer p.Release()
	rows := 1 // a prefix is written at once
	if d.Prompt() > 0 {
		rows = d.Virtual()
	}
	var work []device.Work
	for i := range rows {
		work = append(work, x.at(i, i), device.Work{Run: p.Executable})
	}
	x.Length = d.Virtual()
	return x.st.Dev.Submit(work...)
}

// at writes the id of a token, or the number of a prompt's row, and its position.
func (x *Text) at(id, position int) device.Work {
	one := &data.Batch{B: 1, T: 1, IDs: []int32{int32(id)}, Positions: []int32{int32(position)}, Targets: []int32{data.Ignore}}
	return device.Work{Buf: x.st.batch, Data: x.layout.Encode(one, 0)}
}

// Free releases the text's programs and buffers.
func (x *Text) Free() {
	if x.program != nil {
		x.program.Release()
	}
	for _, b := range x.bufs {
		x.st.Dev.Free(b)
	}
}

// Keep shortens the text to its first n tokens.
func (x *Text) Keep(n int) { x.Length = min(x.Length, x.st.Setup.Model.Decoder.Virtual()+n) }

// Read appends tokens to the text, in one submission, and returns the logits of the next token.
func (x *Text) Read(ids []int) ([]float64, error) {
	var work []device.Work
	for _, id := range ids {
		work = append(work, x.at(id, x.Length), device.Work{Run: x.program.Executable})
		x.Length++
	}
	if err := x.st.Run(work...); err != nil {
		return nil, err
	}
	raw, err := x.st.Dev.Read(x.bufs[LogitsKey{}], 0, x.st.Setup.Model.Decoder.Vocab)
	return floatsOf(raw), err
}

// LogitsKey is the key of the logits of one or more tokens on a tape.
type LogitsKey struct{}

// ForText returns a copy of the setup that continues texts of up to longest tokens with the same parameters.
func (s *Setup) ForText(longest int) (*Setup, error) {
	c := *s
	c.Decodes, c.Optimizes, c.Gradients, c.BatchRows = true, false, false, 1
	c.Lengths = []int{min(longest, c.Model.Decoder.MaxPositions-c.Model.Decoder.Virtual())}
	token, err := c.recordDecode()
	if err != nil {
		return nil, err
	}
	virtual, err := c.recordVirtual()
	if err != nil {
		return nil, err
	}
	c.Activations = graph.MergePlans(token.Plan(), virtual.Plan())
	return &c, nil
}
