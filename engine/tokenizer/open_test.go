package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// llamaFile is a SentencePiece-style tokenizer.json: ids 0 to 2 are special, the template puts <s> first.
const llamaFile = `{"added_tokens": [
	{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}],
	"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
	"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"ids": [1]}}},
	"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
	"model": {"type": "BPE", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "x": 5, "▁a": 6, "<": 7, ">": 8, "/": 9, "s": 10, "u": 11, "n": 12, "k": 13},
		"merges": ["▁ a"], "unk_token": "<unk>"}}`

// metaspaceFile is one whose prefix comes from the pre-tokenizer.
const metaspaceFile = `{"added_tokens": [{"id": 1, "content": "<s>", "special": true}],
	"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
	"model": {"type": "BPE", "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "▁a": 4}, "merges": ["▁ a"], "unk_token": "<unk>"}}`

// TestOpen holds what the files beside tokenizer.json do to ids against what transformers' fast tokenizers do.
func TestOpen(t *testing.T) {
	bytewise := byteFile(byteLevelGPT2) // <|end|> is 256, <tool> 257
	for _, c := range []struct {
		name, file string
		config     string // tokenizer_config.json
		others     map[string]string
		text       string
		want       []int // with the template
		remarks    string
	}{
		{"nothing beside it", llamaFile, "", nil, "a<s>a", []int{1, 6, 1, 6}, ""},
		{"tokens that tokenizer.json has", llamaFile, `{"added_tokens_decoder": {"1": {"content": "<s>", "special": true}}, "bos_token": "<s>"}`, nil, "a</s>", []int{1, 6, 2}, ""},
		{"a token of added_tokens_decoder alone", llamaFile, `{"added_tokens_decoder": {"14": {"content": "<|x|>", "special": true}}}`, nil, "a<|x|>a", []int{1, 6, 14, 6}, "tokens_added"},
		{"two of them, in the order of their ids", llamaFile, `{"added_tokens_decoder": {"15": {"content": "<y>"}, "14": {"content": "<|x|>", "special": true}}}`, nil, "<|x|><y>", []int{1, 14, 15}, "tokens_added"},
		{"an id that is not the next free one", llamaFile, `{"added_tokens_decoder": {"99": {"content": "<|x|>", "special": true}}}`, nil, "<|x|>", []int{1, 14}, "token_id_moved tokens_added"},
		{"a token of the vocabulary becomes an added one", llamaFile, `{"added_tokens_decoder": {"5": {"content": "x", "normalized": false}}}`, nil, "axa", []int{1, 6, 5, 6}, ""},
		{"its flags count", llamaFile, `{"added_tokens_decoder": {"2": {"content": "</s>", "special": true, "lstrip": true, "rstrip": true}}}`, nil, "a </s> a", []int{1, 6, 2, 6}, ""},
		{"added_tokens.json", metaspaceFile, `{}`, map[string]string{"added_tokens.json": `{"<|x|>": 5}`}, "a<|x|>a", []int{4, 5, 3}, "tokens_added"},
		{"a special one of added_tokens.json", llamaFile, `{"additional_special_tokens": ["<|x|>"]}`, map[string]string{"added_tokens.json": `{"<|x|>": 14}`}, "a<|x|>a", []int{1, 6, 14, 6}, "tokens_added"},
		{"added_tokens.json without a configuration", llamaFile, "", map[string]string{"added_tokens.json": `{"<|x|>": 14}`}, "<|x|>", []int{1, 14}, "tokens_added"},
		{"added_tokens.json beside added_tokens_decoder", llamaFile, `{"added_tokens_decoder": {"1": {"content": "<s>", "special": true}}}`,
			map[string]string{"added_tokens.json": `{"<|x|>": 14}`, "special_tokens_map.json": `{"additional_special_tokens": ["<|x|>"]}`}, "a<|x|>", []int{1, 6, 14}, "tokens_added"},
		{"special_tokens_map.json", llamaFile, "", map[string]string{"special_tokens_map.json": `{"additional_special_tokens": ["<|x|>"], "pad_token": {"content": "<pad>"}}`}, "<|x|><pad>", []int{1, 15, 14}, "tokens_added"},
		{"additional_special_tokens", llamaFile, `{"additional_special_tokens": ["<|x|>", {"content": "<y>", "lstrip": true}]}`, nil, "a<|x|> <y>", []int{1, 6, 14, 15}, "tokens_added"},
		{"extra_special_tokens by name", llamaFile, `{"extra_special_tokens": {"image_token": "<|x|>"}}`, nil, "<|x|>", []int{1, 14}, "tokens_added"},
		{"a pad token outside the vocabulary", llamaFile, `{"pad_token": "[PAD]"}`, nil, "a[PAD]", []int{1, 6, 14}, "tokens_added"},
		{"a special token of the vocabulary", metaspaceFile, `{"unk_token": "<unk>"}`, nil, "a<unk>", []int{4, 0}, ""},
		{"split_special_tokens", llamaFile, `{"split_special_tokens": true}`, nil, "</s>", []int{1, 3, 7, 9, 10, 8}, ""},
		{"split_special_tokens leaves the others", llamaFile, `{"split_special_tokens": true, "added_tokens_decoder": {"14": {"content": "<y>", "special": false}}}`, nil, "<y></s>", []int{1, 14, 7, 9, 10, 8}, "tokens_added"},
		{"add_prefix_space true", bytewise, `{"add_prefix_space": true}`, nil, "a", []int{' ', 'a'}, "prefix_space"},
		{"add_prefix_space false", bytewise, `{"add_prefix_space": false}`, nil, "a", []int{'a'}, ""},
		{"add_prefix_space of a Llama, false", llamaFile, `{"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false}`, nil, "a a", []int{1, 4, 6}, "prefix_space"},
		{"add_prefix_space of a Llama, true as it is", llamaFile, `{"tokenizer_class": "LlamaTokenizerFast", "add_prefix_space": true}`, nil, "a a", []int{1, 6, 6}, ""},
		{"add_prefix_space of a Llama, null", llamaFile, `{"tokenizer_class": "LlamaTokenizer", "add_prefix_space": null}`, nil, "a a", []int{1, 6, 6}, ""},
		{"add_prefix_space of another class", llamaFile, `{"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": false}`, nil, "a a", []int{1, 6, 6}, ""},
		{"add_prefix_space of a Llama with Metaspace, false", metaspaceFile, `{"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false}`, nil, "a a", []int{3, 4}, "prefix_space"},
		{"one BOS", llamaFile, `{"bos_token": "<s>"}`, nil, "<s>a", []int{1, 6}, ""},
		{"a second BOS in the text stays", llamaFile, `{"bos_token": "<s>"}`, nil, "<s><s>a", []int{1, 1, 6}, ""},
		{"one EOS", llamaFile, `{"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true, "add_eos_token": true}`, nil, "<s>a</s>", []int{1, 6, 2}, ""},
		{"EOS where there is none", llamaFile, `{"eos_token": "</s>", "add_eos_token": true}`, nil, "a", []int{1, 6, 2}, ""},
		{"no text", llamaFile, `{"eos_token": "</s>", "add_eos_token": true}`, nil, "", []int{1, 2}, ""},
		{"BOS taken off", llamaFile, `{"bos_token": "<s>", "add_bos_token": false}`, nil, "a", []int{6}, ""},
		{"an EOS id of −1 is none", llamaFile, ``, map[string]string{"config.json": `{"eos_token_id": -1}`}, "a", []int{1, 6}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := fstest.MapFS{"tokenizer.json": {Data: []byte(c.file)}}
			if c.config != "" {
				fsys["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(c.config)}
			}
			for name, text := range c.others {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			tok, err := Open(fsys)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tok.EncodeOnce(c.text)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q is %v, %v, want %v", c.text, got, err, c.want)
			}
			var codes []string
			for _, r := range tok.Remarks() {
				codes = append(codes, r.Code)
			}
			if s := strings.Join(codes, " "); s != c.remarks {
				t.Errorf("remarks %q, want %q: %v", s, c.remarks, tok.Remarks())
			}
		})
	}
}

// TestOpenEnds holds which BOS and EOS the files together name.
func TestOpenEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		bos   int
		stops []int
	}{
		{"no file", nil, -1, nil},
		{"special_tokens_map.json alone", map[string]string{"special_tokens_map.json": `{"bos_token": "<s>", "eos_token": {"content": "</s>"}}`}, 1, []int{2}},
		{"it counts before tokenizer_config.json", map[string]string{"special_tokens_map.json": `{"eos_token": "x"}`, "tokenizer_config.json": `{"bos_token": "<s>", "eos_token": "</s>"}`}, 1, []int{5}},
		{"but not beside added_tokens_decoder", map[string]string{"special_tokens_map.json": `{"eos_token": "x"}`,
			"tokenizer_config.json": `{"eos_token": "</s>", "added_tokens_decoder": {"2": {"content": "</s>", "special": true}}}`}, -1, []int{2}},
		{"ids of the other files add up", map[string]string{"tokenizer_config.json": `{"eos_token": "</s>"}`, "generation_config.json": `{"eos_token_id": [2, 5]}`, "config.json": `{"eos_token_id": -1, "bos_token_id": 1}`}, 1, []int{2, 5}},
		{"a token outside the vocabulary", map[string]string{"tokenizer_config.json": `{"eos_token": "<|im_end|>"}`}, -1, []int{14}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := fstest.MapFS{"tokenizer.json": {Data: []byte(llamaFile)}}
			for name, text := range c.files {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			tok, err := Open(fsys)
			if err != nil {
				t.Fatal(err)
			}
			if bos, ok := tok.BOS(); ok != (c.bos >= 0) || ok && bos != c.bos {
				t.Errorf("BOS %d, %v, want %d", bos, ok, c.bos)
			}
			if !slices.Equal(tok.Stops(), c.stops) {
				t.Errorf("stops %v, want %v", tok.Stops(), c.stops)
			}
		})
	}
}

func TestOpenRefused(t *testing.T) {
	if _, err := Open(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, c := range []struct{ file, text, want string }{
		{"tokenizer.json", `{`, "tokenizer.json: not JSON"},
		{"tokenizer_config.json", `{`, "tokenizer_config.json: not JSON"},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"x": {"content": "a"}}}`, `"x", which is no token id`},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"-4": {"content": "a"}}}`, `"-4", which is no token id`},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"4": {"special": true}}}`, "no content for the id 4"},
		{"tokenizer_config.json", `{"add_prefix_space": "yes"}`, "add_prefix_space"},
		{"tokenizer_config.json", `{"add_bos_token": true}`, "there is no bos_token"},
		{"added_tokens.json", `["<x>"]`, "added_tokens.json: at byte"},
		{"added_tokens.json", `{"<x>": -1}`, "has the id -1"},
		{"special_tokens_map.json", `{"bos_token": 3}`, "special_tokens_map.json"},
		{"generation_config.json", `{"eos_token_id": 77}`, "eos_token_id 77"},
	} {
		fsys := fstest.MapFS{"tokenizer.json": {Data: []byte(llamaFile)}}
		fsys[c.file] = &fstest.MapFile{Data: []byte(c.text)}
		if _, err := Open(fsys); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.file) && !strings.HasPrefix(err.Error(), "tokenizer: ") {
			t.Errorf("%s %s: error %v, want one with %q", c.file, c.text, err, c.want)
		}
	}
}

// TestContinue streams what follows a prompt that ends in byte tokens, and ends in some itself.
func TestContinue(t *testing.T) {
	tok := mustLoad(t, `{"added_tokens": [{"id": 6, "content": "</s>", "special": true}],
		"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
			{"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
		"model": {"type": "BPE", "vocab": {"▁": 0, "a": 1, "▁a": 2, "<0xE4>": 3, "<0xBD>": 4, "<0xA0>": 5}, "merges": []}}`)
	for _, c := range []struct {
		prompt, said []int
		want         string
	}{
		{[]int{1}, []int{3, 4, 5}, "你"},
		{[]int{2, 3, 4, 5}, []int{2, 1}, " aa"},
		{[]int{3, 4, 5}, []int{3, 4, 5, 6}, "你"},
		{[]int{3, 4}, []int{2}, " a"},
		{[]int{6}, []int{2}, "a"},
		{nil, []int{2, 2}, "a a"},
	} {
		d := tok.Continue(c.prompt, true)
		got := ""
		for _, id := range c.said {
			got += d.Next(id)
		}
		if got += d.Flush(); got != c.want {
			t.Errorf("after %v, %v is %q, want %q", c.prompt, c.said, got, c.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(llamaFile), []byte(`{"added_tokens_decoder": {"14": {"content": "<|x|>", "special": true}}, "add_prefix_space": false, "tokenizer_class": "LlamaTokenizer"}`),
		[]byte(`{"<y>": 15}`), []byte(`{"bos_token": "<s>", "additional_special_tokens": ["<z>"]}`), "a<|x|> b")
	f.Add([]byte(metaspaceFile), []byte(`{"split_special_tokens": true, "extra_special_tokens": {"a": "b"}}`), []byte(`{}`), []byte(`null`), "a<s>")
	f.Fuzz(func(t *testing.T, file, config, added, special []byte, text string) {
		tok, err := Open(fstest.MapFS{"tokenizer.json": {Data: file}, "tokenizer_config.json": {Data: config}, "added_tokens.json": {Data: added}, "special_tokens_map.json": {Data: special}})
		if err != nil {
			return
		}
		ids, err := tok.Encode(text, true)
		if err != nil {
			return
		}
		for _, id := range ids {
			if _, ok := tok.Token(id); !ok {
				t.Fatalf("id %d of %q has no token", id, fmt.Sprint(ids))
			}
		}
		tok.Decode(ids, true)
	})
}
