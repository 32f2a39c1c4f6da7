package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"
)

// Limits of what is read. The largest files known hold 256 Ki tokens and half a million merges in 35 MB.
const (
	maxFile   = 64 << 20 // bytes
	maxVocab  = 1 << 20  // one more than the highest id
	maxToken  = 1 << 12  // bytes of one token
	maxMerges = 1 << 20
	maxText   = 1 << 30 // bytes of a text to encode: places in it are kept in 32 bits
	maxStages = 32      // in one Sequence, nested ones counted in
	maxGrowth = 64      // how many times longer all Replaces together may make a text
)

// Load reads a tokenizer.json. name is used in errors.
func Load(data []byte, name string) (*Tokenizer, error) {
	t, err := load(data, func(*file) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", name, err)
	}
	return t, nil
}

// load builds the tokenizer of a file that amend may change first.
func load(data []byte, amend func(*file) error) (*Tokenizer, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%d bytes, more than the limit of %d", len(data), maxFile)
	}
	var f file
	if err := decodeJSON(data, &f); err != nil {
		return nil, err
	}
	if err := amend(&f); err != nil {
		return nil, err
	}
	t := &Tokenizer{bos: missing, mergers: &sync.Pool{New: func() any { return new(merger) }}}
	for _, part := range []struct {
		name string
		read func(*file) error
	}{
		{"model", t.loadVocab},
		{"added_tokens", t.loadAdded},
		{"normalizer", t.loadNormalizer},
		{"pre_tokenizer", t.loadPreTokenizer},
		{"model", t.loadMerges},
		{"added_tokens", t.loadMatchers},
		{"post_processor", t.loadTemplate},
		{"decoder", t.loadDecoder},
	} {
		if err := part.read(&f); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return t, nil
}

func refuse(what, name string) error {
	return fmt.Errorf("%s %q is not supported", what, name)
}

func (t *Tokenizer) loadVocab(f *file) error {
	m := &f.Model
	switch {
	case m.Type != "BPE" && m.Type != "":
		return fmt.Errorf("type %q is not supported, only BPE is", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return fmt.Errorf("dropout %g is not supported: it must be null", *m.Dropout)
	case m.Prefix != "":
		return refuse("continuing_subword_prefix", m.Prefix)
	case m.Suffix != "":
		return refuse("end_of_word_suffix", m.Suffix)
	case len(m.Vocab) == 0:
		return errors.New("vocab is missing")
	}
	var vocab map[string]int
	if err := decodeJSON(m.Vocab, &vocab); err != nil {
		return fmt.Errorf("vocab: %w", err)
	}
	if len(vocab) == 0 {
		return errors.New("vocab is empty")
	}
	t.model.vocab = make(map[string]int32, len(vocab))
	for token, id := range vocab {
		if err := t.define(token, id); err != nil {
			return fmt.Errorf("vocab: %w", err)
		}
		t.model.vocab[token] = int32(id)
	}
	return nil
}

// define gives a token its id. A second call with the same token must have the same id.
func (t *Tokenizer) define(token string, id int) error {
	if id < 0 || id >= maxVocab {
		return fmt.Errorf("token %.80q: id %d is not within 0 to %d", token, id, maxVocab-1)
	}
	if len(token) > maxToken {
		return fmt.Errorf("id %d: a token of %d bytes, more than the limit of %d", id, len(token), maxToken)
	}
	if had, ok := t.id(token); ok && had != id {
		return fmt.Errorf("token %q has two ids, %d and %d", token, had, id)
	}
	if id < len(t.tokens) && t.tokens[id] != "" && t.tokens[id] != token {
		a, b := t.tokens[id], token
		return fmt.Errorf("id %d has two tokens, %q and %q", id, min(a, b), max(a, b))
	}
	if id >= len(t.tokens) {
		t.tokens = append(t.tokens, make([]string, id+1-len(t.tokens))...)
	}
	t.tokens[id] = token
	return nil
}

func (t *Tokenizer) loadAdded(f *file) error {
	t.added, t.addedID = make(map[int]addition, len(f.Added)), make(map[string]int, len(f.Added))
	for i, a := range f.Added {
		if a.Content == "" {
			return fmt.Errorf("entry %d has no content", i)
		}
		if _, twice := t.added[a.ID]; twice {
			return fmt.Errorf("id %d is there twice", a.ID)
		}
		if err := t.define(a.Content, a.ID); err != nil {
			return err
		}
		t.added[a.ID], t.addedID[a.Content] = a, a.ID
	}
	return nil
}

func (t *Tokenizer) loadMatchers(f *file) error {
	for _, a := range f.Added {
		a.text = a.Content
		if a.Normalized {
			if a.text = t.normalize(newSpan(a.Content, false)).text; a.text == "" {
				return fmt.Errorf("%q is nothing after normalisation", a.Content)
			}
		}
		switch {
		case a.Special && f.splitSpecial: // in a text it is ordinary text
		case a.Normalized:
			t.normed.add(a)
		default:
			t.raw.add(a)
		}
		t.added[a.ID] = a
	}
	return nil
}

func (t *Tokenizer) loadNormalizer(f *file) error {
	stages, err := flat(f.Normalizer)
	if err != nil {
		return err
	}
	growth := 1
	for _, s := range stages {
		switch s.Type {
		case "Prepend":
			if s.Prepend == "" || len(s.Prepend) > maxToken {
				return fmt.Errorf("a Prepend of %d bytes, not 1 to %d", len(s.Prepend), maxToken)
			}
			t.normalizers = append(t.normalizers, prepending(s.Prepend))
		case "Replace":
			from, err := s.replaced(&growth)
			if err != nil {
				return err
			}
			t.normalizers = append(t.normalizers, replacing(from, s.Content))
		case "NFC":
			t.normalizers = append(t.normalizers, nfc)
		case "Lowercase":
			t.normalizers = append(t.normalizers, lowercase)
		case "Strip":
			t.normalizers = append(t.normalizers, stripping(s.StripLeft, s.StripRight))
		default:
			return refuse("type", s.Type)
		}
	}
	return nil
}

// replaced returns what a Replace looks for, which must be a plain string. growth, how many times longer a text may be
// after the Replaces so far, is multiplied by this one's part.
func (s *stage) replaced(growth *int) (string, error) {
	if s.Pattern.Regex != nil {
		return "", refuse("Replace of the regular expression", *s.Pattern.Regex)
	}
	if s.Pattern.String == nil || *s.Pattern.String == "" {
		return "", errors.New("a Replace without a pattern")
	}
	from := *s.Pattern.String
	if len(s.Content) > maxToken {
		return "", fmt.Errorf("a Replace by %d bytes, more than the limit of %d", len(s.Content), maxToken)
	}
	*growth *= max(1, (len(s.Content)+len(from)-1)/len(from))
	if *growth > maxGrowth {
		return "", fmt.Errorf("a Replace could make a text %d times longer, more than the limit of %d", *growth, maxGrowth)
	}
	return from, nil
}

func (t *Tokenizer) loadPreTokenizer(f *file) error {
	stages, err := flat(f.PreTokenizer)
	if err != nil {
		return err
	}
	for i, s := range stages {
		if t.model.byteLevel {
			return fmt.Errorf("%s after ByteLevel is not supported", s.Type)
		}
		switch s.Type {
		case "Split":
			split, err := s.splitter()
			if err != nil {
				return err
			}
			t.pre.splits = append(t.pre.splits, split)
		case "Punctuation":
			behavior := behaviors[s.Behavior]
			if s.Behavior == "" {
				behavior = behaviors["Isolated"]
			}
			if behavior == nil {
				return refuse("Punctuation with behavior", s.Behavior)
			}
			t.pre.splits = append(t.pre.splits, behavior(findRune(isPunctuation)))
		case "WhitespaceSplit":
			t.pre.splits = append(t.pre.splits, behaviors["Removed"](findRune(unicode.IsSpace)))
		case "Digits":
			split := splitNumbers
			if s.Individual {
				split = splitDigits
			}
			t.pre.splits = append(t.pre.splits, split)
		case "ByteLevel":
			t.model.byteLevel = true
			if s.AddPrefix == nil || *s.AddPrefix {
				if i > 0 {
					return errors.New("a ByteLevel with add_prefix_space after another stage is not supported")
				}
				t.pre.prefix = " "
			}
			if s.UseRegex == nil || *s.UseRegex {
				t.pre.splits = append(t.pre.splits, splitGPT2)
			}
		case "Metaspace":
			if len(stages) > 1 {
				return errors.New("a Metaspace beside another stage is not supported")
			}
			scheme, err := s.metaspace()
			if err != nil {
				return err
			}
			t.pre.space = s.Replacement
			if scheme != "never" {
				t.pre.prefix, t.pre.firstOnly = s.Replacement, scheme == "first"
			}
			if s.Split == nil || *s.Split {
				t.pre.splits = append(t.pre.splits, splitBefore(s.Replacement))
			}
		default:
			return refuse("type", s.Type)
		}
	}
	return nil
}

// splitter is what a Split does. A regular expression must be one of the known patterns. Each of them matches all of a text,
// piece after piece, so to isolate its matches and to remove what is between them are the same.
func (s *stage) splitter() (splitter, error) {
	behavior, ok := behaviors[s.Behavior]
	switch {
	case !ok:
		return nil, refuse("Split with behavior", s.Behavior)
	case s.Pattern.Regex != nil:
		split, ok := patterns[*s.Pattern.Regex]
		if !ok {
			return nil, refuse("Split by the regular expression", *s.Pattern.Regex)
		}
		if s.Behavior != "Isolated" && !(s.Behavior == "Removed" && s.Invert) {
			return nil, fmt.Errorf("a Split by a regular expression with behavior %q, invert %v is not supported, only Isolated, false and Removed, true are", s.Behavior, s.Invert)
		}
		return split, nil
	case s.Pattern.String == nil || *s.Pattern.String == "":
		return nil, errors.New("a Split without a pattern")
	case s.Invert:
		return nil, fmt.Errorf("a Split by %q with invert is not supported", *s.Pattern.String)
	}
	return behavior(findString(*s.Pattern.String)), nil
}

// metaspace checks a Metaspace and returns its prepend_scheme, which old files spell as add_prefix_space.
func (s *stage) metaspace() (string, error) {
	if s.Replacement == "" {
		return "", errors.New("a Metaspace without a replacement")
	}
	scheme := s.Scheme
	if scheme == "" {
		if scheme = "always"; s.AddPrefix != nil && !*s.AddPrefix {
			scheme = "never"
		}
	}
	if scheme != "always" && scheme != "first" && scheme != "never" {
		return "", refuse("Metaspace with prepend_scheme", scheme)
	}
	return scheme, nil
}

// loadMerges completes the model. It depends on the pre-tokenizer, which may turn bytes into characters.
func (t *Tokenizer) loadMerges(f *file) error {
	m := &t.model
	if len(f.Model.Merges) > maxMerges {
		return fmt.Errorf("%d merges, more than the limit of %d", len(f.Model.Merges), maxMerges)
	}
	if !m.byteLevel {
		m.setChars()
	}
	m.merges = newMergeTable(len(f.Model.Merges))
	for rank, pair := range f.Model.Merges {
		var ids [3]int32
		for i, token := range [...]string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := m.vocab[token]
			if !ok {
				return fmt.Errorf("merge %d (%.80q, %.80q): %.80q is not in the vocabulary", rank, pair[0], pair[1], token)
			}
			ids[i] = id
		}
		m.merges.set(ids[0], ids[1], merge{rank: int32(rank), id: ids[2]})
	}
	m.fallback, m.fuseUnk, m.unk = f.Model.ByteFallback, f.Model.FuseUnk, missing
	if u := f.Model.Unk; u != nil && *u != "" {
		id, ok := m.vocab[*u]
		if !ok {
			return fmt.Errorf("unk_token %q is not in the vocabulary", *u)
		}
		m.unk = id
	}
	for b := range m.bytes {
		spelling := fmt.Sprintf("<0x%02X>", b)
		if m.byteLevel {
			spelling = string(byteRunes[b])
		}
		m.bytes[b] = missing
		if id, ok := m.vocab[spelling]; ok {
			m.bytes[b] = id
		}
	}
	if !f.Model.IgnoreMerges { // else part of a piece could be a token of m.whole where the piece is none
		m.mark = m.uncrossed(f.Model.Merges)
	} else {
		m.whole = make(map[string]int32, len(m.vocab))
		for token, id := range m.vocab {
			if raw, ok := appendBytes(nil, token); m.byteLevel && ok {
				token = string(raw)
			} else if m.byteLevel {
				continue
			}
			m.whole[token] = id
		}
	}
	return nil
}

// uncrossed returns "▁" if it is a token and no merge makes a token that has it after another character, else "".
func (m *bpe) uncrossed(merges []mergePair) string {
	const mark = "\u2581"
	if _, ok := m.vocab[mark]; !ok || m.byteLevel {
		return ""
	}
	for _, pair := range merges {
		if strings.Contains(strings.TrimLeft(pair[0]+pair[1], mark), mark) {
			return ""
		}
	}
	return mark
}

func (t *Tokenizer) loadTemplate(f *file) error {
	stages, err := flat(f.Post)
	if err != nil {
		return err
	}
	for _, s := range stages {
		switch s.Type {
		case "ByteLevel": // only trims offsets
		case "TemplateProcessing":
			head, tail, err := s.template(len(t.tokens))
			if err != nil {
				return fmt.Errorf("the template: %w", err)
			}
			t.head, t.tail = append(head, t.head...), append(t.tail, tail...)
		default:
			return refuse("type", s.Type)
		}
	}
	return nil
}

// template returns the ids that go before and after a single text.
func (s *stage) template(vocab int) (head, tail []int, err error) {
	seen := false
	for i, part := range s.Single {
		switch {
		case part.Special != nil:
			special, ok := s.Specials[part.Special.ID]
			if !ok {
				return nil, nil, fmt.Errorf("single: %q is not among special_tokens", part.Special.ID)
			}
			for _, id := range special.IDs {
				if id < 0 || id >= vocab {
					return nil, nil, fmt.Errorf("special_tokens: %q: id %d is not in the vocabulary", part.Special.ID, id)
				}
			}
			if seen {
				tail = append(tail, special.IDs...)
			} else {
				head = append(head, special.IDs...)
			}
		case part.Sequence != nil && part.Sequence.ID == "A" && !seen:
			seen = true
		default:
			return nil, nil, fmt.Errorf("single: part %d is neither a special token nor the one sequence A", i)
		}
	}
	if !seen {
		return nil, nil, errors.New("single: the text itself (sequence A) is missing")
	}
	return head, tail, nil
}

func (t *Tokenizer) loadDecoder(f *file) error {
	stages, err := flat(f.Decoder)
	if err != nil {
		return err
	}
	if f.Decoder == nil {
		t.form.spaced = true
		return nil
	}
	if len(stages) == 1 {
		switch s := stages[0]; s.Type {
		case "ByteLevel":
			t.form.bytes = true
			return nil
		case "Metaspace":
			scheme, err := s.metaspace()
			t.form.replacement, t.form.dropFirst = s.Replacement, scheme != "never"
			return err
		}
	}
	order := map[string]int{"Replace": 1, "ByteFallback": 2, "Fuse": 3, "Strip": 4}
	before, growth := stage{}, 1
	for _, s := range stages {
		if order[s.Type] == 0 {
			return refuse("type", s.Type)
		}
		if order[s.Type] < order[before.Type] || s.Type == "Strip" && before.Type != "Fuse" {
			return fmt.Errorf("%s after %q is not supported, only Replace, ByteFallback, Fuse, Strip in this order is", s.Type, before.Type)
		}
		before = s
		switch s.Type {
		case "Replace":
			from, err := s.replaced(&growth)
			if err != nil {
				return err
			}
			t.form.replace = append(t.form.replace, [2]string{from, s.Content})
		case "ByteFallback":
			t.form.fallback = true
		case "Strip":
			if s.Stop != 0 || s.Content == "" || s.Start < 0 {
				return fmt.Errorf("a Strip of %q, start %d, stop %d is not supported: it must strip from the start only", s.Content, s.Start, s.Stop)
			}
			t.form.strip, t.form.stripMax = s.Content, s.Start
		}
	}
	return nil
}
