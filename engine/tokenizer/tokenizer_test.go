package tokenizer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// byteFile makes a byte-level tokenizer.json by hand: 256 byte tokens, then what the merges spell, then added tokens.
func byteFile(preTokenizer string, merges ...string) string {
	vocab := map[string]int{}
	for b, r := range byteRunes {
		vocab[string(r)] = b
	}
	for _, m := range merges {
		vocab[strings.ReplaceAll(m, " ", "")] = len(vocab)
	}
	v, _ := json.Marshal(vocab)
	m, _ := json.Marshal(merges)
	return fmt.Sprintf(`{"added_tokens": [{"id": %d, "content": "<|end|>", "special": true}, {"id": %d, "content": "<tool>"}],
		"pre_tokenizer": %s, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": %s, "merges": %s}}`,
		len(vocab), len(vocab)+1, preTokenizer, v, m)
}

const byteLevelGPT2 = `{"type": "ByteLevel", "add_prefix_space": false}`

func mustLoad(t testing.TB, file string) *Tokenizer {
	t.Helper()
	tok, err := Load([]byte(file), "tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestSplitters(t *testing.T) {
	llama3, qwen2 := patterns[PatternLlama3], patterns[PatternQwen2]
	smollm := []splitter{splitDigits, splitGPT2}
	for _, c := range []struct {
		name   string
		splits []splitter
		text   string
		want   string // pieces parted by |
	}{
		{"words", []splitter{splitGPT2}, "Hello, world!", "Hello|,| world|!"},
		{"contractions", []splitter{splitGPT2}, "we're it's 'SO 'tis", "we|'re| it|'s| '|SO| '|tis"},
		{"contraction comes first", []splitter{splitGPT2}, "'second", "'s|econd"},
		{"numbers of any kind", []splitter{splitGPT2}, "a1½Ⅷ٣ 12", "a|1½Ⅷ٣| 12"},
		{"white space leaves its last", []splitter{splitGPT2}, "a   b \n c\t\td  ", "a|  | b| \n| c|\t|\t|d|  "},
		{"all of Unicode's white space", []splitter{splitGPT2}, "a\u00a0\u2003b\u0085c", "a|\u00a0|\u2003|b|\u0085|c"},
		{"marks are not letters", []splitter{splitGPT2}, "e\u0301a", "e|\u0301|a"},
		{"zero width joiner is not a space", []splitter{splitGPT2}, " \u200d!", " \u200d!"},

		{"three digits", []splitter{llama3}, "12345 678", "123|45| |678"},
		{"one digit", []splitter{qwen2}, "123 4", "1|2|3| |4"},
		{"any case", []splitter{llama3}, "I'M'LL'sT 'D", "I|'M|'LL|'s|T| '|D"},
		{"long s", []splitter{llama3}, "it'ſ\t'ſo", "it|'ſ|\t|'ſ|o"},
		{"a mark before letters", []splitter{llama3}, "(word)\tx \u00a0y", "(word|)|\tx| |\u00a0y"},
		{"punctuation takes newlines", []splitter{qwen2}, "a!?\r\n\nb", "a|!?\r\n\n|b"},
		{"white space up to the last newline", []splitter{qwen2}, "a \r\n \n  b", "a| \r\n \n| | b"},
		{"newline before a letter", []splitter{llama3}, "\nx\r\ny", "\n|x|\r\n|y"},
		{"white space at the end", []splitter{llama3}, "x   ", "x|   "},
		{"other scripts", []splitter{qwen2}, "你好，世界", "你好|，世界"},

		{"digits cut first", smollm, "a 12  3b", "a| |1|2|  |3|b"},
		{"digits kept together", []splitter{splitNumbers}, "ab12½c", "ab|12½|c"},
		{"at marks", []splitter{splitBefore("▁")}, "▁a▁▁b", "▁a|▁|▁b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			_ = cutPieces(newSpan(c.text, false), c.splits, func(s span) error {
				got = append(got, s.text)
				return nil
			})
			if strings.Join(got, "|") != c.want {
				t.Errorf("%q is cut into %q, want %q", c.text, got, strings.Split(c.want, "|"))
			}
		})
	}
}

func TestMergesByHand(t *testing.T) {
	tok := mustLoad(t, byteFile(byteLevelGPT2, "l o", "o w", "lo w", "Ġ low", "e r"))
	const lo, ow, low, Glow, er, end, tool = 256, 257, 258, 259, 260, 261, 262
	for text, want := range map[string][]int{
		"lower low":      {low, er, Glow}, // "l o" ranks before "o w"
		"owlow":          {ow, low},       // left to right, once
		"é":              {0xC3, 0xA9},    // bytes
		"low<|end|>er":   {low, end, er},  // added tokens are found in the text
		"<tool><|end|> ": {tool, end, ' '},
		"<|end|":         {'<', '|', 'e', 'n', 'd', '|'},
		"lo\x00":         {lo, 0},
		"LOW":            {'L', 'O', 'W'},
		" lowlow":        {Glow, low},
		"lolo lo":        {lo, lo, ' ', lo}, // Ġlo is not a token
		"er'er":          {er, '\'', er},
		"\u2581":         {0xE2, 0x96, 0x81},
		"a  low":         {'a', ' ', Glow},
		"low\r\n":        {low, '\r', '\n'},
		"10":             {'1', '0'},
		"<tool":          {'<', 't', 'o', 'o', 'l'},
	} {
		if got, err := tok.Encode(text, true); err != nil || !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, %v, want %v", text, got, err, want)
		}
		if got := tok.Decode(want, false); got != text {
			t.Errorf("Decode(%v) = %q, want %q", want, got, text)
		}
	}
	if got := tok.Decode([]int{low, end, tool, -1, 9999}, true); got != "low<tool>" {
		t.Errorf("without special tokens: %q", got)
	}
}

func TestLookups(t *testing.T) {
	tok := mustLoad(t, byteFile(byteLevelGPT2, "a b"))
	if id, ok := tok.Special("<|end|>"); id != 257 || !ok {
		t.Errorf("Special: %d, %v", id, ok)
	}
	if _, ok := tok.Special("ab"); ok {
		t.Error("an ordinary token is called special")
	}
	if s, ok := tok.Token(256); s != "ab" || !ok {
		t.Errorf("Token: %q, %v", s, ok)
	}
	if _, ok := tok.Token(tok.VocabSize()); ok || tok.VocabSize() != 259 {
		t.Errorf("a token beyond the vocabulary of %d", tok.VocabSize())
	}
	if _, err := tok.Encode("ab\xffc", false); err == nil || !strings.Contains(err.Error(), "byte 2 is 0xFF") {
		t.Errorf("invalid UTF-8: %v", err)
	}
}

// TestWholePieces: with ignore_merges a piece that is a token is that token, and another one is merged. A part of a piece is
// not looked up: no merge makes ▁a here.
func TestWholePieces(t *testing.T) {
	tok := mustLoad(t, `{"model": {"type": "BPE", "ignore_merges": true, "vocab": {"▁": 0, "a": 1, "b": 2, "▁a": 3}, "merges": []}}`)
	for text, want := range map[string][]int{"▁a": {3}, "▁a▁b": {0, 1, 0, 2}, "▁b▁a": {0, 2, 0, 1}} {
		if got, err := tok.Encode(text, false); err != nil || !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestOffsets(t *testing.T) {
	file := `{"added_tokens": [{"id": 5, "content": "<x>", "rstrip": true}],
		"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
		"model": {"type": "BPE", "byte_fallback": true, "vocab": {"▁": 0, "a": 1, "▁a": 2, "<0xC3>": 3, "<0xA9>": 4}, "merges": ["▁ a"]}}`
	ids, offsets, err := mustLoad(t, file).EncodeOffsets("a aé<x>  é")
	wantIDs := []int{2, 2, 3, 4, 5, 0, 3, 4}
	want := [][2]int{{0, 1}, {1, 3}, {3, 5}, {3, 5}, {5, 10}, {10, 10}, {10, 12}, {10, 12}}
	if err != nil || !slices.Equal(ids, wantIDs) || !slices.Equal(offsets, want) {
		t.Errorf("%v, %v, %v\nwant %v, %v", ids, offsets, err, wantIDs, want)
	}
}

func TestNFC(t *testing.T) {
	for from, want := range map[string]string{
		"plain":               "plain",
		"e\u0301":             "é",
		"\u212b \u2126":       "Å Ω",           // singletons
		"q\u0307\u0323":       "q\u0323\u0307", // order of classes
		"a\u0315\u0300\u05ae": "à\u05ae\u0315",
		"\u1112\u1161\u11ab":  "한", // Hangul
		"\uac00\u11a8":        "각",
		"\u0958":              "\u0915\u093c", // excluded from composition
		"\u0344":              "\u0308\u0301", // a mark that comes apart
		"e\u0344":             "ë\u0301",
		"\u09c7\u09be":        "\u09cb",  // starters that compose
		"\u0301e":             "\u0301e", // nothing to attach to
		"你好 ❤\ufe0f":          "你好 ❤\ufe0f",
		"a\u0300a\u0300":      "àà",
	} {
		if got := nfc(newSpan(from, true)); got.text != want || len(got.src) != len(want) {
			t.Errorf("NFC of %+q is %+q with %d places, want %+q", from, got.text, len(got.src), want)
		}
	}
}

// TestRoundTrip: byte-level tokenizers lose nothing, and streaming shows the same text.
func TestRoundTrip(t *testing.T) {
	tok := mustLoad(t, byteFile(byteLevelGPT2, "Ġ a", "Ã ©", "ð Ł", "a b", "ab c"))
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"<|end|>", "<tool>", "abc", " a", "'s", "\r\n"}
	for range 2000 {
		var text strings.Builder
		for range rnd.IntN(20) {
			switch rnd.IntN(4) {
			case 0:
				text.WriteString(pieces[rnd.IntN(len(pieces))])
			case 1:
				text.WriteByte(byte(rnd.IntN(128)))
			default:
				text.WriteRune(rune(rnd.IntN(utf8.MaxRune))) // surrogates become U+FFFD
			}
		}
		ids, err := tok.Encode(text.String(), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Decode(ids, false); got != text.String() {
			t.Fatalf("Decode(Encode(%q)) = %q", text.String(), got)
		}
	}
}

func TestStreaming(t *testing.T) {
	bytes := mustLoad(t, byteFile(byteLevelGPT2))
	chars := mustLoad(t, `{"added_tokens": [{"id": 6, "content": "</s>", "special": true}],
		"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
			{"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
		"model": {"type": "BPE", "vocab": {"▁": 0, "a": 1, "▁a": 2, "<0xE4>": 3, "<0xBD>": 4, "<0xA0>": 5}, "merges": []}}`)
	for _, c := range []struct {
		name string
		tok  *Tokenizer
		ids  []int
		want []string // of each Next, then of Flush
	}{
		{"a character over three tokens", bytes, []int{'a', 0xE4, 0xBD, 0xA0, 'b'}, []string{"a", "", "", "你", "b", ""}},
		{"a character that never ends", bytes, []int{0xE4, 0xBD}, []string{"", "", "\uFFFD"}},
		{"a character broken off", bytes, []int{0xE4, 0xBD, 'b', 0xFF}, []string{"", "", "\uFFFDb", "\uFFFD", ""}},
		{"a broken character, then a whole one", bytes, []int{0xE4, 0xC3, 0xA9}, []string{"", "\uFFFD", "é", ""}},
		{"byte tokens wait for their end", chars, []int{2, 3, 4, 5, 2}, []string{"a", "", "", "", "你 a", ""}},
		{"a bad byte spoils its run", chars, []int{3, 4, 5, 3, 1}, []string{"", "", "", "", "\uFFFD\uFFFD\uFFFD\uFFFDa", ""}},
		{"byte tokens at the end", chars, []int{3, 4, 5}, []string{"", "", "", "你"}},
		{"one space goes, special tokens too", chars, []int{6, 0, 0, 6, 1}, []string{"", "", " ", "", "a", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.tok.Decoder(true)
			var got []string
			for _, id := range c.ids {
				got = append(got, d.Next(id))
			}
			if got = append(got, d.Flush()); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A decoder of whole characters leaves out what is not UTF-8, and lets each character through as soon as it is complete.
func TestWholeCharacters(t *testing.T) {
	bytes := mustLoad(t, byteFile(byteLevelGPT2))
	chars := mustLoad(t, `{"decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
		"model": {"type": "BPE", "vocab": {"a": 0, "<0xE4>": 1, "<0xBD>": 2, "<0xA0>": 3}, "merges": []}}`)
	for _, c := range []struct {
		tok  *Tokenizer
		ids  []int
		want []string // of each Next, then of Flush
	}{
		{bytes, []int{'a', 0xE4, 0xBD, 0xA0, 0xE4, 0xBD}, []string{"a", "", "", "你", "", "", ""}},
		{bytes, []int{0xE4, 0xBD, 'b', 0xFF, 0xC3, 0xA9}, []string{"", "", "b", "", "", "é", ""}},
		{chars, []int{1, 2, 3, 1, 2}, []string{"", "", "你", "", "", ""}},
		{chars, []int{1, 2, 3, 3, 1, 0, 2}, []string{"", "", "你", "", "", "a", "", ""}},
	} {
		d := c.tok.Decoder(true).Whole()
		var got []string
		for _, id := range c.ids {
			got = append(got, d.Next(id))
		}
		if got = append(got, d.Flush()); !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, want %q", c.ids, got, c.want)
		}
	}
}

func TestWithConfig(t *testing.T) {
	tok := mustLoad(t, byteFile(byteLevelGPT2)) // <|end|> is 256, <tool> 257
	for _, c := range []struct {
		name     string
		configs  []string
		bos      int // -1 for none
		stops    []int
		encoding []int // of "a" with special tokens
		wrong    string
	}{
		{"nothing", []string{`{}`}, -1, nil, []int{'a'}, ""},
		{"strings", []string{`{"bos_token": "<tool>", "eos_token": "<|end|>"}`}, 257, []int{256}, []int{'a'}, ""},
		{"objects", []string{`{"bos_token": {"content": "<tool>"}, "eos_token": null}`}, 257, nil, []int{'a'}, ""},
		{"ids", []string{`{"bos_token_id": 257, "eos_token_id": [256, 0]}`}, 257, []int{256, 0}, []int{'a'}, ""},
		{"two files", []string{`{"eos_token": "<|end|>"}`, `{"bos_token_id": null, "eos_token_id": [7, 256]}`}, -1, []int{256, 7}, []int{'a'}, ""},
		{"added", []string{`{"bos_token": "<tool>", "eos_token": "<|end|>", "add_bos_token": true, "add_eos_token": true}`}, 257, []int{256}, []int{257, 'a', 256}, ""},
		{"taken off", []string{`{"bos_token": "<tool>", "add_bos_token": true}`, `{"add_bos_token": false}`}, 257, nil, []int{'a'}, ""},
		{"once", []string{`{"bos_token": "<tool>", "add_bos_token": true}`, `{"add_bos_token": true}`}, 257, nil, []int{257, 'a'}, ""},
		{"unknown token", []string{`{"bos_token": "<s>"}`}, 0, nil, nil, `bos_token "<s>" is not in the vocabulary`},
		{"unknown id", []string{`{"eos_token_id": 999}`}, 0, nil, nil, "eos_token_id 999 is not"},
		{"no bos", []string{`{"add_bos_token": true}`}, 0, nil, nil, "there is no bos_token"},
		{"not JSON", []string{`{`}, 0, nil, nil, "not JSON"},
		{"wrong type", []string{`{"bos_token": 1}`}, 0, nil, nil, "configuration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := tok, error(nil)
			for _, config := range c.configs {
				if err == nil {
					u, err = u.WithConfig([]byte(config))
				}
			}
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error %v, want one with %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if bos, ok := u.BOS(); ok != (c.bos >= 0) || ok && bos != c.bos {
				t.Errorf("BOS %d, %v, want %d", bos, ok, c.bos)
			}
			if eos, ok := u.EOS(); !slices.Equal(u.Stops(), c.stops) || ok != (len(c.stops) > 0) || ok && eos != c.stops[0] {
				t.Errorf("EOS %d of %v, want %v", eos, u.Stops(), c.stops)
			}
			if got, _ := u.Encode("a", true); !slices.Equal(got, c.encoding) {
				t.Errorf("Encode: %v, want %v", got, c.encoding)
			}
		})
	}
}

func TestLongText(t *testing.T) {
	tok := mustLoad(t, byteFile(`{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}`, "a a", "aa aa", "aaaa aaaa"))
	ids, err := tok.Encode(strings.Repeat("a", 1<<20), false) // one piece: quadratic merging would take minutes
	if err != nil || len(ids) != 1<<17 {
		t.Errorf("%d ids, %v", len(ids), err)
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := mustLoad(b, byteFile(byteLevelGPT2, "Ġ t", "h e", "Ġt he", "a n", "an d", "Ġ and", "i n", "e r", "o u"))
	text := strings.Repeat("The cat and the hat are in the house, over and out.\n", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := tok.Encode(text, false); err != nil {
			b.Fatal(err)
		}
	}
}
