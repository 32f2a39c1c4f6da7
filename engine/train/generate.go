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
	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

func (j *Job) generate(ctx context.Context) error {
	g := j.Job.Generate
	if g == nil || g.MaxNewTokens < 0 || g.Temperature < 0 || g.TopP < 0 || g.TopP > 1 || g.TopK < 0 {
		return report.Fail("config", report.ExitConfig, "See llamatab generate --help.", errors.New("generate: a setting is out of range: max-new-tokens, temperature and top-k are at least 0, top-p is from 0 to 1"))
	}
	if len(j.Compare) > 0 {
		return j.generateStack(ctx)
	}
	s, err := j.prepareModel()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	if len(g.Labels) > 0 && s.Model.Decoder.Classes == 0 {
		s.Model.AddScore(len(g.Labels))
		s.Model.Classes, s.Model.Seed = g.Labels, g.Seed
	}
	s.Model.Freeze()
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	if s.Model.Decoder.Classes > 0 {
		return j.judge(s)
	}
	prompt, err := s.prompt(g)
	if err != nil {
		return err
	}
	if err := s.plan(); err != nil {
		return err
	}
	st, closeAll, err := j.ready(s)
	if err != nil {
		return err
	}
	defer closeAll()
	ids, err := j.write(ctx, st, slices.Clone(prompt), func(t message.Token) { j.Host.Emit(message.Envelope{Type: "token", Token: &t}) })
	if err != nil {
		return err
	}
	result, err := json.Marshal(map[string]any{
		"prompt": g.Prompt, "prompt_ids": prompt, "output_ids": ids, "text": s.Model.Tokenizer.Decode(ids, true),
	})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// prompt encodes the prompt of a job, and makes the setup one that continues it.
func (s *Setup) prompt(g *message.GenerateJob) ([]int, error) {
	if s.Model.Decoder.Classes > 0 {
		return nil, report.Fail("model", report.ExitConfig, "Give one adapter, and the prompt gets a label; or compare them on a dataset with llamatab eval.",
			errors.New("generate: the model tells classes of texts apart, it does not continue them"))
	}
	context := s.Model.Decoder.MaxPositions - s.Model.LongestPrefix()
	prompt, err := s.encode(g.Prompt)
	if err == nil && len(prompt) >= context && g.MaxNewTokens > 0 {
		err = report.Fail("prompt", report.ExitConfig, "Change the prompt.", fmt.Errorf("generate: the prompt has %d tokens, the model's context is %d", len(prompt), context))
	}
	if err != nil {
		return nil, err
	}
	s.decode, s.lengths = true, []int{min(len(prompt)+g.MaxNewTokens, context)}
	return prompt, nil
}

// encode spells a prompt in tokens of the model.
func (s *Setup) encode(text string) ([]int, error) {
	if s.Model.Tokenizer == nil {
		return nil, report.Fail("tokenizer", report.ExitConfig, pretrained.ModelHint, errors.New("generate: the model folder has no tokenizer.json"))
	}
	prompt, err := s.Model.Tokenizer.EncodeOnce(text)
	if err == nil && len(prompt) == 0 {
		err = errors.New("the prompt has no tokens and the tokenizer adds none")
	}
	for _, id := range prompt {
		if err == nil && id >= s.Model.Decoder.Vocab {
			token, _ := s.Model.Tokenizer.Token(id)
			err = fmt.Errorf("token %d (%q) is not in the model's vocabulary of %d", id, token, s.Model.Decoder.Vocab)
		}
	}
	if err != nil {
		return nil, report.Fail("prompt", report.ExitConfig, "Change the prompt.", fmt.Errorf("generate: %w", err))
	}
	return prompt, nil
}

// write continues a text of ids until it ends, is as long as the setup allows or is stopped. Each new token goes to each.
func (j *Job) write(ctx context.Context, st *stepper, ids []int, each func(message.Token)) ([]int, error) {
	text, err := newText(st)
	if err != nil {
		return nil, err
	}
	defer text.free()
	tokens := st.setup.Model.Tokenizer
	decoder := tokens.Continue(ids, true)
	sampler := newTokenSampler(j.Job.Generate)
	stops := tokens.Stops()
	for read := 0; len(ids) < st.setup.longest(); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if j.Host.Control() == message.Stop {
			if rest := decoder.Flush(); rest != "" {
				each(message.Token{ID: ids[len(ids)-1], Text: rest})
			}
			break
		}
		scores, err := text.read(ids[read:])
		if err != nil {
			return nil, err
		}
		read = len(ids)
		id, err := sampler.pick(scores)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
		said, ended := decoder.Next(id), slices.Contains(stops, id)
		if ended || len(ids) == st.setup.longest() {
			said += decoder.Flush()
		}
		each(message.Token{ID: id, Text: said})
		if ended {
			break
		}
	}
	return ids, nil
}

// recordDecode puts one token's way through the model, with caches for the longest text, on a new tape.
func (s *Setup) recordDecode() (*graph.Tape, error) {
	t := graph.NewInferenceTape()
	err := graph.Record(func() {
		y := s.Model.Decoder.Decode(t, s.Model.Decoder.NewToken(t, 1, s.ropeRows()), s.ropeRows()) // (1, V)
		t.Copy(t.Extern(graph.Extern{Key: logitsKey{}, Shape: y.Shape, Name: logitsSpec}), y)
	})
	return t, err
}

// recordVirtual puts the way of virtual tokens into the caches on a new tape.
func (s *Setup) recordVirtual() (*graph.Tape, error) {
	t := graph.NewInferenceTape()
	err := graph.Record(func() { s.Model.Decoder.DecodeVirtual(t, s.Model.Decoder.NewToken(t, 1, s.ropeRows()), s.ropeRows()) })
	return t, err
}

const logitsSpec = "logits"

// decodeSpecs are the buffers that generation needs besides those of a step: the logits, and each layer's caches.
func (s *Setup) decodeSpecs() map[any]device.Spec {
	specs := map[any]device.Spec{logitsKey{}: {Len: s.Model.Decoder.Vocab, Class: device.Activations, Label: logitsSpec}}
	for i := range s.Model.Decoder.Layers {
		for _, values := range []bool{false, true} {
			specs[nn.CacheKey{Layer: i, Values: values}] = device.Spec{
				Len: s.ropeRows() * s.Model.Decoder.KVHeads * s.Model.Decoder.HeadDim, Class: device.Activations, Label: fmt.Sprintf("cache of layer %d", i),
			}
		}
	}
	return specs
}

// text is a text that grows: its keys and values stay on the device, so a token is computed once.
type text struct {
	st      *stepper
	bufs    map[any]device.Buffer
	program *graph.Program
	layout  batchLayout
	length  int // tokens read, virtual ones counted
}

func newText(st *stepper) (*text, error) {
	x := &text{st: st, bufs: map[any]device.Buffer{}, layout: newBatchLayout(1, 1, 0, false, st.setup.limits)}
	for key, spec := range st.setup.decodeSpecs() {
		b, err := st.dev.Alloc(spec)
		if err != nil {
			x.free()
			return nil, err
		}
		x.bufs[key] = b
	}
	var err error
	if x.program, err = x.compile("one token", st.setup.recordDecode); err == nil {
		err = x.begin()
	}
	if err != nil {
		x.free()
		return nil, err
	}
	return x, nil
}

func (x *text) compile(label string, record func() (*graph.Tape, error)) (*graph.Program, error) {
	t, err := record()
	if err != nil {
		return nil, err
	}
	b := x.st.binder(x.layout)
	find := b.Extern
	b.Extern = func(key any) (device.Slice, error) {
		if buf, ok := x.bufs[key]; ok {
			return device.All(buf), nil
		}
		return find(key)
	}
	return t.Compile(x.st.dev, label, x.st.pool, b)
}

// begin puts the adapter's virtual tokens into the caches.
func (x *text) begin() error {
	d := x.st.setup.Model.Decoder
	if d.Virtual() == 0 {
		return nil
	}
	p, err := x.compile("virtual tokens", x.st.setup.recordVirtual)
	if err != nil {
		return err
	}
	defer p.Release()
	rows := 1 // a prefix comes as a whole
	if d.Prompt() > 0 {
		rows = d.Virtual()
	}
	var work []device.Work
	for i := range rows {
		work = append(work, x.at(i, i), device.Work{Run: p.Executable})
	}
	x.length = d.Virtual()
	return x.st.dev.Submit(work...)
}

// at writes a token, or the row of a prompt, and its position.
func (x *text) at(id, position int) device.Work {
	one := &data.Batch{B: 1, T: 1, IDs: []int32{int32(id)}, Positions: []int32{int32(position)}, Targets: []int32{data.Ignore}}
	return device.Work{Buf: x.st.batch, Data: x.layout.encode(one, 0)}
}

func (x *text) free() {
	if x.program != nil {
		x.program.Release()
	}
	for _, b := range x.bufs {
		x.st.dev.Free(b)
	}
}

// read appends ids to the text, in one submission, and returns the logits of the token that follows.
func (x *text) read(ids []int) ([]float64, error) {
	var work []device.Work
	for _, id := range ids {
		work = append(work, x.at(id, x.length), device.Work{Run: x.program.Executable})
		x.length++
	}
	if err := x.st.run(work...); err != nil {
		return nil, err
	}
	raw, err := x.st.dev.Read(x.bufs[logitsKey{}], 0, x.st.setup.Model.Decoder.Vocab)
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
			return 0, report.Fail("nonfinite", report.ExitFailed, "The weights are damaged: use another checkpoint.", fmt.Errorf("generate: the logit of token %d is %v", i, l))
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
