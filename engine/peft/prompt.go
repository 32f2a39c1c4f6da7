package peft

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

// Ways in which a prompt starts.
const (
	promptRandom = "RANDOM"       // normal with deviation 1
	promptText   = "TEXT"         // as the embeddings of a text
	promptSample = "SAMPLE_VOCAB" // as the embeddings of random tokens
)

// PromptTuningConfig holds the settings of prompt tuning, under the names of PEFT's PromptTuningConfig.
type PromptTuningConfig struct {
	promptLearning
	Init      string `json:"prompt_tuning_init"` // RANDOM, TEXT or SAMPLE_VOCAB
	Text      string `json:"prompt_tuning_init_text"`
	Tokenizer string `json:"tokenizer_name_or_path"` // written, not read: the text is encoded with the model's own
}

func init() {
	Register(Descriptor{
		Type: &config.PEFTType{
			Name: "PROMPT_TUNING", Place: 50, BeforeRows: true,
			New: func() any { return &PromptTuningConfig{Init: promptRandom} },
			Settings: slices.Concat(promptFirst, []message.Setting{
				{Key: "prompt_tuning_init", Name: message.Both("Initial prompt", "初始提示"), Help: message.Both("RANDOM, or TEXT to start from a text's tokens.", "RANDOM，或用 TEXT 从一段文本的词元开始。")},
				{Key: "prompt_tuning_init_text", Name: message.Both("Text to start from", "起始文本"), Help: message.Both("Its tokens are the first values of the virtual ones.", "其词元作为虚拟词元的初值。")},
			}, promptLast),
			Start:    []string{"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path"},
			Refused:  []string{"tokenizer_kwargs"},
			Since:    []string{"modules_to_save"},
			Constant: map[string]any{"tokenizer_kwargs": nil},
			Rules: func(p *config.PEFT, at func(string) string) []config.Rule {
				own := p.Own.(*PromptTuningConfig)
				return append(own.rules(at),
					config.OneOf(at("prompt_tuning_init"), own.Init, []string{promptRandom, promptText, promptSample}),
					config.Must(own.Init != promptText || own.Text != "", at("prompt_tuning_init_text"), "is missing, and prompt_tuning_init is TEXT", "give the text to start from").As("empty"))
			},
			Variants: []config.Variant{{
				Name: "PROMPT_TUNING", Title: message.Both("Prompt tuning", "提示微调"), Place: 60,
				About: message.Both("learned tokens before every text", "每段文本前的可学习词元"),
				Needs: promptNeeds, Main: promptMain,
			}},
			Examples: []config.Example{{
				Name: "prompt-20", Place: 90, Trains: "20 virtual tokens before the text",
				Title: message.Both("prompt of 20 virtual tokens", "20 个虚拟词元的提示"), Rate: 1e-1,
				Key: "peft", Value: always(map[string]any{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 20}),
			}},
		},
		Unmergeable: "a prompt is rows before the embeddings of a text: no weight can hold it",
		Resolve: func(d *nn.Decoder, cfg *config.PEFT) error {
			own := cfg.Own.(*PromptTuningConfig)
			if own.Init == promptText && own.Tokenizer == "" {
				own.Tokenizer = cfg.BaseModel // PEFT reads no configuration without it
			}
			return own.resolve(d.Hidden, d.Heads, d.Layers, nil)
		},
		Make: newPrompt,
	})
}

// newPrompt is prompt tuning: T trained rows stand before the embeddings of each sequence, as if they were those of T
// tokens. Positions count from the first of them; the last predicts the first token, where its label counts.
// Lester et al. 2021, arXiv:2104.08691.
func newPrompt(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	own := cfg.Own.(*PromptTuningConfig)
	T := own.VirtualTokens
	table := &nn.Param{
		Name: promptKey, Shape: tensor.Of(T, d.Hidden), Unit: promptUnit, Trainable: true, Init: nn.Init{Kind: nn.Normal, Scale: 1},
	}
	m := &Method{Patch: &nn.Patch{Virtual: T, Prompt: table.Var}}
	m.Own(table)
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
	switch own.Init {
	case promptSample:
		m.startAs(table, rows(func() ([]int, error) {
			r := rand.New(rand.NewPCG(c.Seed, 0x70726f6d7074))
			ids := make([]int, T)
			for i := range ids {
				ids[i] = r.IntN(d.Vocab)
			}
			return ids, nil
		}))
	case promptText:
		m.startAs(table, rows(func() ([]int, error) {
			if c.Encode == nil {
				return nil, fmt.Errorf("prompt_tuning_init is TEXT, and the model has no tokenizer")
			}
			text, err := c.Encode(own.Text)
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
