package gguf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"llamatab/engine/tokenizer"
)

// tokens is the tokenizer of a file.
type tokens struct {
	model, pre     string
	unsure         bool // pre does not say how text is cut
	texts          []string
	types          []int64 // empty: all are normal
	scores         []float64
	merges         []string
	bos, eos, unk  int // -1 for none
	pad            int
	ends           []int
	addBOS, addEOS *bool
	space          bool // put before a text
	templates      any  // a text, or a list of named ones; nil for none
}

// readTokens reads the keys of the tokenizer.
func readTokens(k keys) (t *tokens, err error) {
	t = &tokens{space: true}
	if t.model, err = k.text(KeyTokenizer); err != nil {
		return nil, err
	}
	if t.model == "none" {
		t.model = ""
	}
	if t.pre, err = k.text(KeyPre); err != nil {
		return nil, err
	}
	t.texts, _ = k.values[KeyTokens].([]string)
	t.types, _ = k.values[KeyTokenTypes].([]int64)
	t.scores, _ = k.values[KeyScores].([]float64)
	t.merges, _ = k.values[KeyMerges].([]string)
	if unsigned, ok := k.values[KeyTokenTypes].([]uint64); ok {
		for _, kind := range unsigned {
			t.types = append(t.types, int64(min(kind, 1<<20)))
		}
	}
	if t.bos, err = t.id(k, KeyBOS, 1); err != nil {
		return nil, err
	}
	if t.eos, err = t.id(k, KeyEOS, 2); err != nil {
		return nil, err
	}
	if t.unk, err = t.id(k, KeyUnknown, 0); err != nil {
		return nil, err
	}
	eot, err := t.id(k, KeyEOT, -1)
	if err != nil {
		return nil, err
	}
	all, err := t.ids(k, KeyEOSIDs)
	if err != nil {
		return nil, err
	}
	for _, id := range append([]int{t.eos, eot}, all...) {
		if id >= 0 && !slices.Contains(t.ends, id) {
			t.ends = append(t.ends, id)
		}
	}
	if t.pad, err = t.id(k, KeyPadding, -1); err != nil {
		return nil, err
	}
	for key, to := range map[string]**bool{KeyAddBOS: &t.addBOS, KeyAddEOS: &t.addEOS} {
		if v, ok := k.values[key].(bool); ok {
			*to = &v
		}
	}
	if v, ok := k.values[KeyAddSpace].(bool); ok {
		t.space = v
	}
	_, known := pres[t.pre]
	t.unsure = t.model == "gpt2" && known && (t.pre == "" || t.pre == "default")
	return t, t.readTemplates(k)
}

// id is a token id. The programs that read GGUF know the ids of SentencePiece where the file does not give them.
func (t *tokens) id(k keys, key string, sentencePiece int) (int, error) {
	if v, ok := k.values[key]; ok && (v == uint64(1<<32-1) || v == int64(-1)) { // none
		return -1, nil
	}
	id, present, err := k.integer(key)
	if err != nil {
		return 0, err
	}
	if !present {
		if id = -1; t.model == "llama" {
			id = sentencePiece
		}
	}
	if id >= len(t.texts) {
		if present && t.model != "" {
			return 0, fmt.Errorf("%s is %d, and there are %d tokens", key, id, len(t.texts))
		}
		id = -1
	}
	return id, nil
}

// ids are the token ids of a list, nil where the key is absent.
func (t *tokens) ids(k keys, key string) (all []int, err error) {
	take := func(id uint64) {
		if id >= uint64(len(t.texts)) && err == nil {
			err = fmt.Errorf("%s has %d, and there are %d tokens", key, int64(id), len(t.texts))
		}
		all = append(all, int(id))
	}
	switch list := k.values[key].(type) {
	case nil:
	case []uint64:
		for _, id := range list {
			take(id)
		}
	case []int64:
		for _, id := range list {
			take(uint64(id)) // a negative one is too large
		}
	default:
		err = fmt.Errorf("%s is no list of whole numbers", key)
	}
	return all, err
}

// readTemplates reads the chat template and those with names.
func (t *tokens) readTemplates(k keys) error {
	text, err := k.text(KeyChatTemplate)
	if err != nil {
		return err
	}
	if text != "" {
		t.templates = text
	}
	names, _ := k.values["tokenizer.chat_templates"].([]string)
	var list []map[string]string
	for _, name := range names {
		named, err := k.text(KeyChatTemplate + "." + name)
		if err != nil {
			return err
		}
		if named != "" {
			list = append(list, map[string]string{"name": name, "template": named})
		}
	}
	if len(list) == 0 {
		return nil
	}
	if text != "" {
		list = append([]map[string]string{{"name": "default", "template": text}}, list...)
	}
	t.templates = list
	return nil
}

// generation is generation_config.json.
func (t *tokens) generation() []byte {
	object := map[string]any{}
	if t.bos >= 0 {
		object["bos_token_id"] = t.bos
	}
	if len(t.ends) > 0 {
		object["eos_token_id"] = t.ends
	}
	return encode(object)
}

// config is tokenizer_config.json.
func (t *tokens) config() []byte {
	object := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast"}
	for key, id := range map[string]int{"bos_token": t.bos, "eos_token": t.eos} {
		if id >= 0 {
			object[key] = t.texts[id]
		}
	}
	addBOS := t.addBOS
	if addBOS == nil {
		byDefault := t.model == "llama" || pres[t.pre].bos
		addBOS = &byDefault
	}
	if t.bos >= 0 {
		object["add_bos_token"] = *addBOS
	}
	if t.addEOS != nil && t.eos >= 0 {
		object["add_eos_token"] = *t.addEOS
	}
	if t.templates != nil {
		object["chat_template"] = t.templates
	}
	return encode(object)
}

// encode is the JSON of what always has one.
func encode(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return data
}

// object is an object of JSON.
type object = map[string]any

// cut is how a byte-level tokenizer cuts text into the pieces that merging does not cross.
type cut struct {
	digits bool   // every digit first, then as GPT-2
	regex  string // "" for GPT-2
	nfc    bool
	whole  bool // a piece that is a token is not cut further
	bos    bool // BOS goes before a text where the file does not say so
}

// pres are the values of tokenizer.ggml.pre that are read.
var pres = map[string]cut{
	"llama-bpe": {regex: tokenizer.PatternLlama3, whole: true, bos: true}, "llama3": {regex: tokenizer.PatternLlama3, whole: true, bos: true}, "llama-v3": {regex: tokenizer.PatternLlama3, whole: true, bos: true},
	"smaug-bpe": {regex: tokenizer.PatternLlama3},
	"qwen2":     {regex: tokenizer.PatternQwen2, nfc: true}, "deepseek-r1-qwen": {regex: tokenizer.PatternQwen2},
	"smollm": {digits: true}, "starcoder": {digits: true}, "refact": {digits: true}, "codeshell": {digits: true},
	"gpt-2": {}, "phi-2": {}, "olmo": {}, "mpt": {}, "": {}, "default": {},
}

// json is tokenizer.json. The error wraps fs.ErrNotExist for a file without a tokenizer.
func (t *tokens) json() ([]byte, error) {
	if t.model == "" {
		return nil, fs.ErrNotExist
	}
	if len(t.texts) == 0 || len(t.types) != 0 && len(t.types) != len(t.texts) {
		return nil, fmt.Errorf("%s has %d tokens and %s %d types", KeyTokens, len(t.texts), KeyTokenTypes, len(t.types))
	}
	for id, text := range t.texts {
		if len(text) > maxToken {
			return nil, fmt.Errorf("%s: token %d has %d bytes, more than %d", KeyTokens, id, len(text), maxToken)
		}
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("%s: token %d is %q, which is not UTF-8", KeyTokens, id, text)
		}
	}
	var file object
	var err error
	switch t.model {
	case "gpt2":
		file, err = t.byteLevel()
	case "llama":
		file, err = t.sentencePiece()
	default:
		return nil, fmt.Errorf("%s is %q: this kind of tokenizer is not supported, only gpt2 and llama are; use the model's Hugging Face folder", KeyTokenizer, t.model)
	}
	if err != nil {
		return nil, err
	}
	file["version"], file["truncation"], file["padding"] = "1.0", nil, nil
	return json.Marshal(file)
}

// maxToken bounds a token, in bytes: the time to find a token's merges grows with the square of its length.
const maxToken = 4096

// kind is the kind of a token.
func (t *tokens) kind(id int) int64 {
	if len(t.types) == 0 {
		return TokenNormal
	}
	return t.types[id]
}

// added is an entry of added_tokens.
func added(id int, text string, special bool) object {
	return object{"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special}
}

// byteLevel is the file of a byte-level BPE. Tokens of type unused fill holes of the vocabulary, such as [PAD7], and are left out.
func (t *tokens) byteLevel() (object, error) {
	how, ok := pres[t.pre]
	if !ok {
		return nil, fmt.Errorf("%s is %q: this way to cut text into words is not supported; use the model's Hugging Face folder", KeyPre, t.pre)
	}
	if t.merges == nil {
		return nil, fmt.Errorf("%s is missing, so text cannot be encoded; use the model's Hugging Face folder", KeyMerges)
	}
	vocab, extra := map[string]int{}, []object{}
	for id, text := range t.texts {
		switch t.kind(id) {
		case TokenUnused:
		case TokenControl, TokenUnknown, TokenUserDefined:
			extra = append(extra, added(id, text, t.kind(id) != TokenUserDefined))
		default:
			vocab[text] = id
		}
	}
	level := func(regex bool) object {
		return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex}
	}
	pre := level(true)
	if how.digits {
		pre = object{"type": "Sequence", "pretokenizers": []object{{"type": "Digits", "individual_digits": true}, level(true)}}
	} else if how.regex != "" {
		split := object{"type": "Split", "pattern": object{"Regex": how.regex}, "behavior": "Isolated", "invert": false}
		pre = object{"type": "Sequence", "pretokenizers": []object{split, level(false)}}
	}
	file := object{
		"added_tokens": extra, "normalizer": nil, "pre_tokenizer": pre, "post_processor": nil, "decoder": level(true),
		"model": object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false,
			"byte_fallback": false, "ignore_merges": how.whole, "vocab": vocab, "merges": t.merges},
	}
	if t.unk >= 0 { // of a vocabulary that lacks some bytes
		vocab[t.texts[t.unk]] = t.unk
		file["model"].(object)["unk_token"] = t.texts[t.unk]
	}
	if how.nfc {
		file["normalizer"] = object{"type": "NFC"}
	}
	return file, nil
}

// mark stands for a space in the tokens of SentencePiece.
const mark = "\u2581"

// sentencePiece is the file of a SentencePiece BPE, as transformers converts one.
func (t *tokens) sentencePiece() (object, error) {
	if len(t.scores) != len(t.texts) {
		return nil, fmt.Errorf("%s has %d tokens and %s %d scores", KeyTokens, len(t.texts), KeyScores, len(t.scores))
	}
	vocab, extra := map[string]int{}, []object{}
	var pieces []int
	for id, text := range t.texts {
		switch t.kind(id) {
		case TokenUnused:
			continue
		case TokenControl, TokenUnknown:
			extra = append(extra, added(id, text, true))
		case TokenUserDefined:
			extra = append(extra, added(id, strings.ReplaceAll(text, mark, " "), false))
		case TokenByte:
		default:
			pieces = append(pieces, id)
		}
		vocab[text] = id
	}
	normalizers := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": mark}}
	decoders := []object{{"type": "Replace", "pattern": object{"String": mark}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}}
	if t.space {
		normalizers = append([]object{{"type": "Prepend", "prepend": mark}}, normalizers...)
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	model := object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": true,
		"byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": t.pairs(vocab, pieces)}
	if t.unk >= 0 && t.kind(t.unk) != TokenUnused {
		model["unk_token"] = t.texts[t.unk]
	}
	return object{
		"added_tokens": extra, "normalizer": object{"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": nil, "post_processor": nil,
		"decoder": object{"type": "Sequence", "decoders": decoders}, "model": model,
	}, nil
}

// pairs are the merges of SentencePiece's pieces: a piece may come from each pair of pieces that make it up, and the piece with the
// highest score is made first. Pairs of one score have transformers' order: the longer left part first, then the longer right part,
// then the lower ids.
func (t *tokens) pairs(vocab map[string]int, pieces []int) [][2]string {
	type pair struct {
		left, right string
		score       float64
	}
	var all []pair
	for _, id := range pieces {
		text := t.texts[id]
		first := len(all)
		for i := range text {
			if i == 0 {
				continue
			}
			l, r := text[:i], text[i:]
			if _, ok := vocab[l]; !ok {
				continue
			}
			if _, ok := vocab[r]; ok {
				all = append(all, pair{left: l, right: r, score: t.scores[id]})
			}
		}
		slices.SortFunc(all[first:], func(a, b pair) int {
			return cmp.Or(cmp.Compare(vocab[a.left], vocab[b.left]), cmp.Compare(vocab[a.right], vocab[b.right]))
		})
	}
	slices.SortStableFunc(all, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(utf8.RuneCountInString(b.left), utf8.RuneCountInString(a.left)), cmp.Compare(utf8.RuneCountInString(b.right), utf8.RuneCountInString(a.right)))
	})
	merges := make([][2]string, len(all))
	for i, p := range all {
		merges[i] = [2]string{p.left, p.right}
	}
	return merges
}
