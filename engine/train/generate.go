package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

func (j *Job) generate(ctx context.Context) error {
	g := j.Job.Generate
	if g == nil || g.MaxNewTokens < 0 || g.Temperature < 0 || g.TopP < 0 || g.TopP > 1 || g.TopK < 0 {
		return fail("config", exitConfig, "See llamatab generate --help.", errors.New("generate: a setting is out of range: max-new-tokens, temperature and top-k are at least 0, top-p is from 0 to 1"))
	}
	s, err := j.prepareModel()
	if err != nil {
		return err
	}
	defer s.Close()
	s.freeze()
	if err := s.settle(); err != nil {
		return err
	}
	if s.Tokenizer == nil {
		return fail("tokenizer", exitConfig, modelHint, errors.New("generate: the model folder has no tokenizer.json"))
	}
	prompt, err := s.Tokenizer.Encode(g.Prompt, true)
	if err == nil && len(prompt) == 0 {
		err = errors.New("the prompt has no tokens and the tokenizer adds none")
	}
	for _, id := range prompt {
		if err == nil && id >= s.Decoder.Vocab {
			err = fmt.Errorf("token %d is not in the model's vocabulary of %d", id, s.Decoder.Vocab)
		}
	}
	if err == nil && len(prompt) >= s.Decoder.MaxPositions && g.MaxNewTokens > 0 {
		err = fmt.Errorf("the prompt has %d tokens, the model's context is %d", len(prompt), s.Decoder.MaxPositions)
	}
	if err != nil {
		return fail("prompt", exitConfig, "Change the prompt.", fmt.Errorf("generate: %w", err))
	}
	// The rows of every length up to the longest text, so that the plan covers them all.
	longest := min(len(prompt)+g.MaxNewTokens, s.Decoder.MaxPositions)
	s.Train = &data.Dataset{}
	for n := len(prompt); n <= longest; n++ {
		s.Train.Samples = append(s.Train.Samples, data.Sample{IDs: make([]int32, n)})
	}
	if err := s.plan(); err != nil {
		return err
	}
	dev, err := j.open(s)
	if err != nil {
		return err
	}
	defer dev.Close()
	mem, err := newMemory(dev, s.Layout, false)
	if err != nil {
		return err
	}
	defer mem.free()
	if err := mem.load(s.Model, j.Host); err != nil {
		return err
	}
	st, err := newStepper(s, dev, mem, j.Host, nil)
	if err != nil {
		return err
	}
	defer st.free()
	logits, err := newNextLogits(st)
	if err != nil {
		return err
	}
	defer logits.free()
	ids := slices.Clone(prompt)
	decoder := s.Tokenizer.Decoder(true)
	for _, id := range prompt {
		decoder.Next(id)
	}
	sampler := newTokenSampler(g)
	stops := s.Tokenizer.Stops()
	for len(ids) < longest {
		if err := ctx.Err(); err != nil {
			return err
		}
		if j.Host.Control() == message.Stop {
			break
		}
		scores, err := logits.after(ids)
		if err != nil {
			return err
		}
		id, err := sampler.pick(scores)
		if err != nil {
			return err
		}
		ids = append(ids, id)
		j.Host.Emit(message.Envelope{Type: "token", Token: &message.Token{ID: id, Text: decoder.Next(id)}})
		if slices.Contains(stops, id) {
			break
		}
	}
	result, err := json.Marshal(map[string]any{
		"prompt": g.Prompt, "prompt_ids": prompt, "output_ids": ids, "text": s.Tokenizer.Decode(ids, true),
	})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// nextLogits computes the logits after a text. The whole text is read anew for each token: a causal model gives
// every prefix the same values, so one program for a length serves all texts up to it.
type nextLogits struct {
	st       *stepper
	row, out device.Buffer // which position to look at, and its logits
	programs map[int]*graph.Program
	pools    []*graph.Pool
}

// rowKey is the position whose logits are wanted.
type rowKey struct{}

func newNextLogits(st *stepper) (*nextLogits, error) {
	n := &nextLogits{st: st, programs: map[int]*graph.Program{}}
	var err error
	if n.row, err = st.dev.Alloc(device.Spec{DType: tensor.I32, Len: 1, Class: device.Staging, Label: "position"}); err != nil {
		return nil, err
	}
	n.out, err = st.dev.Alloc(device.Spec{Len: st.setup.Decoder.Vocab, Class: device.Activations, Label: "logits"})
	return n, err
}

func (n *nextLogits) free() {
	for _, p := range n.programs {
		p.Release()
	}
	for _, p := range n.pools {
		p.Free()
	}
	n.st.dev.Free(n.row)
	n.st.dev.Free(n.out)
}

func (n *nextLogits) program(T int, l batchLayout) (*graph.Program, error) {
	if p, ok := n.programs[T]; ok {
		return p, nil
	}
	d := n.st.setup.Decoder
	t := graph.NewInferenceTape()
	if err := graph.Record(func() {
		in := d.NewInput(t, 1, T, n.st.setup.longest())
		row := t.Extern(graph.Extern{Key: rowKey{}, Shape: tensor.Of(1), DType: tensor.I32, Name: "position"})
		h := op.Embedding(t, d.Trunk(t, in), op.Lookup{IDs: row, Order: row, Starts: in.Seed}) // a row of a table, looked up
		y := d.Head.Forward(t, in, h)                                                          // (1, V)
		t.Copy(t.Extern(graph.Extern{Key: logitsKey{}, Shape: y.Shape, Name: "logits"}), y)
	}); err != nil {
		return nil, err
	}
	pool, err := graph.NewPool(n.st.dev, t.Plan())
	if err != nil {
		return nil, err
	}
	n.pools = append(n.pools, pool)
	b := n.st.binder(l)
	find := b.Extern
	b.Extern = func(key any) (device.Slice, error) {
		switch key.(type) {
		case rowKey:
			return device.All(n.row), nil
		case logitsKey:
			return device.All(n.out), nil
		}
		return find(key)
	}
	p, err := t.Compile(n.st.dev, fmt.Sprintf("text of %d tokens", T), pool, b)
	if err == nil {
		n.programs[T] = p
	}
	return p, err
}

// after returns the logits of the token that follows ids.
func (n *nextLogits) after(ids []int) ([]float64, error) {
	s := n.st.setup
	T := s.lengthFor(len(ids))
	l := newBatchLayout(1, T, s.limits)
	p, err := n.program(T, l)
	if err != nil {
		return nil, err
	}
	row := data.Sample{IDs: make([]int32, len(ids)), Labels: make([]int32, len(ids))}
	for i, id := range ids {
		row.IDs[i], row.Labels[i] = int32(id), data.Ignore
	}
	last := uint32(len(ids) - 1)
	if err := n.st.dev.Submit(
		device.Work{Buf: n.st.batch, Data: l.encode(data.Collate([]data.Sample{row}, 1, T), 0)},
		device.Work{Buf: n.row, Data: []byte{byte(last), byte(last >> 8), byte(last >> 16), byte(last >> 24)}},
		device.Work{Run: p.Executable},
	); err != nil {
		return nil, err
	}
	raw, err := n.st.dev.Read(n.out, 0, s.Decoder.Vocab)
	return floatsOf(raw), err
}

// tokenSampler picks tokens as transformers does: temperature, then the top k, then the smallest set of tokens whose
// probability reaches top p. Temperature 0 takes the likeliest, the lowest id among equals.
type tokenSampler struct {
	*message.GenerateJob
	random *rand.Rand
}

func newTokenSampler(g *message.GenerateJob) *tokenSampler {
	return &tokenSampler{g, rand.New(rand.NewPCG(g.Seed, 0x70726f6d7074))}
}

func (s *tokenSampler) pick(logits []float64) (int, error) {
	best := 0
	for i, l := range logits {
		if math.IsNaN(l) || math.IsInf(l, 0) {
			return 0, fail("nonfinite", exitFailed, "The weights are damaged: use another checkpoint.", fmt.Errorf("generate: the logit of token %d is %v", i, l))
		}
		if l > logits[best] {
			best = i
		}
	}
	if s.Temperature == 0 {
		return best, nil
	}
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return logits[order[a]] > logits[order[b]] })
	if s.TopK > 0 {
		order = order[:min(s.TopK, len(order))]
	}
	p := make([]float64, len(order))
	total := 0.0
	for i, id := range order {
		p[i] = math.Exp((logits[id] - logits[best]) / s.Temperature)
		total += p[i]
	}
	kept, sum := len(order), 0.0
	if s.TopP < 1 {
		for i := range p {
			sum += p[i]
			if sum >= s.TopP*total {
				kept, total = i+1, sum
				break
			}
		}
	}
	at := s.random.Float64() * total
	for i := range kept {
		if at -= p[i]; at < 0 {
			return order[i], nil
		}
	}
	return order[kept-1], nil
}
