package tokenizer

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Splitting names how a byte-level tokenizer cuts a text into the pieces that merges do not cross.
type Splitting string

// The ways that are known by name.
const (
	SplitGPT2   Splitting = "GPT-2"   // GPT-2's pattern
	SplitDigits Splitting = "digits"  // each digit alone, then GPT-2's pattern
	SplitLlama3 Splitting = "Llama 3" // Llama 3's pattern
	SplitQwen2  Splitting = "Qwen 2"  // Qwen 2's pattern
)

// Kind says what a token is.
type Kind int

// The kinds of tokens.
const (
	Unused  Kind = iota // an id without a token
	Normal              // of the vocabulary
	Special             // an added token that stands for no text, such as BOS
	Added               // an added token that stands for its own text
	Unknown             // stands for what no other token can spell
	Byte                // <0x00> to <0xFF> of a tokenizer with byte fallback
)

// Vocabulary is all that a tokenizer is made of, for those who write it in the format of another program.
type Vocabulary struct {
	*Tokenizer
	Tokens []string // by id
	Kinds  []Kind   // by id
	Merges [][2]string

	ByteLevel    bool      // else of SentencePiece's form, with byte fallback
	Split        Splitting // where ByteLevel is set
	WholeFirst   bool      // a piece that is a token becomes that token before any merge (ignore_merges)
	SpacePrefix  bool      // a space is put before a text
	PrefixOnce   bool      // only at its very start, not behind special tokens
	Begins, Ends bool      // BOS is put before a text, EOS behind it
}

// ReadVocabulary reads the tokenizer of a folder in parts. The error says which part of it has no name that other programs know.
func ReadVocabulary(fsys fs.FS) (*Vocabulary, error) {
	t, err := Open(fsys)
	if err != nil {
		return nil, err
	}
	s, err := readSettings(fsys)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	data, err := readFile(fsys, fileName, maxFile)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	var f file
	if err := decodeJSON(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", fileName, err)
	}
	if err := s.amend(&f); err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", fileName, err)
	}
	v := &Vocabulary{Tokenizer: t, ByteLevel: t.model.byteLevel, WholeFirst: f.Model.IgnoreMerges}
	for _, pair := range f.Model.Merges {
		v.Merges = append(v.Merges, pair)
	}
	if err := v.readTokens(&f); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if err := v.readSplitting(&f); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if err := v.readEnds(); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return v, nil
}

// readTokens lists the tokens and what they are.
func (v *Vocabulary) readTokens(f *file) error {
	t := v.Tokenizer
	v.Tokens, v.Kinds = slices.Clone(t.tokens), make([]Kind, len(t.tokens))
	for id, token := range t.tokens {
		a, added := t.added[id]
		switch {
		case token == "":
		case t.model.unk == int32(id):
			v.Kinds[id] = Unknown
		case added && (a.LStrip || a.RStrip || a.SingleWord):
			return fmt.Errorf("the added token %q takes the space beside it or stands only between words (lstrip, rstrip, single_word)", token)
		case added && a.Special:
			v.Kinds[id] = Special
		case added:
			v.Kinds[id] = Added
		case !t.model.byteLevel && slices.Contains(t.model.bytes[:], int32(id)):
			v.Kinds[id] = Byte
		default:
			v.Kinds[id] = Normal
		}
	}
	if f.splitSpecial {
		return fmt.Errorf("special tokens are spelt like other text (split_special_tokens)")
	}
	return nil
}

// readSplitting finds the name of how a text is cut, and whether a space is put before it.
func (v *Vocabulary) readSplitting(f *file) error {
	normal, err := flat(f.Normalizer)
	if err != nil {
		return err
	}
	cuts, err := flat(f.PreTokenizer)
	if err != nil {
		return err
	}
	if !v.ByteLevel {
		return v.readSentencePiece(normal, cuts)
	}
	for _, s := range normal {
		if s.Type != "NFC" { // other programs leave it out, and nearly every text is in this form already
			return fmt.Errorf("a byte-level tokenizer with the normalizer %s", s.Type)
		}
	}
	last := cuts[len(cuts)-1] // it is the ByteLevel
	if v.Tokenizer.pre.prefix != "" {
		return fmt.Errorf("a byte-level tokenizer that puts a space before a text (add_prefix_space)")
	}
	pattern := last.UseRegex == nil || *last.UseRegex
	switch {
	case len(cuts) == 1 && pattern:
		v.Split = SplitGPT2
	case len(cuts) == 2 && cuts[0].Type == "Digits" && cuts[0].Individual && pattern:
		v.Split = SplitDigits
	case len(cuts) == 2 && cuts[0].Type == "Split" && cuts[0].Pattern.Regex != nil && !pattern:
		switch *cuts[0].Pattern.Regex {
		case PatternLlama3:
			v.Split = SplitLlama3
		case PatternQwen2:
			v.Split = SplitQwen2
		case PatternGPT2:
			v.Split = SplitGPT2
		}
	}
	if v.Split == "" {
		var names []string
		for _, s := range cuts {
			name := s.Type
			if s.Pattern.Regex != nil {
				name += " by " + *s.Pattern.Regex
			}
			names = append(names, name)
		}
		return fmt.Errorf("the pre-tokenizer %s", strings.Join(names, ", then "))
	}
	return nil
}

// readSentencePiece accepts the two forms of a tokenizer in SentencePiece's manner: a normalizer that turns spaces into "▁" and no
// pre-tokenizer, or a Metaspace whose cuts no merge would cross.
func (v *Vocabulary) readSentencePiece(normal, cuts []stage) error {
	const mark = "▁"
	for _, id := range v.Tokenizer.model.bytes {
		if !v.Tokenizer.model.fallback || id == missing {
			return fmt.Errorf("a tokenizer of SentencePiece's form without a token for every byte (byte_fallback)")
		}
	}
	replaces := false
	for _, s := range normal {
		switch {
		case s.Type == "Prepend" && s.Prepend == mark:
			v.SpacePrefix = true
		case s.Type == "Replace" && s.Pattern.String != nil && *s.Pattern.String == " " && s.Content == mark:
			replaces = true
		default:
			return fmt.Errorf("the normalizer %s", s.Type)
		}
	}
	for _, s := range cuts {
		if s.Type != "Metaspace" || s.Replacement != mark {
			return fmt.Errorf("the pre-tokenizer %s", s.Type)
		}
		if splits := s.Split == nil || *s.Split; splits && v.Tokenizer.model.mark != mark {
			return fmt.Errorf("a Metaspace that cuts words which merges would join")
		}
		scheme, err := s.metaspace()
		if err != nil {
			return err
		}
		replaces, v.SpacePrefix, v.PrefixOnce = true, scheme != "never", scheme == "first"
	}
	if !replaces {
		return fmt.Errorf("a tokenizer that keeps spaces as they are and is not byte-level")
	}
	return nil
}

// readEnds reads what the post-processor puts around a text: BOS before it, EOS behind it, or neither.
func (v *Vocabulary) readEnds() error {
	t := v.Tokenizer
	bos, hasBOS := t.BOS()
	eos, hasEOS := t.EOS()
	switch {
	case len(t.head) == 0:
	case len(t.head) == 1 && hasBOS && t.head[0] == bos:
		v.Begins = true
	default:
		return fmt.Errorf("the post-processor puts other tokens than BOS before a text")
	}
	switch {
	case len(t.tail) == 0:
	case len(t.tail) == 1 && hasEOS && t.tail[0] == eos:
		v.Ends = true
	default:
		return fmt.Errorf("the post-processor puts other tokens than EOS behind a text")
	}
	return nil
}
