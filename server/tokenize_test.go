package main

import (
	"bytes"
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
