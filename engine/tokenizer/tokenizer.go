// Package tokenizer reads Hugging Face tokenizer.json files of the byte-pair family and turns text into token ids and
// back, id for id as the original library does.
//
// Two sorts of file load: SentencePiece-style BPE with byte fallback (Llama 2, TinyLlama, Mistral) and byte-level BPE
// (GPT-2, Llama 3, Qwen 2, SmolLM). A text goes through the stages of the file in this order:
//
//	added tokens found in the raw text → normalizer → added tokens found in normalised text
//	→ pre-tokenizer pieces → byte-pair merges in each piece → post-processor's template
//
// Load returns an error that names any other feature of a file.
package tokenizer

import (
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"llamatab/engine/message"
)

// A Tokenizer is immutable and may be used by several goroutines at once.
type Tokenizer struct {
	tokens  []string         // by id; "" where an id has no token
	added   map[int]addition // the added tokens among them, which the model may not know
	addedID map[string]int   // and their ids

	raw, normed matcher // added tokens matched before and after normalisation
	normalizers []normalizer
	pre         preTokenizer
	model       bpe
	mergers     *sync.Pool // of *merger, which remember words from one text to the next
	head, tail  []int      // what the template puts around a text
	form        form       // how tokens become text

	bos int // -1 when unknown
	eos []int

	remarks []message.Remark
}

// Encode returns the token ids of text. Added tokens written out in the text ("<|im_end|>") always become their id;
// special also applies the post-processor's template, which for most models puts BOS first.
// Text must be valid UTF-8.
func (t *Tokenizer) Encode(text string, special bool) ([]int, error) {
	e := encoding{ids: make([]int, 0, len(text)/3+len(t.head)+len(t.tail)+8)} // most texts have more than three bytes a token
	if special {
		e.ids = append(e.ids, t.head...)
	}
	if err := t.encode(text, &e); err != nil {
		return nil, err
	}
	if special {
		e.ids = append(e.ids, t.tail...)
	}
	return e.ids, nil
}

// EncodeOnce is Encode with the template, but a text that begins or ends with the template's own tokens, as a rendered
// chat does, does not get them a second time: one BOS and one EOS.
func (t *Tokenizer) EncodeOnce(text string) ([]int, error) {
	ids, err := t.Encode(text, false)
	if err != nil {
		return nil, err
	}
	if len(ids) < len(t.tail) || !slices.Equal(ids[len(ids)-len(t.tail):], t.tail) {
		ids = append(ids, t.tail...)
	}
	if len(ids) < len(t.head) || !slices.Equal(ids[:len(t.head)], t.head) {
		ids = slices.Concat(t.head, ids)
	}
	return ids, nil
}

// EncodeOffsets is Encode without the template, and gives for each token the bytes [from, to) of text it stands for.
// Tokens that split a character each cover the whole character. A "▁" that was added before the text covers no bytes.
func (t *Tokenizer) EncodeOffsets(text string) (ids []int, offsets [][2]int, err error) {
	e := encoding{wanted: true}
	if err := t.encode(text, &e); err != nil {
		return nil, nil, err
	}
	return e.ids, e.offsets, nil
}

// encoding collects tokens, with their places in the text when those are wanted.
type encoding struct {
	ids     []int
	offsets [][2]int
	wanted  bool
}

// add appends a token that stands for bytes [i,j) of s.
func (e *encoding) add(id int, s span, i, j int) {
	e.ids = append(e.ids, id)
	if e.wanted {
		e.offsets = append(e.offsets, s.source(i, j))
	}
}

func (t *Tokenizer) encode(text string, e *encoding) error {
	if len(text) > maxText {
		return fmt.Errorf("tokenizer: a text of %d bytes: at most %d are encoded at once; split it", len(text), maxText)
	}
	if i := invalidUTF8(text); i >= 0 {
		return fmt.Errorf("tokenizer: the text is not valid UTF-8: byte %d is 0x%02X", i, text[i])
	}
	m := t.mergers.Get().(*merger)
	defer t.mergers.Put(m)
	m.bpe = &t.model
	return t.raw.split(newSpan(text, e.wanted), e, func(s span) error {
		return t.normed.split(t.normalize(s), e, func(s span) error {
			return t.pre.split(s, func(s span) error { return m.encode(s, e) })
		})
	})
}

// invalidUTF8 returns the index of the first byte that is not part of a valid encoding, or -1.
func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
}

// VocabSize is one more than the highest id: the least number of rows the embedding must have.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// Token returns the token of an id, as it is in the file.
func (t *Tokenizer) Token(id int) (string, bool) {
	if id < 0 || id >= len(t.tokens) || t.tokens[id] == "" {
		return "", false
	}
	return t.tokens[id], true
}

// Special returns the id of the added token with exactly this content, such as "<|im_end|>".
func (t *Tokenizer) Special(content string) (int, bool) {
	id, ok := t.addedID[content]
	return id, ok
}

// IsSpecial tells whether id is of a special token, such as BOS, which stands for no text.
func (t *Tokenizer) IsSpecial(id int) bool { return t.added[id].Special }

// id returns the id of any token, as the file spells it.
func (t *Tokenizer) id(token string) (int, bool) {
	if id, ok := t.addedID[token]; ok {
		return id, true
	}
	id, ok := t.model.vocab[token]
	return int(id), ok
}

// BOS returns the id that begins a sequence, if a file of WithConfig names one.
func (t *Tokenizer) BOS() (int, bool) { return max(t.bos, 0), t.bos >= 0 }

// EOS returns the id that ends a sequence, if a file of WithConfig names one.
func (t *Tokenizer) EOS() (int, bool) {
	if len(t.eos) == 0 {
		return 0, false
	}
	return t.eos[0], true
}

// Stops returns all ids at which generation ends: EOS first, then the others in the files of WithConfig.
func (t *Tokenizer) Stops() []int { return append([]int(nil), t.eos...) }
