package data

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestColumns holds the columns of files, with kinds and examples, and which of them are read for what.
func TestColumns(t *testing.T) {
	for name, c := range map[string]struct {
		src, file     string
		opt           Options
		columns, keys string
	}{
		"json lines": {`{"question": "Why?", "n": 3, "answer": "So."}`, "a.jsonl", Options{},
			"question text Why?; n number 3; answer text So.", "instruction=question input? output=answer"},
		"later rows have more": {`{"text": null}` + "\n" + `{"text": "", "more": true}` + "\nnot a row\n" + `{"text": "a  b\nc"}`, "a.jsonl", Options{},
			"text text a b c; more boolean true", "text=text"},
		"nothing fits": {`{"foo": "x", "bar": {"a": 1}}`, "a.jsonl", Options{}, "foo text x; bar object {\"a\": 1}", ""},
		"a format that is named": {`{"foo": "x", "bar": "y"}`, "a.jsonl", Options{Format: "prompt_completion", Columns: map[string]string{"prompt": "foo"}},
			"foo text x; bar text y", "prompt=foo completion"},
		"conversations": {`[{"id": "1", "conversations": [{"from": "human", "value": "q"}]}]`, "a.json", Options{},
			`id text 1; conversations sharegpt [{"from": "human", "value": "q"}]`, "conversations=conversations system? tools?"},
		"messages in a table": {"id,messages\n1,\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}]\"\n", "a.csv", Options{},
			`id text 1; messages messages [{"role": "user", "content": "q"}]`, "messages=messages tools?"},
		"no header": {"a;b\nc;d\n", "a.csv", Options{Format: "alpaca", Columns: map[string]string{"instruction": "1", "output": "2"}},
			"1 text a; 2 text b", "instruction=1 input? output=2"},
		"by number under a header": {"x;y\nc;d\n", "a.csv", Options{Format: "text", Columns: map[string]string{"text": "2"}}, "1 text x; 2 text y", "text=2"},
		"classification":           {`{"review": "r", "sentiment": 1}`, "a.jsonl", Options{Classify: true}, "review text r; sentiment number 1", "text=review input_ids? label=sentiment"},
		"plain text":               {"Once upon a time", "a.txt", Options{}, "", ""},
		"a name that is not there": {`{"foo": "x"}`, "a.jsonl", Options{Format: "text", Columns: map[string]string{"text": "bar"}}, "foo text x", "text=bar"},
		"a long value":             {`{"text": "` + strings.Repeat("é", 200) + `"}`, "a.jsonl", Options{}, "text text " + strings.Repeat("é", 120) + "…", "text=text"},
	} {
		columns, keys, _, err := Columns(strings.NewReader(c.src), c.file, c.opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var said, read []string
		for _, x := range columns {
			said = append(said, strings.TrimSpace(x.Name+" "+x.Kind+" "+x.Example))
		}
		for _, k := range keys {
			text := k.Key
			if k.Column != "" {
				text += "=" + k.Column
			} else if k.Optional {
				text += "?"
			}
			read = append(read, text)
		}
		if got := strings.Join(said, "; "); got != c.columns {
			t.Errorf("%s: columns\n got %s\nwant %s", name, got, c.columns)
		}
		if got := strings.Join(read, " "); got != c.keys {
			t.Errorf("%s: keys %q, want %q", name, got, c.keys)
		}
	}
	if _, _, _, err := Columns(strings.NewReader("PK\x03\x04"), "a.zip", Options{}); err == nil {
		t.Error("a damaged archive has columns")
	}
}

// FuzzColumns reads the columns of any file: they are those that the rows have, without a panic.
func FuzzColumns(f *testing.F) {
	for _, src := range []string{`{"a": [{"from": "x"}], "b": "[1]"}`, "a;b\n\"c\";d", "[{\"a\": 1}, null]", "\x1f\x8b", "plain", `{"a": {"b": "c"}, "a": 1}`, "1\t2\n3"} {
		f.Add([]byte(src), "x.jsonl")
		f.Add([]byte(src), "x.csv")
	}
	f.Fuzz(func(t *testing.T, src []byte, name string) {
		columns, keys, _, err := Columns(strings.NewReader(string(src)), name, Options{})
		if err != nil && len(columns) > 0 {
			t.Errorf("columns with the error %v", err)
		}
		seen := map[string]bool{}
		for _, c := range columns {
			if c.Name == "" || seen[c.Name] || len([]rune(c.Example)) > exampleLength+1 {
				t.Errorf("the column %+v", c)
			}
			seen[c.Name] = true
		}
		for _, k := range keys {
			if k.Column != "" && !seen[k.Column] {
				t.Errorf("%+v is none of the columns", k)
			}
		}
	})
}

// TestOutlines shows the parts of the first rows: each begins at the token that a person sees first in it.
func TestOutlines(t *testing.T) {
	talked := spoken(t, talks)
	for name, c := range map[string]struct {
		src  string
		opt  Options
		want string
	}{
		"turns":            {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "c"}]}`, talked, `[[{"role":"user","from":0},{"role":"assistant","from":5},{"role":"user","from":9},{"role":"assistant","from":13}]]`},
		"merged":           {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, talked, `[[{"role":"user","from":0},{"role":"assistant","from":4}]]`},
		"tail left out":    {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "r"}]}`, talked, `[[{"role":"user","from":0},{"role":"assistant","from":5}]]`},
		"pair":             {`{"prompt": "ab", "completion": "c"}`, Options{}, `[[{"role":"prompt","from":0},{"role":"completion","from":3}]]`},
		"no prompt":        {`{"prompt": "", "completion": "c"}`, Options{}, `[[{"role":"prompt","from":0},{"role":"completion","from":1}]]`},
		"text":             {`{"text": "ab"}`, Options{}, `[null]`},
		"two of three":     {`{"prompt": "a", "completion": "b"}` + "\n" + `{"prompt": "a", "completion": ""}` + "\n" + `{"prompt": "abc", "completion": "b"}` + "\n" + `{"prompt": "a", "completion": "d"}`, Options{}, `[[{"role":"prompt","from":0},{"role":"completion","from":2}],[{"role":"prompt","from":0},{"role":"completion","from":4}]]`},
		"a row left out":   {`{"prompt": 3, "completion": "b"}` + "\n" + `{"prompt": "a", "completion": "b"}`, Options{SkipBad: true}, `[[{"role":"prompt","from":0},{"role":"completion","from":2}]]`},
		"nobody wants any": {`{"prompt": "a", "completion": "b"}`, Options{Outlines: -1}, `null`},
	} {
		if c.opt.Outlines++; c.opt.Outlines > 0 {
			c.opt.Outlines = 2
		}
		if name == "merged" {
			c.opt.Tokenizer = bytesTokenizer{merges: []string{"\x02a"}}
		}
		d, err := loadString(c.src, "a.jsonl", c.opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, _ := json.Marshal(d.Outlines); string(got) != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if d.Outlines != nil && len(d.Outlines) != min(2, d.Len()) {
			t.Errorf("%s: %d outlines of %d rows", name, len(d.Outlines), d.Len())
		}
		if (d.Chat == nil) != (c.opt.Chat == nil) {
			t.Errorf("%s: the template %v", name, d.Chat)
		}
	}
}
