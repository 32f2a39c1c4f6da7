package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// The files of a model folder that have a part in how text becomes token ids.
const (
	fileName           = "tokenizer.json"
	configName         = "tokenizer_config.json"
	addedName          = "added_tokens.json"
	specialMapName     = "special_tokens_map.json"
	generationName     = "generation_config.json"
	modelConfigName    = "config.json"
	maxConfig          = 16 << 20 // bytes of any of them but tokenizer.json
	maxTokensFromFiles = 1 << 16  // added by the files beside tokenizer.json
)

// Open reads the tokenizer of a folder as transformers' fast tokenizers do: tokenizer.json, then what the files beside it
// say of added and special tokens, of a space before the text and of BOS and EOS. It returns an error that wraps
// fs.ErrNotExist where the folder has no tokenizer.json. Remarks says what the other files changed.
func Open(fsys fs.FS) (*Tokenizer, error) {
	data, err := readFile(fsys, fileName, maxFile)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	s, err := readSettings(fsys)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := load(data, s.amend)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", fileName, err)
	}
	t.remarks = s.remarks
	configs := []struct {
		name string
		data []byte
	}{{configName, s.merged}, {generationName, nil}, {modelConfigName, nil}}
	for _, c := range configs {
		if c.data == nil {
			if c.data, err = readFile(fsys, c.name, maxConfig); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, fmt.Errorf("tokenizer: %w", err)
			}
		}
		if t, err = t.WithConfig(c.data); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return t, nil
}

// Remarks are messages for the person about how the tokenizer was read.
func (t *Tokenizer) Remarks() []message.Remark { return slices.Clone(t.remarks) }

// readFile reads a file of at most limit bytes.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	if info, err := fs.Stat(fsys, name); err == nil && info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, info.Size(), limit)
	}
	return fs.ReadFile(fsys, name)
}

// settings are the content of the other files of a tokenizer.
type settings struct {
	config  tokenizerConfig
	decoder bool           // added_tokens_decoder was there
	added   []settingToken // tokens that must be added tokens, in the order in which transformers adds them
	merged  []byte         // tokenizer_config.json with what special_tokens_map.json puts in its place
	remarks []message.Remark
}

// settingToken is a token that a file wants to be an added one.
type settingToken struct {
	addition
	file  string
	named bool // a special token by its role: if it is an added token already, that one stays as it is
	id    *int // the id that the file gives, nil for none
}

// tokenizerConfig are the keys of tokenizer_config.json that change ids, but for those that WithConfig reads.
type tokenizerConfig struct {
	Class        string                `json:"tokenizer_class"`
	PrefixSpace  *bool                 `json:"add_prefix_space"`
	SplitSpecial bool                  `json:"split_special_tokens"`
	Legacy       *bool                 `json:"legacy"`
	Decoder      map[string]namedToken `json:"added_tokens_decoder"`
	Additional   tokenList             `json:"additional_special_tokens"`
	Extra        tokenList             `json:"extra_special_tokens"`
	specialTokens
}

// specialTokens are the special tokens by their roles.
type specialTokens struct {
	BOS  namedToken `json:"bos_token"`
	EOS  namedToken `json:"eos_token"`
	Unk  namedToken `json:"unk_token"`
	Sep  namedToken `json:"sep_token"`
	Pad  namedToken `json:"pad_token"`
	CLS  namedToken `json:"cls_token"`
	Mask namedToken `json:"mask_token"`
}

func (s *specialTokens) all() []namedToken {
	return []namedToken{s.BOS, s.EOS, s.Unk, s.Sep, s.Pad, s.CLS, s.Mask}
}

// namedToken reads a token as "<s>", {"content": "<s>", "lstrip": …} or null.
type namedToken struct {
	addition
	stated bool // whether it is normalized is stated
}

func (n *namedToken) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	if data[0] != '{' {
		*n = namedToken{}
		return json.Unmarshal(data, &n.Content)
	}
	var flags struct {
		Content    string `json:"content"`
		Special    bool   `json:"special"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized *bool  `json:"normalized"`
	}
	if err := json.Unmarshal(data, &flags); err != nil {
		return err
	}
	n.addition = addition{
		Content: flags.Content, Special: flags.Special, SingleWord: flags.SingleWord, LStrip: flags.LStrip, RStrip: flags.RStrip,
		Normalized: !flags.Special,
	}
	if n.stated = flags.Normalized != nil; n.stated {
		n.Normalized = *flags.Normalized
	}
	return nil
}

// special is the token as a special one.
func (n namedToken) special() addition {
	a := n.addition
	a.Special, a.Normalized = true, n.stated && n.Normalized
	return a
}

// tokenList reads tokens from a list, from an object of names to tokens, or from null.
type tokenList []namedToken

func (l *tokenList) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return json.Unmarshal(data, (*[]namedToken)(l))
	}
	var named map[string]namedToken
	if err := json.Unmarshal(data, &named); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		*l = append(*l, named[name])
	}
	return nil
}

// readSettings reads the files beside tokenizer.json; each may be absent.
func readSettings(fsys fs.FS) (*settings, error) {
	s := &settings{merged: []byte("{}")}
	data, err := readFile(fsys, configName, maxConfig)
	if err == nil {
		s.merged = data
		if err := decodeJSON(data, &s.config); err != nil {
			return nil, fmt.Errorf("%s: %w", configName, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.decoder = len(s.config.Decoder) > 0
	if err := s.fromDecoder(); err != nil {
		return nil, err
	}
	if err := s.fromSpecialMap(fsys); err != nil {
		return nil, err
	}
	if err := s.fromAddedTokens(fsys); err != nil {
		return nil, err
	}
	for _, n := range append(s.config.all(), slices.Concat(s.config.Additional, s.config.Extra)...) {
		if n.Content != "" {
			s.added = append(s.added, settingToken{addition: n.special(), file: configName, named: true})
		}
	}
	if len(s.added) > maxTokensFromFiles {
		return nil, fmt.Errorf("%s and the files beside it name %d tokens, more than the limit of %d", configName, len(s.added), maxTokensFromFiles)
	}
	return s, nil
}

// fromDecoder takes the tokens of added_tokens_decoder.
func (s *settings) fromDecoder() error {
	byID := map[int]namedToken{}
	for key, token := range s.config.Decoder {
		id, err := strconv.Atoi(key)
		if err != nil || id < 0 {
			return fmt.Errorf("%s: added_tokens_decoder has the key %q, which is no token id", configName, key)
		}
		if token.Content == "" {
			return fmt.Errorf("%s: added_tokens_decoder has no content for the id %d", configName, id)
		}
		byID[id] = token
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		s.added = append(s.added, settingToken{addition: byID[id].addition, file: configName, id: &id})
	}
	return nil
}

// fromSpecialMap takes what special_tokens_map.json says. Its roles (bos_token, …) take the place of tokenizer_config.json's
// where there is no added_tokens_decoder, as in transformers.
func (s *settings) fromSpecialMap(fsys fs.FS) error {
	data, err := readFile(fsys, specialMapName, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var more struct {
		specialTokens
		Additional tokenList `json:"additional_special_tokens"`
	}
	if !s.decoder {
		more.specialTokens = s.config.specialTokens
	}
	if err := decodeJSON(data, &more); err != nil {
		return fmt.Errorf("%s: %w", specialMapName, err)
	}
	s.config.Additional = append(s.config.Additional, more.Additional...)
	if s.decoder {
		return nil
	}
	s.config.specialTokens = more.specialTokens
	s.merged, err = overlaid(s.merged, data, "bos_token", "eos_token")
	return err
}

// fromAddedTokens takes the tokens of added_tokens.json. transformers does not read it beside an added_tokens_decoder; where
// it names a token that nobody else does, the model was trained with that token all the same.
func (s *settings) fromAddedTokens(fsys fs.FS) error {
	data, err := readFile(fsys, addedName, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var ids map[string]int
	if err := decodeJSON(data, &ids); err != nil {
		return fmt.Errorf("%s: %w", addedName, err)
	}
	isSpecial := map[string]bool{}
	for _, n := range append(s.config.all(), s.config.Additional...) {
		isSpecial[n.Content] = true
	}
	tokens := slices.SortedFunc(maps.Keys(ids), func(a, b string) int { return ids[a] - ids[b] })
	for _, token := range tokens {
		if token == "" || ids[token] < 0 {
			return fmt.Errorf("%s: token %q has the id %d", addedName, token, ids[token])
		}
		id := ids[token]
		a := addition{Content: token, Special: isSpecial[token], Normalized: !isSpecial[token]}
		s.added = append(s.added, settingToken{addition: a, file: addedName, id: &id, named: true}) // tokenizer.json's own entry stays
	}
	return nil
}

// overlaid is a JSON object with some keys, where other has them and not null, taken from other.
func overlaid(data, other []byte, keys ...string) ([]byte, error) {
	var base, over map[string]json.RawMessage
	if err := errors.Join(decodeJSON(data, &base), decodeJSON(other, &over)); err != nil {
		return nil, err
	}
	if base == nil {
		base = map[string]json.RawMessage{}
	}
	for _, key := range keys {
		if v, ok := over[key]; ok && string(v) != "null" {
			base[key] = v
		}
	}
	return json.Marshal(base)
}

// amend changes what tokenizer.json says by the settings, before it is built.
func (s *settings) amend(f *file) error {
	f.splitSpecial = s.config.SplitSpecial
	if err := s.addTokens(f); err != nil {
		return err
	}
	if s.config.PrefixSpace != nil {
		s.prefixSpace(f, *s.config.PrefixSpace)
	}
	return nil
}

// addTokens adds the tokens that only the settings name. Their ids are those that the tokenizers library gives: of the
// model's vocabulary where it has them, else the next free one.
func (s *settings) addTokens(f *file) error {
	var vocab map[string]int // decoded when it is needed
	at, highest := map[string]int{}, -1
	for i, a := range f.Added {
		at[a.Content], highest = i, max(highest, a.ID)
	}
	var unknown, ids []string
	for _, token := range s.added {
		if i, ok := at[token.Content]; ok {
			if !token.named { // its own flags take the place of those in tokenizer.json
				id := f.Added[i].ID
				f.Added[i] = token.addition
				f.Added[i].ID = id
			}
			continue
		}
		if vocab == nil && len(f.Model.Vocab) > 0 {
			if err := decodeJSON(f.Model.Vocab, &vocab); err != nil {
				return fmt.Errorf("model: vocab: %w", err)
			}
		}
		id, known := vocab[token.Content]
		if !known {
			id = max(highest+1, len(vocab))
		}
		token.ID = id
		at[token.Content], highest = len(f.Added), max(highest, id)
		f.Added = append(f.Added, token.addition)
		if token.id != nil && *token.id != id {
			s.remark("token_id_moved", "{file} gives {token} the id {said}: it becomes {id}, the next free one, as in transformers",
				"file", token.file, "token", token.Content, "said", *token.id, "id", id)
		}
		if !known {
			unknown, ids = append(unknown, token.Content), append(ids, strconv.Itoa(id))
		}
	}
	if len(unknown) > 0 {
		s.remark("tokens_added", "tokens that only the files beside tokenizer.json name are added: {tokens} with {ids}",
			"tokens", shortList(unknown), "ids", shortList(ids))
	}
	return nil
}

// prefixSpace sets whether a space is put before a text, for the tokenizer classes of transformers that use the key.
func (s *settings) prefixSpace(f *file, on bool) {
	if p := f.PreTokenizer; p != nil && p.Type == "ByteLevel" {
		if was := p.AddPrefix == nil || *p.AddPrefix; was != on {
			s.remark("prefix_space", "{file}: add_prefix_space is {value}, which counts more than tokenizer.json's", "file", configName, "value", on)
		}
		p.AddPrefix = &on
		return
	}
	if !strings.Contains(s.config.Class, "Llama") {
		return
	}
	if p := f.PreTokenizer; p != nil && p.Type == "Metaspace" {
		scheme, err := p.metaspace()
		if err != nil || (scheme != "never") == on {
			return
		}
		switch legacy := s.config.Legacy; {
		case !on:
			p.Scheme = "never"
		case legacy == nil || *legacy:
			p.Scheme = "always"
		default:
			p.Scheme = "first"
		}
	} else if !f.setPrepend(on) {
		return
	}
	f.setStrip(on)
	s.remark("prefix_space", "{file}: add_prefix_space is {value}, which counts more than tokenizer.json's", "file", configName, "value", on)
}

// setPrepend adds or removes the normalizer that puts "▁" before a text; false where nothing had to change.
func (f *file) setPrepend(on bool) bool {
	stages, err := flat(f.Normalizer)
	if err != nil {
		return false
	}
	has := slices.ContainsFunc(stages, func(s stage) bool { return s.Type == "Prepend" })
	mark := ""
	for _, s := range stages {
		if s.Type == "Replace" && s.Pattern.String != nil && *s.Pattern.String == " " {
			mark = s.Content
		}
	}
	switch {
	case has == on || on && mark == "":
		return false
	case on:
		stages = append([]stage{{Type: "Prepend", Prepend: mark}}, stages...)
	default:
		stages = slices.DeleteFunc(stages, func(s stage) bool { return s.Type == "Prepend" })
	}
	f.Normalizer = &stage{Type: "Sequence", Normalizers: stages}
	return true
}

// setStrip makes the decoder take one space off the start of a text, or leave it.
func (f *file) setStrip(on bool) {
	stages, err := flat(f.Decoder)
	if err != nil {
		return
	}
	stages = slices.DeleteFunc(stages, func(s stage) bool { return s.Type == "Strip" })
	if fused := slices.IndexFunc(stages, func(s stage) bool { return s.Type == "Fuse" }); fused >= 0 && on {
		stages = slices.Insert(stages, fused+1, stage{Type: "Strip", Content: " ", Start: 1})
	}
	if f.Decoder != nil && f.Decoder.Type == "Sequence" {
		f.Decoder = &stage{Type: "Sequence", Decoders: stages}
	}
}

func (s *settings) remark(code, text string, pairs ...any) {
	s.remarks = append(s.remarks, message.NewRemark(code, text, pairs...))
}

// shortList joins the first few words for a message.
func shortList(words []string) string {
	const shown = 5
	if len(words) <= shown {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), len(words)-shown)
}
