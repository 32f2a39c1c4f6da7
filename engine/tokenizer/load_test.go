package tokenizer

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestRefused: what is not understood, or wrong, is refused and named.
func TestRefused(t *testing.T) {
	model := func(rest string) string {
		return `{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]` + rest + `}}`
	}
	with := func(part string) string {
		return `{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, ` + part + `}`
	}
	split := func(pattern, behavior string) string {
		return fmt.Sprintf(`"pre_tokenizer": {"type": "Split", "pattern": %s, "behavior": %q, "invert": false}`, pattern, behavior)
	}
	for _, c := range []struct{ name, file, want string }{
		{"empty", ``, "not JSON at byte 0"},
		{"cut short", `{"model": {"vocab": `, "not JSON at byte 20"},
		{"not an object", `[]`, "wrong type"},
		{"nested without end", strings.Repeat(`{"normalizer":`, 20000), "not JSON"},
		{"no model", `{}`, "vocab is missing"},
		{"no vocabulary", `{"model": {"type": "BPE"}}`, "vocab is missing"},
		{"null vocabulary", `{"model": {"type": "BPE", "vocab": null}}`, "vocab is empty"},
		{"vocabulary of strings", `{"model": {"vocab": {"a": "b"}}}`, "model: vocab: at byte"},
		{"Unigram", `{"model": {"type": "Unigram", "vocab": [["a", -1.5]]}}`, `"Unigram" is not supported`},
		{"WordPiece", `{"model": {"type": "WordPiece", "vocab": {"a": 0}, "continuing_subword_prefix": "##"}}`, `"WordPiece" is not supported`},
		{"dropout", model(`, "dropout": 0.1`), "dropout 0.1"},
		{"subword prefix", model(`, "continuing_subword_prefix": "##"`), `continuing_subword_prefix "##"`},
		{"word suffix", model(`, "end_of_word_suffix": "</w>"`), `end_of_word_suffix "</w>"`},
		{"unknown unk", model(`, "unk_token": "?"`), `unk_token "?" is not in the vocabulary`},
		{"huge id", `{"model": {"vocab": {"a": 4000000000}}}`, "id 4000000000 is not within"},
		{"id beyond int", `{"model": {"vocab": {"a": 99999999999999999999}}}`, "wrong type"},
		{"negative id", `{"model": {"vocab": {"a": -1}}}`, "id -1 is not within"},
		{"fractional id", `{"model": {"vocab": {"a": 1.5}}}`, "wrong type"},
		{"one id twice", `{"model": {"vocab": {"a": 1, "b": 1}}}`, `id 1 has two tokens, "a" and "b"`},
		{"long token", `{"model": {"vocab": {"` + strings.Repeat("a", maxToken+1) + `": 1}}}`, "a token of 4097 bytes"},
		{"merge of an unknown token", `{"model": {"vocab": {"a": 0}, "merges": ["a x"]}}`, `"x" is not in the vocabulary`},
		{"merge into an unknown token", `{"model": {"vocab": {"a": 0}, "merges": [["a", "a"]]}}`, `"aa" is not in the vocabulary`},
		{"merge of three", `{"model": {"vocab": {"a": 0}, "merges": ["a a a"]}}`, "not two tokens"},
		{"merge of one", `{"model": {"vocab": {"a": 0}, "merges": [["a"]]}}`, "not a pair"},
		{"merge of numbers", `{"model": {"vocab": {"a": 0}, "merges": [1]}}`, "neither a string nor a pair"},
		{"half a character", `{"model": {"vocab": {"\ud800": 0, "\ud801": 1}}}`, `\ud800 is half of a character`},
		{"half a character in an added token", with(`"added_tokens": [{"id": 5, "content": "\udc00"}]`), `\udc00 is half of a character`},
		{"added without content", with(`"added_tokens": [{"id": 5}]`), "entry 0 has no content"},
		{"added twice", with(`"added_tokens": [{"id": 5, "content": "x"}, {"id": 5, "content": "x"}]`), "id 5 is there twice"},
		{"added on another's id", with(`"added_tokens": [{"id": 2, "content": "x"}]`), `id 2 has two tokens, "ab" and "x"`},
		{"added with another id", with(`"added_tokens": [{"id": 7, "content": "ab"}]`), `token "ab" has two ids, 2 and 7`},
		{"added beyond the limit", with(`"added_tokens": [{"id": 1048576, "content": "x"}]`), "id 1048576 is not within"},
		{"normalizer", with(`"normalizer": {"type": "BertNormalizer"}`), `normalizer: type "BertNormalizer"`},
		{"normalizer in a sequence", with(`"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKC"}]}`), `"NFKC"`},
		{"replace by expression", with(`"normalizer": {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}`), `" {2,}"`},
		{"replace of nothing", with(`"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": " "}`), "without a pattern"},
		{"replace that explodes", with(`"normalizer": {"type": "Sequence", "normalizers": [` +
			strings.Repeat(`{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"},`, 30) + `{"type": "NFC"}]}`), "100 times longer"},
		{"too many stages", with(`"normalizer": {"type": "Sequence", "normalizers": [` + strings.Repeat(`{"type": "NFC"},`, 99) + `{"type": "NFC"}]}`), "100 stages"},
		{"normalised to nothing", with(`"normalizer": {"type": "Replace", "pattern": {"String": "x"}, "content": ""}, "added_tokens": [{"id": 3, "content": "x", "normalized": true}]`), "nothing after normalisation"},
		{"pre-tokenizer", with(`"pre_tokenizer": {"type": "BertPreTokenizer"}`), `pre_tokenizer: type "BertPreTokenizer"`},
		{"unknown pattern", with(split(`{"Regex": "\\w+"}`, "Isolated")), `regular expression "\\w+"`},
		{"no pattern", with(split(`{"String": ""}`, "Isolated")), "without a pattern"},
		{"unknown behavior", with(split(`{"String": " "}`, "Doubled")), `behavior "Doubled"`},
		{"inverted plain pattern", with(`"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": true}`), "invert is not supported"},
		{"punctuation behavior", with(`"pre_tokenizer": {"type": "Punctuation", "behavior": "Doubled"}`), `Punctuation with behavior "Doubled"`},
		{"split behavior", with(split(`{"Regex": "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}`, "Removed")), `behavior "Removed"`},
		{"prefix in the middle", with(`"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel", "add_prefix_space": true}]}`), "after another stage"},
		{"bytes before digits", with(`"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false}, {"type": "Digits"}]}`), "Digits after ByteLevel"},
		{"prepend scheme", with(`"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "last"}`), `prepend_scheme "last"`},
		{"metaspace without a character", with(`"pre_tokenizer": {"type": "Metaspace"}`), "without a replacement"},
		{"post-processor", with(`"post_processor": {"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]}`), `"BertProcessing"`},
		{"template without text", with(`"post_processor": {"type": "TemplateProcessing", "single": []}`), "sequence A"},
		{"template of a pair", with(`"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]}`), "part 0"},
		{"template of an unknown token", with(`"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}`), `"<s>" is not among`},
		{"template of an unknown id", with(`"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}], "special_tokens": {"<s>": {"ids": [77]}}}`), "id 77"},
		{"decoder", with(`"decoder": {"type": "WordPiece"}`), `decoder: type "WordPiece"`},
		{"decoders out of order", with(`"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}`), "ByteFallback after"},
		{"strip of every token", with(`"decoder": {"type": "Strip", "content": " ", "start": 1, "stop": 0}`), "Strip after"},
		{"strip of the end", with(`"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 0, "stop": 1}]}`), "stop 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load([]byte(c.file), "dir/tokenizer.json")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tokenizer: dir/tokenizer.json: ") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if _, err := Load(make([]byte, maxFile+1), "big"); err == nil || !strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("a file too large: %v", err)
	}
	many := `{"model": {"vocab": {"a": 0, "aa": 1}, "merges": [` + strings.Repeat(`"a a",`, maxMerges) + `"a a"]}}`
	if _, err := Load([]byte(many), "many"); err == nil || !strings.Contains(err.Error(), "merges, more than") {
		t.Errorf("too many merges: %v", err)
	}
}

func TestNoTokenForCharacter(t *testing.T) {
	tok := mustLoad(t, `{"model": {"vocab": {"a": 0}}}`)
	if _, err := tok.Encode("aé", false); err == nil || !strings.Contains(err.Error(), `"é" has no token`) {
		t.Errorf("error %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(byteFile(byteLevelGPT2, "a b", "ab c")), "abc <|end|> d")
	f.Add([]byte(`{"model": {"vocab": {"a": 0, "b": 1, "ab": 2, "▁": 3}, "merges": [["a", "b"]], "unk_token": "a"}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}}`), "ab ba")
	f.Add([]byte(`{"model": {"vocab": {"a": 0, "": 1}, "merges": ["a "], "ignore_merges": true}, "normalizer": {"type": "Replace", "pattern": {"String": "b"}, "content": ""}}`), "ab")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Load(data, "fuzz")
		if err != nil {
			return
		}
		ids, err := tok.Encode(text, true)
		if err != nil {
			return
		}
		for _, id := range ids {
			if id < 0 || id >= tok.VocabSize() {
				t.Fatalf("id %d of a vocabulary of %d", id, tok.VocabSize())
			}
		}
		tok.Decode(ids, false)
		if _, _, err := tok.EncodeOffsets(text); err != nil {
			t.Fatalf("Encode goes, EncodeOffsets does not: %v", err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	pipelines := []string{byteLevelGPT2, `{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}`}
	for _, p := range []string{`"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"`,
		`"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"`} {
		pipelines = append(pipelines, `{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": `+p+`}, "behavior": "Isolated"}, `+pipelines[1]+`]}`)
	}
	var toks []*Tokenizer
	for _, p := range pipelines {
		toks = append(toks, mustLoad(f, byteFile(p, "Ġ a", "a b", "Ã ©", "Ċ Ċ")))
	}
	for _, s := range []string{"", "a b's 'ſ 123 \r\n\r\n x<|end|>", "\u00a0\u2003 é 你好\t\t", "\xff", "<tool"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, tok := range toks {
			ids, err := tok.Encode(text, false)
			if valid := utf8.ValidString(text); valid != (err == nil) {
				t.Fatalf("pipeline %d: valid UTF-8 is %v, error %v", i, valid, err)
			}
			if err != nil {
				continue
			}
			if got := tok.Decode(ids, false); got != text {
				t.Fatalf("pipeline %d: Decode(Encode(%q)) = %q", i, text, got)
			}
			checkOffsets(t, tok, text, ids)
		}
	})
}
