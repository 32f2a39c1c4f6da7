package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bytewise is a tokenizer whose ids are the bytes.
type bytewise struct{}

func (bytewise) Encode(text string, special bool) ([]int, error) {
	var ids []int
	for _, b := range []byte(text) {
		ids = append(ids, int(b))
	}
	return ids, nil
}

func (bytewise) Token(id int) (string, bool) { return "", id >= 0 && id < 256 }
func (bytewise) VocabSize() int              { return 256 }

func (bytewise) Decode(ids []int, skipSpecial bool) string {
	var text []byte
	for _, id := range ids {
		text = append(text, byte(id))
	}
	return string(text)
}

func TestTokenizeLines(t *testing.T) {
	for _, c := range []struct {
		in            string
		jsonl, decode bool
		out, fails    string
	}{
		{in: "ab\n\nc", out: "[97,98]\n[]\n[99]\n"},
		{in: "\"a\\nb\"\n\"\"\n", jsonl: true, out: "[97,10,98]\n[]\n"},
		{in: "[60,115,62]\n[]\n", decode: true, out: "<s>\n\n"},
		{in: "[60,10]\n", decode: true, jsonl: true, out: "\"<\\n\"\n"},
		{in: "\"a\"\nb\n", jsonl: true, out: "[97]\n", fails: "line 2"},
		{in: "[1\n", decode: true, fails: "line 1"},
		{in: "", out: ""},
		{in: "[60,256]\n", decode: true, fails: "line 1: id 256 at position 2 is no token: the tokenizer has 256 ids from 0"},
		{in: "[60]\n[-1]\n", decode: true, out: "<\n", fails: "line 2: id -1 at position 1"},
		{in: "\"a\\ud83d\"\n", jsonl: true, fails: `line 1: \ud83d is half of a character`},
		{in: "\"\\u0041\"\n", jsonl: true, out: "[65]\n"},
	} {
		var out bytes.Buffer
		err := tokenizeLines(bytewise{}, strings.NewReader(c.in), &out, c.jsonl, c.decode)
		if out.String() != c.out || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%+v: %q, %v", c, out.String(), err)
		}
	}
}

// TestOpenTokenizer: tokens that only the files beside tokenizer.json name are tokens of tokenize as well, as they are of a run.
func TestOpenTokenizer(t *testing.T) {
	const text = "a<|x|>"
	for _, c := range []struct {
		name  string
		files map[string]string
	}{
		{"added_tokens_decoder", map[string]string{"tokenizer_config.json": `{"added_tokens_decoder": {"512": {"content": "<|x|>", "special": true}}}`}},
		{"additional_special_tokens", map[string]string{"tokenizer_config.json": `{"additional_special_tokens": ["<|x|>"]}`}},
		{"extra_special_tokens", map[string]string{"tokenizer_config.json": `{"extra_special_tokens": {"x_token": "<|x|>"}}`}},
		{"added_tokens.json", map[string]string{"added_tokens.json": `{"<|x|>": 512}`}},
		{"special_tokens_map.json", map[string]string{"special_tokens_map.json": `{"pad_token": "<|x|>"}`}},
	} {
		dir := folder(t, withModel(t, "", map[string]string{}))
		for name, content := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := openTokenizer(dir)
		if err != nil {
			t.Fatal(c.name, err)
		}
		alone, err := openTokenizer(filepath.Join(dir, "tokenizer.json"))
		if err != nil {
			t.Fatal(c.name, err)
		}
		got, err := whole.Encode(text, false)
		if err != nil {
			t.Fatal(c.name, err)
		}
		plain, err := alone.Encode(text, false)
		if err != nil {
			t.Fatal(c.name, err)
		}
		last := len(got) - 1
		if token, _ := whole.Token(got[last]); token != "<|x|>" || slices.Contains(plain, got[last]) {
			t.Errorf("%s: %v, the last of them %q; the file alone gives %v", c.name, got, token, plain)
		}
	}
	for _, missing := range []string{t.TempDir(), filepath.Join(t.TempDir(), "x.json")} {
		if _, err := openTokenizer(missing); err == nil || !strings.Contains(err.Error(), "--model: ") {
			t.Errorf("%s: %v", missing, err)
		}
	}
}
