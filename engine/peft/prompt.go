package peft

import (
	"fmt"
	"math/rand/v2"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

func init() { registry[config.PromptTuning] = newPrompt }

// newPrompt is prompt tuning: T trained rows stand before the embeddings of each sequence, as if they were those of T
// tokens. Positions count from the first of them; the last predicts the first token, where its label counts.
// Lester et al. 2021, arXiv:2104.08691.
func newPrompt(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	T := cfg.VirtualTokens
	table := &nn.Param{
		Name: promptKey, Shape: tensor.Of(T, d.Hidden), Unit: promptUnit, Trainable: true, Init: nn.Init{Kind: nn.Normal, Scale: 1},
	}
	m := &Method{
		Patch:       &nn.Patch{Virtual: T, Prompt: table.Var},
		unmergeable: "a prompt is rows before the embeddings of a text: no weight can hold it",
	}
	m.own(table)
	// rows starts the table as the embeddings of tokens.
	rows := func(ids func() ([]int, error)) Start {
		return func(read func(*nn.Param) ([]float32, error)) ([]float32, error) {
			chosen, err := ids()
			if err != nil {
				return nil, err
			}
			embeddings, err := read(d.Embedding)
			if err != nil {
				return nil, err
			}
			x := make([]float32, 0, T*d.Hidden)
			for _, id := range chosen {
				x = append(x, embeddings[id*d.Hidden:(id+1)*d.Hidden]...)
			}
			return x, nil
		}
	}
	switch cfg.InitPrompt {
	case config.PromptSample:
		m.startAs(table, rows(func() ([]int, error) {
			r := rand.New(rand.NewPCG(c.Seed, 0x70726f6d7074))
			ids := make([]int, T)
			for i := range ids {
				ids[i] = r.IntN(d.Vocab)
			}
			return ids, nil
		}))
	case config.PromptText:
		m.startAs(table, rows(func() ([]int, error) {
			if c.Encode == nil {
				return nil, fmt.Errorf("prompt_tuning_init is TEXT, and the model has no tokenizer")
			}
			text, err := c.Encode(cfg.InitText)
			if err == nil && len(text) == 0 {
				err = fmt.Errorf("it has no tokens")
			}
			if err != nil {
				return nil, fmt.Errorf("prompt_tuning_init_text: %w", err)
			}
			ids := make([]int, T)
			for i := range ids { // as often as it takes, and no more of it than there is room for
				if ids[i] = text[i%len(text)]; ids[i] >= d.Vocab {
					return nil, fmt.Errorf("prompt_tuning_init_text: token %d is not in the vocabulary of %d", ids[i], d.Vocab)
				}
			}
			return ids, nil
		}))
	}
	return m, nil
}
