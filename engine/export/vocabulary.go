package export

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"

	"llamatab/engine/gguf"
	"llamatab/engine/pretrained"
	"llamatab/engine/tokenizer"
)

// splittings are llama.cpp's names of the pre-tokenizers. Those of Llama 3 differ only in whether a piece that is a token becomes that
// token before any merge.
var splittings = map[tokenizer.Splitting]string{tokenizer.SplitGPT2: "gpt-2", tokenizer.SplitDigits: "smollm", tokenizer.SplitLlama3: "llama-bpe", tokenizer.SplitQwen2: "qwen2"}

// kinds are the kinds of tokens in GGUF.
var kinds = map[tokenizer.Kind]int32{
	tokenizer.Unused: gguf.TokenUnused, tokenizer.Normal: gguf.TokenNormal, tokenizer.Special: gguf.TokenControl, tokenizer.Added: gguf.TokenUserDefined,
	tokenizer.Unknown: gguf.TokenUnknown, tokenizer.Byte: gguf.TokenByte,
}

// voice is what a program needs to know to talk with a model.
type voice struct {
	template string // Jinja, "" for none
	stops    []int  // tokens that end an answer, the end of a turn first
	stopText []string
}

// tokenizerKeys are the keys of the tokenizer. A tokenizer that llama.cpp would not reproduce token for token is refused: a wrong
// pre-tokenizer gives other tokens without a word.
func tokenizerKeys(m *pretrained.Model) ([]gguf.KeyValue, *voice, error) {
	folder := m.Files.Tokenizer
	if folder == nil {
		folder = m.Files.Model
	}
	if folder == nil || m.Tokenizer == nil {
		return nil, nil, errors.New("the model folder has no tokenizer.json, and a GGUF file holds the tokenizer")
	}
	v, err := tokenizer.ReadVocabulary(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.New("the model folder has no tokenizer.json, and a GGUF file holds the tokenizer")
	} else if err != nil {
		return nil, nil, fmt.Errorf("GGUF cannot express it: %w", err)
	}
	if len(v.Tokens) > m.Decoder.Vocab {
		return nil, nil, fmt.Errorf("tokenizer.json has ids up to %d, and the model has rows for %d: llama.cpp refuses such a file", len(v.Tokens)-1, m.Decoder.Vocab)
	}
	keys, err := piecesKeys(v, m.Decoder.Vocab)
	if err != nil {
		return nil, nil, err
	}
	talk, err := voiceOf(m)
	if err != nil {
		return nil, nil, err
	}
	add := func(key string, value any) { keys = append(keys, gguf.KeyValue{Key: key, Value: value}) }
	if id, ok := v.BOS(); ok {
		add(gguf.KeyBOS, uint32(id))
	}
	if len(talk.stops) > 0 {
		add(gguf.KeyEOS, uint32(talk.stops[0]))
		if talk.template != "" {
			add(gguf.KeyEOT, uint32(talk.stops[0]))
		}
		var ids []int32
		for _, id := range talk.stops {
			ids = append(ids, int32(id))
		}
		add(gguf.KeyEOSIDs, ids)
	}
	if id := slices.Index(v.Kinds, tokenizer.Unknown); id >= 0 {
		add(gguf.KeyUnknown, uint32(id))
	}
	if p := m.Decoder.PadToken; p != nil && int(*p) < m.Decoder.Vocab {
		add(gguf.KeyPadding, uint32(*p))
	}
	add(gguf.KeyAddBOS, v.Begins)
	add(gguf.KeyAddEOS, v.Ends)
	if !v.ByteLevel {
		add(gguf.KeyAddSpace, v.SpacePrefix)
	}
	if talk.template != "" {
		add(gguf.KeyChatTemplate, talk.template)
	}
	return keys, talk, nil
}

// piecesKeys are the tokens and how they are put together. rows is the number of rows of the embedding: ids without a token get a name
// of their own.
func piecesKeys(v *tokenizer.Vocabulary, rows int) ([]gguf.KeyValue, error) {
	tokens, types := make([]string, rows), make([]int32, rows)
	for id := range rows {
		tokens[id], types[id] = fmt.Sprintf("[PAD%d]", id), gguf.TokenUnused
		if id < len(v.Tokens) && v.Kinds[id] != tokenizer.Unused {
			tokens[id], types[id] = v.Tokens[id], kinds[v.Kinds[id]]
		}
	}
	keys := []gguf.KeyValue{{Key: gguf.KeyTokens, Value: tokens}, {Key: gguf.KeyTokenTypes, Value: types}}
	if !v.ByteLevel {
		if v.PrefixOnce && v.SpacePrefix {
			return nil, errors.New("the tokenizer puts a space before a text's first word alone, and llama.cpp puts one after each special token as well")
		}
		if err := scored(v); err != nil {
			return nil, err
		}
		keys = append(keys, gguf.KeyValue{Key: gguf.KeyTokenizer, Value: "llama"}, gguf.KeyValue{Key: gguf.KeyPre, Value: "default"})
		return append(keys, gguf.KeyValue{Key: gguf.KeyScores, Value: scores(v, tokens)}), nil
	}
	pre := splittings[v.Split]
	switch {
	case v.Split == tokenizer.SplitLlama3 && !v.WholeFirst:
		pre = "smaug-bpe"
	case v.WholeFirst && v.Split != tokenizer.SplitLlama3:
		return nil, fmt.Errorf("llama.cpp knows no pre-tokenizer with %s's pattern and ignore_merges", v.Split)
	}
	var merges []string
	for _, pair := range v.Merges {
		merges = append(merges, pair[0]+" "+pair[1])
	}
	return append(keys, gguf.KeyValue{Key: gguf.KeyTokenizer, Value: "gpt2"}, gguf.KeyValue{Key: gguf.KeyPre, Value: pre}, gguf.KeyValue{Key: gguf.KeyMerges, Value: merges}), nil
}

// scored reports why llama.cpp would not put pieces together as the merges do, nil where it would. It joins any two neighbours that make
// a token, the token with the highest score first. So the merges must be all pairs of tokens that make a token, as those are that come
// from SentencePiece, and all merges of one token must stand together.
func scored(v *tokenizer.Vocabulary) error {
	if v.WholeFirst {
		return errors.New("llama.cpp knows no tokenizer of SentencePiece's form with ignore_merges")
	}
	token := map[string]bool{}
	for id, text := range v.Tokens {
		token[text] = v.Kinds[id] != tokenizer.Unused
	}
	pairs := 0
	for id, text := range v.Tokens {
		if v.Kinds[id] != tokenizer.Normal {
			continue
		}
		for i := range text {
			if i > 0 && token[text[:i]] && token[text[i:]] {
				pairs++
			}
		}
	}
	made, last := map[string]bool{}, ""
	for _, pair := range v.Merges {
		whole := pair[0] + pair[1]
		if whole != last && made[whole] {
			return fmt.Errorf("the merges that make %q do not stand together, and llama.cpp knows one rank for a token", whole)
		}
		made[whole], last = true, whole
	}
	if pairs != len(v.Merges) {
		return fmt.Errorf("the tokenizer has %d merges, and llama.cpp would join %d pairs of its tokens", len(v.Merges), pairs)
	}
	return nil
}

// never is the score of a token that no merge makes and no pair of tokens either.
const never = -1e9

// scores gives each token of a tokenizer in SentencePiece's manner minus the rank of the first merge that makes it, so that llama.cpp,
// which joins the pair with the highest score first, joins in the order of the merges.
func scores(v *tokenizer.Vocabulary, tokens []string) []float32 {
	rank := map[string]int{}
	for i, pair := range v.Merges {
		if _, ok := rank[pair[0]+pair[1]]; !ok {
			rank[pair[0]+pair[1]] = i
		}
	}
	all := make([]float32, len(tokens))
	for id, token := range tokens {
		if id >= len(v.Kinds) || v.Kinds[id] != tokenizer.Normal {
			continue
		}
		if i, ok := rank[token]; ok {
			all[id] = -float32(i)
		} else {
			all[id] = never
		}
	}
	return all
}

// generation finds the tags around what the assistant writes. Only Hugging Face's renderers know them.
var generation = regexp.MustCompile(`\{%(-?)\s*(end)?generation\s*(-?)%\}`)

// plainTemplate is a chat template without generation tags, with the same text and white space.
func plainTemplate(jinja string) string {
	return generation.ReplaceAllStringFunc(jinja, func(tag string) string {
		m := generation.FindStringSubmatch(tag)
		if m[2] != "" {
			return "{%" + m[1] + " endif " + m[3] + "%}"
		}
		return "{%" + m[1] + " if true " + m[3] + "%}"
	})
}

// voiceOf reads the chat template of a model and the tokens that end an answer. The first of those is the end of a turn where there is a
// template: llama.cpp stops there, and would write on with another one.
func voiceOf(m *pretrained.Model) (*voice, error) {
	v := &voice{stops: m.Tokenizer.Stops()}
	if len(m.ChatNames()) > 0 {
		how, err := m.Chat("", false)
		if err != nil {
			return nil, err
		}
		v.template, v.stops = plainTemplate(how.Template.Jinja), how.Stops
		if id, ok := m.Tokenizer.Special(how.Template.EndOfTurn()); ok {
			v.stops = append([]int{id}, slices.DeleteFunc(slices.Clone(v.stops), func(i int) bool { return i == id })...)
		}
	}
	for _, id := range v.stops {
		if text, ok := m.Tokenizer.Token(id); ok {
			v.stopText = append(v.stopText, text)
		}
	}
	return v, nil
}
