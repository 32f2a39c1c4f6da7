package main

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/message"
)

const chats = `{"conversations": [{"from": "human", "value": "Hello 世界"}, {"from": "gpt", "value": "Hi!"}]}
{"conversations": [{"from": "human", "value": "x"}, {"from": "human", "value": "y"}, {"from": "gpt", "value": "z"}]}
{"conversations": [{"from": "human", "value": null}]}
{"conversations": [{"from": "human", "value": "nobody"}]}
{"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "3"}, {"from": "gpt", "value": "\u001b[31mred"}]}
{"conversations": [{"from": "human", "value": "Hello 世界"}, {"from": "gpt", "value": "Hi!"}]}
`

func TestDataCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	says := func(code int, args []string, parts ...string) string {
		t.Helper()
		got, stdout, stderr := run(t, append([]string{"data"}, args...)...)
		if got != code {
			t.Fatalf("data %v: exit %d, want %d\n%s%s", args, got, code, stdout, stderr)
		}
		for _, p := range parts {
			if !strings.Contains(stdout+stderr, p) {
				t.Errorf("data %v: does not say %q:\n%s%s", args, p, stdout, stderr)
			}
		}
		return stdout
	}
	file := write("talk.jsonl", chats)
	out := says(2, []string{file, "--rows", "4"}, "read as    sharegpt, json lines, UTF-8", "conversations (sharegpt) read as conversations", "rows       4 (tokens are counted with --model)",
		"left out   1: 0 empty, 1 without a trained token, 0 cut off", "repeated   1", "malformed  1\n  line 3: message 1: \"value\" is null", "have two turns of the user or of the assistant in a row",
		"1 of 5 conversations, the first at line 4, have no turn of the assistant", "<user>\nHello 世界\n<assistant>\n⟦Hi!\n⟧", "row 3, line 5:", "data: 1 malformed row:")
	if strings.Contains(out, "\x1b") {
		t.Errorf("a sequence that controls the terminal is printed: %q", out)
	}

	// With a model there are tokens, its template, and what max_length cuts.
	tales := filepath.Join("..", "testdata", "builtin", "models", "tales")
	ok := write("ok.jsonl", strings.Split(chats, "\n")[0]+"\n")
	says(0, []string{"--model", tales, ok}, "rows       1, ", " of them trained", "template   plain, a built-in one: the model has none", "cut        0, 0 tokens lost", "row 1, line 1, ", "⟦Hi!</s>⟧")
	says(2, []string{"--model", tales, ok, "--max-length", "8"}, "nothing to train on", "1 lose all trained tokens to max_length")
}

func TestDataCommandCounts(t *testing.T) {
	dir := t.TempDir()
	tales := filepath.Join("..", "testdata", "builtin", "models", "tales")
	file := filepath.Join(dir, "pairs.csv")
	if err := os.WriteFile(file, []byte("query;reply\nonce;upon a time there was\nonce;upon a time there was\nempty;\n"+strings.Repeat("long ", 60)+";gone\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "data", "--json", "--model", tales, "--max-length", "100", "--rows", "1", file)
	var got dataReport
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s%s", code, err, stdout, stderr)
	}
	c := got.Counts
	if got.Format != "alpaca" || got.File.Separator != ";" || c.Rows != 2 || c.Tokens == 0 || c.Trained == 0 || c.Trained >= c.Tokens || c.Empty != 1 || c.CutOff != 1 || c.Dropped != 2 || c.Truncated == 0 || c.Duplicates != 1 || c.Bad != 0 {
		t.Errorf("%+v", got)
	}
	if len(got.Rows) != 1 || got.Rows[0].Line != 2 || got.Rows[0].Length != c.Tokens/2 || len(got.Columns) != 2 || got.Columns[0].Name != "query" {
		t.Errorf("%+v", got.Rows)
	}
	trained := ""
	for _, token := range got.Rows[0].Tokens {
		if token.Trained && !token.Special {
			trained += token.Text
		}
	}
	if trained != "upon a time there was" {
		t.Errorf("%q is trained", trained)
	}

	// The same file in an archive, by its name there; other columns; a file that cannot be read; wrong options.
	archive := filepath.Join(dir, "all.zip")
	out, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(out)
	for name, text := range map[string]string{"a.csv": "query,reply\nq,a\n", "b.csv": "x,y\nq,the answer\n"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	for _, x := range []struct {
		code  int
		args  []string
		parts []string
	}{
		{0, []string{archive + "#b.csv", "--column", "prompt=x", "--column", "completion=y"}, []string{"all.zip#b.csv", "prompt_completion", "q⟦the answer⟧", "y (text) read as completion"}},
		{2, []string{archive + "#b.csv"}, []string{"columns    x (text)", "no format fits a row with the keys [x, y]", "what to do: "}},
		{2, []string{archive}, []string{"a zip archive of 2 data files"}},
		{2, []string{archive + "#c.csv"}, []string{`has no file "c.csv"`}},
		{2, []string{filepath.Join(dir, "none.csv")}, []string{"none.csv does not exist"}},
		{2, nil, []string{"the FILE is missing"}},
		{2, []string{file, "--column", "x"}, []string{`--column "x" wants key=name`}},
		{2, []string{file, "--format", "nope"}, []string{"dataset.format"}},
		{0, []string{"--help"}, []string{"usage: llamatab data FILE", "--template", "--json"}},
	} {
		code, stdout, stderr := run(t, append([]string{"data"}, x.args...)...)
		if code != x.code {
			t.Errorf("data %v: exit %d, want %d\n%s%s", x.args, code, x.code, stdout, stderr)
		}
		for _, p := range x.parts {
			if !strings.Contains(stdout+stderr, p) {
				t.Errorf("data %v: does not say %q:\n%s%s", x.args, p, stdout, stderr)
			}
		}
	}
}

// On a terminal what is trained is green, and nothing in the data can control the terminal.
func TestDataColours(t *testing.T) {
	r := &dataReport{Path: "d.jsonl", tokens: true}
	r.Rows = []message.PreviewRow{{Line: 3, Length: 9, Tokens: []message.PreviewToken{{Text: "a\x1b[2J"}, {Text: "b\u0085", Trained: true}, {Text: "\u202ec", Trained: true}}}}
	var b strings.Builder
	r.print(&b, true)
	if want := "row 1, line 3, 9 tokens:\na\ufffd[2J\x1b[32mb\ufffd\ufffdc\x1b[0m…\n"; !strings.Contains(b.String(), want) {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// A classification shows its labels, and rows of ids without a model their ids.
func TestDataCommandWithoutText(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"ids.jsonl": {`{"input_ids": [1, 70000, 3], "labels": [-100, -100, 3]}`, "row 1, line 1:\n[1][70000]⟦[3]⟧\n"},
		"plain.txt": {"one text\nof two lines", "row 1, line 1:\no⟦ne text\nof two lines⟧\n"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := run(t, "data", file); code != 0 || !strings.Contains(stdout, c.want) {
			t.Errorf("%s: exit %d\n%s%s", name, code, stdout, stderr)
		}
	}
	file := filepath.Join(dir, "mood.csv")
	if err := os.WriteFile(file, []byte("text,label\nnice,good\nawful,bad\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t, "data", "--classify", file); code != 0 || !strings.Contains(stdout, "row 1, line 2, label good:\nnice") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
