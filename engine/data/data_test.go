package data

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"llamatab/engine/message"
	"llamatab/engine/testfiles"
)

// bytesTokenizer has one id a byte (its value), one for each of merges (256, 257, …), BOS 1 and EOS 2.
type bytesTokenizer struct {
	merges  []string
	bare    bool // no BOS before a text
	endless bool // no EOS
}

func (b bytesTokenizer) BOS() (int, bool) { return 1, true }
func (b bytesTokenizer) EOS() (int, bool) { return 2, !b.endless }

func (b bytesTokenizer) Encode(text string, special bool) ([]int, error) {
	ids, _, err := b.EncodeOffsets(text)
	if special && !b.bare {
		ids = append([]int{1}, ids...)
	}
	return ids, err
}

func (b bytesTokenizer) Token(id int) (string, bool) { return string(rune(id)), id < 256 }

func (b bytesTokenizer) EncodeOffsets(text string) (ids []int, offsets [][2]int, err error) {
	if strings.Contains(text, "\x00") {
		return nil, nil, errors.New("no such token")
	}
	for at := 0; at < len(text); {
		id, size := int(text[at]), 1
		for i, m := range b.merges {
			if strings.HasPrefix(text[at:], m) {
				id, size = 256+i, len(m)
			}
		}
		ids, offsets = append(ids, id), append(offsets, [2]int{at, at + size})
		at += size
	}
	return ids, offsets, nil
}

func loadString(src, name string, opt Options) (*Dataset, error) {
	if opt.Tokenizer == nil {
		opt.Tokenizer = bytesTokenizer{}
	}
	return Load(strings.NewReader(src), name, opt)
}

// show writes a sample as its ids, masked ones in parentheses.
func show(s Sample) string {
	var b strings.Builder
	for i, id := range s.IDs {
		text := string(rune(id))
		switch {
		case id == 1:
			text = "<"
		case id == 2:
			text = ">"
		case id >= 256:
			text = fmt.Sprintf("{%d}", id)
		}
		if s.Labels[i] == Ignore {
			text = "(" + text + ")"
		} else if s.Labels[i] != id {
			text = fmt.Sprintf("%s→%d", text, s.Labels[i])
		}
		b.WriteString(text)
	}
	return b.String()
}

func showAll(d *Dataset) (rows []string) {
	for _, s := range d.Samples {
		rows = append(rows, show(s))
	}
	return rows
}

func TestFormats(t *testing.T) {
	for name, c := range map[string]struct {
		src, file, format string
		opt               Options
		want              []string
	}{
		"text lines":        {`{"text": "ab"}` + "\n\n" + `{"text": "c", "id": 7}` + "\n", "a.jsonl", "text", Options{}, []string{"<ab>", "<c>"}},
		"text array":        {"[{\"text\": \"ab\"},\n {\"text\": \"c\"}]", "a.json", "text", Options{}, []string{"<ab>", "<c>"}},
		"BOM and CRLF":      {"\ufeff{\"text\": \"ab\"}\r\n{\"text\": \"c\"}\r\n", "a.jsonl", "text", Options{}, []string{"<ab>", "<c>"}},
		"text cut":          {`{"text": "abcdef"}`, "a.jsonl", "text", Options{MaxLength: 3}, []string{"<ab"}},
		"column":            {`{"body": "ab"}`, "a.jsonl", "text", Options{Columns: map[string]string{"text": "body"}}, []string{"<ab>"}},
		"plain":             {"abcdefgh", "a.txt", "text", Options{MaxLength: 4}, []string{"<abc", "<def", "<gh"}},
		"plain BOM CRLF":    {"\ufeffa\r\nb", "a.TXT", "text", Options{}, []string{"<a\nb"}},
		"plain spaces":      {" \n{a", "a.txt", "text", Options{}, []string{"< \n{a"}},
		"plain, no name":    {"ab", "story", "text", Options{}, []string{"<ab"}},
		"plain without BOS": {"abcde", "a.txt", "text", Options{MaxLength: 2, Tokenizer: bytesTokenizer{bare: true}}, []string{"ab", "cd"}},
		"pretty":            {"{\n  \"text\": \"ab\"\n}\n{\n  \"text\":\n  \"c}\"\n}\n", "a.json", "text", Options{}, []string{"<ab>", "<c}>"}},
		"pretty, nested":    {"{\"meta\":\n{\"a\": 1},\n\"text\": \"ab\"}", "a.jsonl", "text", Options{}, []string{"<ab>"}},
		"list under a key":  {"{\"version\": [1, \"[{\"],\n\"data\": [{\"text\": \"ab\"},\n{\"text\": \"c\"}], \"n\": 2}\n", "a.json", "text", Options{}, []string{"<ab>", "<c>"}},
		"list in a row":     {"{\"text\": \"ab\", \"data\": [{\"text\": \"c\"}]}\n", "a.json", "text", Options{}, []string{"<ab>"}},
		"question":          {`{"Question": "ab", "answer": "cd"}`, "a.jsonl", "prompt_completion", Options{Columns: map[string]string{"prompt": "Question"}}, []string{"(<)(a)(b)cd>"}},
		"response":          {`{"prompt": "ab", "response": "cd"}`, "a.jsonl", "prompt_completion", Options{}, []string{"(<)(a)(b)cd>"}},
		"content":           {`{"id": 7, "content": "ab"}`, "a.jsonl", "text", Options{}, []string{"<ab>"}},
		"no BOS, no EOS":    {`{"text": "ab"}`, "a.jsonl", "text", Options{Tokenizer: bytesTokenizer{bare: true, endless: true}}, []string{"ab"}},
		"tokens":            {`{"input_ids": [65, 66, 67], "labels": [-100, 66, 68]}`, "a", "tokens", Options{}, []string{"(A)BC→68"}},
		"tokens, no labels": {`{"input_ids": [65, 66], "labels": null, "attention_mask": [1, 1]}`, "a", "tokens", Options{}, []string{"AB"}},
		"untrained tokens":  {`{"input_ids": [65]}` + "\n" + `{"input_ids": [65, 66, 67]}`, "a", "tokens", Options{MaxLength: 2}, []string{"A", "ABC"}},
		"tokens win":        {`{"input_ids": [65, 66], "text": "x"}`, "a", "tokens", Options{}, []string{"AB"}},
		"prompt":            {`{"prompt": "ab", "completion": "cd"}`, "a", "prompt_completion", Options{}, []string{"(<)(a)(b)cd>"}},
		"prompt trained":    {`{"prompt": "ab", "completion": "cd"}`, "a", "prompt_completion", Options{TrainOnPrompt: true}, []string{"<abcd>"}},
		"prompt empty":      {`{"prompt": "", "completion": "cd"}`, "a", "prompt_completion", Options{}, []string{"(<)cd>"}},
		"prompt cut":        {`{"prompt": "ab", "completion": "cd"}`, "a", "prompt_completion", Options{MaxLength: 4}, []string{"(<)(a)(b)c"}},
		"merge before":      {`{"prompt": "xab", "completion": "c"}`, "a", "prompt_completion", Options{Tokenizer: bytesTokenizer{merges: []string{"ab"}}}, []string{"(<)(x)({256})c>"}},
		"merge after":       {`{"prompt": "x", "completion": "abc"}`, "a", "prompt_completion", Options{Tokenizer: bytesTokenizer{merges: []string{"ab"}}}, []string{"(<)(x){256}c>"}},
		"merge over border": {`{"prompt": "xa", "completion": "bc"}`, "a", "prompt_completion", Options{Tokenizer: bytesTokenizer{merges: []string{"ab"}}}, []string{"(<)(x){256}c>"}},
		"merge of all":      {`{"prompt": "a", "completion": "b"}`, "a", "prompt_completion", Options{Tokenizer: bytesTokenizer{merges: []string{"ab"}}}, []string{"(<){256}>"}},
	} {
		d, err := loadString(c.src, c.file, c.opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := showAll(d); !slices.Equal(got, c.want) || d.Format != c.format {
			t.Errorf("%s: %s %q, want %s %q", name, d.Format, got, c.format, c.want)
		}
	}
}

func TestAlpaca(t *testing.T) {
	d, err := loadString(`{"instruction": "Add.", "input": "1 1", "output": "2"}`+"\n"+
		`{"instruction": "Greet.", "input": null, "output": "Hi"}`+"\n"+`{"instruction": "Greet.", "output": "Hi", "history": [], "system": ""}`, "a.jsonl", Options{})
	if err != nil || d.Format != "alpaca" || len(d.Samples) != 3 || d.Stats.Duplicates != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	for i, want := range []struct{ has, prompt, answer string }{
		{"\n\n### Input:\n1 1\n\n### Response:2", AlpacaPrompt("Add.", "1 1"), "2"},
		{"\n\n### Instruction:\nGreet.\n\n### Response:Hi", AlpacaPrompt("Greet.", ""), "Hi"},
	} {
		s := d.Samples[i]
		var all, trained []byte
		for t, id := range s.IDs {
			all = append(all, byte(id))
			if s.Labels[t] != Ignore {
				trained = append(trained, byte(id))
			}
		}
		if got := string(all); got != "\x01"+want.prompt+want.answer+"\x02" || !strings.Contains(got, want.has) {
			t.Errorf("row %d is %q", i, got)
		}
		if string(trained) != want.answer+"\x02" {
			t.Errorf("row %d trains %q", i, trained)
		}
	}
}

func TestStats(t *testing.T) {
	d, err := loadString(`{"prompt": "ab", "completion": "cdefgh"}
{"prompt": "abcdefgh", "completion": "c"}
{"prompt": "a", "completion": ""}
{"prompt": "a", "completion": "b"}
{"prompt": "a", "completion": "b"}`, "a.jsonl", Options{MaxLength: 5})
	if err != nil {
		t.Fatal(err)
	}
	// <abcd cut by 5 tokens; a prompt that fills its row (cut by 6) and an empty completion dropped; <ab> twice.
	want := Stats{Rows: 3, Tokens: 13, Trained: 6, Truncated: 2, Lost: 11, Dropped: 2, Empty: 1, CutOff: 1, Duplicates: 1}
	if d.Stats != want {
		t.Errorf("got %+v, want %+v", d.Stats, want)
	}
	var text string
	for _, r := range d.Remarks {
		text += r.Message + "\n"
	}
	if !strings.Contains(text, "2 of 5 rows dropped, the first at line 2") ||
		!strings.Contains(text, "2 of 5 rows cut to 5 tokens: 11 tokens lost, 45.8 %") || !strings.Contains(text, "1 of 3 rows repeat") {
		t.Errorf("remarks:\n%s", text)
	}
}

// Rows without a trained token are counted by cause; rows of ids stay, and are named.
func TestUntrainedRows(t *testing.T) {
	for name, c := range map[string]struct {
		src  string
		opt  Options
		want Stats
		code string
	}{
		"empty":     {`{"text": "abc"}` + "\n" + `{"text": ""}`, Options{}, Stats{Rows: 1, Tokens: 5, Trained: 4, Dropped: 1, Empty: 1}, "rows_dropped"},
		"completed": {`{"prompt": "a", "completion": "b"}` + "\n" + `{"prompt": "a", "completion": ""}`, Options{}, Stats{Rows: 1, Tokens: 4, Trained: 2, Dropped: 1, Empty: 1}, "rows_dropped"},
		"cut off":   {`{"prompt": "a", "completion": "b"}` + "\n" + `{"prompt": "abcdef", "completion": "g"}`, Options{MaxLength: 5}, Stats{Rows: 1, Tokens: 4, Trained: 2, Dropped: 1, CutOff: 1, Truncated: 1, Lost: 4}, "rows_dropped"},
		"ids":       {`{"input_ids": [1, 2]}` + "\n" + `{"input_ids": [3, 4], "labels": [3, -100]}`, Options{}, Stats{Rows: 2, Tokens: 4, Trained: 1, Untrained: 1}, "rows_untrained"},
		"one id":    {`{"input_ids": [1, 2]}` + "\n" + `{"input_ids": [3]}`, Options{}, Stats{Rows: 2, Tokens: 3, Trained: 1, Untrained: 1}, "rows_untrained"},
	} {
		d, err := loadString(c.src, "a.jsonl", c.opt)
		if err != nil || d.Stats != c.want {
			t.Errorf("%s: %v, got %+v, want %+v", name, err, d.Stats, c.want)
			continue
		}
		if !slices.ContainsFunc(d.Remarks, func(r message.Remark) bool { return r.Code == c.code }) {
			t.Errorf("%s: remarks %v", name, d.Remarks)
		}
		if s := d.Stats; s.Dropped != s.Empty+s.Masked+s.CutOff {
			t.Errorf("%s: %+v", name, s)
		}
	}
	_, err := loadString(`{"prompt": "abc", "completion": "d"}`+"\n"+`{"prompt": "", "completion": ""}`, "a.jsonl", Options{MaxLength: 3})
	fault, ok := errors.AsType[*Fault](err)
	if !ok || fault.Code != "nothing_trained" || fault.Data["cut"] != 1 || fault.Data["empty"] != 1 || fault.Data["masked"] != 0 {
		t.Errorf("%v", err)
	}
}

func TestBadFiles(t *testing.T) {
	good := `{"text": "ab"}` + "\n"
	for name, c := range map[string]struct {
		src, file string
		opt       Options
		want      []string
	}{
		"empty":                 {"", "a.jsonl", Options{}, []string{"data: a.jsonl: holds no rows"}},
		"blank":                 {" \r\n\n", "a.jsonl", Options{}, []string{"holds no rows"}},
		"blank text":            {" \n", "a.txt", Options{}, []string{"holds no rows"}},
		"empty array":           {"[]", "a.json", Options{}, []string{"holds no rows"}},
		"bad JSON":              {good + `{"text": "é",, }`, "a.jsonl", Options{}, []string{"data: a.jsonl: line 2: column 14: not JSON"}},
		"cut line":              {good + `{"text": "a`, "a.jsonl", Options{}, []string{"line 2: column 11: not JSON"}},
		"two objects a line":    {good + `{"text": "a"} {}`, "a.jsonl", Options{}, []string{"line 2: column 15"}},
		"no object":             {good + `["text"]`, "a.jsonl", Options{}, []string{"line 2: a row is a JSON object, got a list"}},
		"null row":              {good + `null`, "a.jsonl", Options{}, []string{"line 2: a row is a JSON object, got null"}},
		"missing key":           {good + `{"txt": "a"}`, "a.jsonl", Options{}, []string{"line 2", `"text" is missing`}},
		"null value":            {good + `{"text": null}`, "a.jsonl", Options{}, []string{"line 2", `"text" is null`}},
		"wrong type":            {good + `{"text": {"a": 1}}`, "a.jsonl", Options{}, []string{"line 2", `"text" wants a string, got an object`}},
		"UTF-8":                 {good + "{\"text\": \"\xff\"}", "a.jsonl", Options{}, []string{"line 2", "UTF-8"}},
		"UTF-8 text":            {"a\nb\xff", "a.txt", Options{}, []string{"line 2", "UTF-8"}},
		"long line":             {good + `{"text": "` + strings.Repeat("a", maxLine) + `"}`, "a.jsonl", Options{}, []string{"line 2", "limit"}},
		"tokenizer":             {good + `{"text": "\u0000"}`, "a.jsonl", Options{}, []string{"line 2: no such token"}},
		"array bad":             {"[{\"text\": \"a\"},\n {\"text\": }]", "a.json", Options{}, []string{"line 2: column 11: not JSON"}},
		"array cut":             {"[{\"text\": \"a\"},\n {\"text\": \"b\"}\n", "a.json", Options{}, []string{"line", "ends inside"}},
		"array cut in a row":    {"[{\"text\": \"a\"},\n {\"text\": ", "a.json", Options{}, []string{"line", "ends inside"}},
		"array tail":            {"[{\"text\": \"a\"}]\n{}", "a.json", Options{}, []string{"line 2: column 1: '{' after the end"}},
		"array of strings":      {"[\n\"a\"]", "a.json", Options{}, []string{"line 2: column 1: a row is a JSON object, got '\"'"}},
		"array comma":           {"[{\"text\": \"a\"} {}]", "a.json", Options{}, []string{"line 1: column 16", "where a comma belongs"}},
		"array late mistake":    {"[{\"text\":\n\n\"é\" x}]", "a.json", Options{}, []string{"line 3: column 5: not JSON"}},
		"array trailing comma":  {"[{\"text\": \"a\"},]", "a.json", Options{}, []string{"line 1: column 16", "a comma before the end"}},
		"array quote":           {"[{\"te\\\"}xt\": \"a\"}]", "a.json", Options{}, []string{"keys [te\"}xt]"}},
		"array row":             {"[{\"text\": \"a\"},\n\n {\"text\": 1}]", "a.json", Options{}, []string{"line 3", "got a number"}},
		"deep":                  {strings.Repeat("[", 100_000), "a.json", Options{}, []string{"line 1"}},
		"chat":                  {`{"messages": []}`, "a.jsonl", Options{}, []string{"line 1", `"messages" has no messages`}},
		"no format":             {`{"verse": "a", "chapter": "b"}`, "a.jsonl", Options{}, []string{"line 1", "[chapter, verse]", "dataset.columns", `{"text": "chapter"}`}},
		"first value null":      {`{"text": null}` + "\n" + good, "a.jsonl", Options{}, []string{`line 1: "text" is null`}},
		"first output null":     {`{"instruction": "a", "output": null}`, "a.jsonl", Options{}, []string{`line 1: "output" is null`}},
		"null in an array":      {"[{\"text\": \"a\"},\n null]", "a.json", Options{}, []string{"line 2: a row is a JSON object, got null"}},
		"pretty, cut":           {"{\n \"text\": \"a\"\n", "a.json", Options{}, []string{"line 1", "ends inside the JSON object"}},
		"pretty, comma":         {"{\n \"text\": \"a\"\n},\n{\n \"text\": \"b\"\n}", "a.json", Options{}, []string{"line 3", "between two objects"}},
		"pretty, late mistake":  {"{\n \"text\": \"a\"\n}\n{\n \"text\": b\n}", "a.json", Options{}, []string{"line 5: column 10"}},
		"list under a key, cut": {"{\"data\": [{\"text\": \"a\"}]", "a.json", Options{}, []string{"ends inside its JSON object"}},
		"unknown format":        {good, "a.jsonl", Options{Format: "xml"}, []string{`"xml"`, "tokens, alpaca"}},
		"table without rows":    {"a,b\n", "a.csv", Options{}, []string{"holds no rows"}},
		"max_length":            {good, "a.jsonl", Options{MaxLength: 1}, []string{"max_length is 1"}},
		"max_length, context":   {good, "a.jsonl", Options{MaxLength: 9, Context: 8}, []string{"more than the model's context of 8"}},
		"column":                {good, "a.jsonl", Options{Format: "text", Columns: map[string]string{"text": "body"}}, []string{`"body" is missing`}},
		"instruction":           {`{"instruction": "", "output": "a"}`, "a.jsonl", Options{}, []string{"the instruction is empty"}},
		"history":               {`{"instruction": "a", "output": "a", "history": [["a", "b"]]}`, "a.jsonl", Options{}, []string{`"history" is not available`}},
		"alpaca input":          {`{"instruction": "a", "output": "a", "input": 1}`, "a.jsonl", Options{}, []string{`"input" wants a string`}},
		"output":                {`{"instruction": "a"}`, "a.jsonl", Options{Format: "alpaca"}, []string{`"output" is missing`}},
		"completion":            {`{"prompt": "a", "completion": [1]}`, "a.jsonl", Options{}, []string{`"completion" wants a string, got a list`}},
		"nothing trained":       {`{"prompt": "abc", "completion": "d"}`, "a.jsonl", Options{MaxLength: 3}, []string{"nothing to train on"}},
		"vocabulary":            {good, "a.jsonl", Options{Vocab: 50}, []string{"line 1", "the tokenizer does not fit the model", `token "a"`, "id 97"}},
		"ids empty":             {`{"input_ids": []}`, "a.jsonl", Options{}, []string{"line 1: input_ids is empty"}},
		"ids of a string":       {`{"input_ids": "1"}`, "a.jsonl", Options{}, []string{"wants a list of integers, got a string"}},
		"ids with a string":     {`{"input_ids": ["1"]}`, "a.jsonl", Options{}, []string{"wants a list of integers, got string in it"}},
		"ids with a fraction":   {`{"input_ids": [1.5]}`, "a.jsonl", Options{}, []string{"wants a list of integers, got number 1.5 in it"}},
		"ids too large":         {`{"input_ids": [1, 3000000000]}`, "a.jsonl", Options{}, []string{"wants a list of integers"}},
		"ids with null":         {`{"input_ids": [1, null]}`, "a.jsonl", Options{}, []string{"got null in it"}},
		"ids nested":            {`{"input_ids": [[1, 2]]}`, "a.jsonl", Options{}, []string{"got array in it"}},
		"id outside":            {`{"input_ids": [1, 9]}`, "a.jsonl", Options{Vocab: 9}, []string{"input_ids[1]: id 9 is outside the vocabulary of 9"}},
		"id negative":           {`{"input_ids": [1, -100]}`, "a.jsonl", Options{}, []string{"input_ids[1]"}},
		"label outside":         {`{"input_ids": [1, 2], "labels": [1, 9]}`, "a.jsonl", Options{Vocab: 9}, []string{"labels[1]"}},
		"label negative":        {`{"input_ids": [1, 2], "labels": [1, -1]}`, "a.jsonl", Options{Vocab: 9}, []string{"labels[1]", "-100 leaves a token out"}},
		"labels short":          {`{"input_ids": [1, 2], "labels": [1]}`, "a.jsonl", Options{}, []string{"1 labels for 2 input_ids"}},
		"row over context":      {`{"input_ids": [1, 2, 3]}`, "a.jsonl", Options{Context: 2}, []string{"line 1: a row of 3 tokens", "context of 2"}},
		"one token":             {`{"input_ids": [1]}`, "a.jsonl", Options{}, []string{"nothing to train on"}},
		"all masked":            {`{"input_ids": [1, 2], "labels": [1, -100]}`, "a.jsonl", Options{}, []string{"nothing to train on"}},
		"attention mask":        {`{"input_ids": [1, 2], "attention_mask": [1, 0]}`, "a.jsonl", Options{}, []string{"attention_mask hides tokens"}},
		"text in a tokens file": {`{"input_ids": [1, 2]}` + "\n" + good, "a.jsonl", Options{}, []string{"line 2", `"input_ids" is missing`}},
	} {
		d, err := loadString(c.src, c.file, c.opt)
		if err == nil {
			t.Errorf("%s: accepted: %q", name, showAll(d))
			continue
		}
		for _, want := range append(c.want, "data: "+c.file+": ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	if _, err := Load(strings.NewReader(good), "a.jsonl", Options{}); err == nil || !strings.Contains(err.Error(), "tokenizer") {
		t.Errorf("text without a tokenizer: %v", err)
	}
}

// A reader that breaks is an error wherever it does, never a shorter dataset.
func TestBrokenReader(t *testing.T) {
	for file, src := range map[string]string{
		"a.jsonl": `{"text": "ab"}` + "\n" + `{"text": "cd"}` + "\n",
		"a.json":  `[{"text": "ab"}, {"text": "cd"}]`,
		"a.txt":   "abcd",
	} {
		for cut := range len(src) {
			r := io.MultiReader(iotest.OneByteReader(strings.NewReader(src[:cut])), iotest.ErrReader(errors.New("the disk is gone")))
			if _, err := Load(r, file, Options{Tokenizer: bytesTokenizer{}}); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
				t.Errorf("%s cut at %d: %v", file, cut, err)
			}
		}
		d, err := Load(iotest.OneByteReader(strings.NewReader(src)), file, Options{Tokenizer: bytesTokenizer{}})
		if err != nil || d.Stats.Trained == 0 {
			t.Errorf("%s byte by byte: %v", file, err)
		}
	}
}

func TestCollate(t *testing.T) {
	rows := []Sample{
		{IDs: []int32{5, 6, 7}, Labels: []int32{5, Ignore, 7}},
		{IDs: []int32{8}, Labels: []int32{8}},
	}
	const x = Ignore
	got := Collate(rows, 3, 4)
	want := &Batch{B: 3, T: 4, Tokens: 1, Inputs: 4,
		IDs:       []int32{5, 6, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0},
		Labels:    []int32{5, x, 7, x, 8, x, x, x, x, x, x, x},
		Targets:   []int32{x, 7, x, x, x, x, x, x, x, x, x, x},
		Positions: []int32{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3},
		Classes:   []int32{x, x, x}, Last: []int32{2, 4, 8}, Longest: 3}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if b := Collate(rows, 0, 0); b.B != 2 || b.T != 3 || b.Tokens != 1 || !slices.Equal(b.Targets, []int32{x, 7, x, x, x, x}) {
		t.Errorf("without padding: %+v", b)
	}
	if b := Collate(nil, 0, 0); b.B != 0 || b.Tokens != 0 {
		t.Errorf("nothing: %+v", b)
	}
}

func TestSplit(t *testing.T) {
	var src strings.Builder
	for i := range 50 {
		fmt.Fprintf(&src, "{\"input_ids\": [%d, 3]}\n", i)
	}
	d, err := loadString(src.String(), "a", Options{})
	if err != nil {
		t.Fatal(err)
	}
	train, validation, err := d.Split(0.1, 7)
	if err != nil || len(train.Samples) != 45 || len(validation.Samples) != 5 || train.Stats.Rows != 45 || validation.Stats.Trained != 5 {
		t.Fatalf("%v %+v %+v", err, train, validation)
	}
	var all []int32
	for _, part := range []*Dataset{train, validation} {
		var ids []int32
		for _, s := range part.Samples {
			ids = append(ids, s.IDs[0])
		}
		if !slices.IsSorted(ids) {
			t.Errorf("out of file order: %v", ids)
		}
		all = append(all, ids...)
	}
	if slices.Sort(all); len(slices.Compact(all)) != 50 {
		t.Errorf("not a partition: %v", all)
	}
	_, again, _ := d.Split(0.1, 7)
	_, other, _ := d.Split(0.1, 8)
	if !reflect.DeepEqual(validation, again) || reflect.DeepEqual(validation.Samples, other.Samples) {
		t.Error("the split does not depend on the seed alone")
	}
	if _, tiny, err := d.Split(1e-9, 7); err != nil || len(tiny.Samples) != 1 {
		t.Errorf("a tiny fraction gives %v, %v", tiny, err)
	}
	if most, _, err := d.Split(0.9999, 7); err != nil || len(most.Samples) != 1 {
		t.Errorf("a huge fraction leaves %v, %v", most, err)
	}
	for _, fraction := range []float64{0, 1, -1, nan()} {
		if _, _, err := d.Split(fraction, 7); err == nil {
			t.Errorf("split by %v", fraction)
		}
	}
	d.Samples = d.Samples[:1]
	if _, _, err := d.Split(0.5, 7); err == nil {
		t.Error("one row was split")
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

func FuzzLoad(f *testing.F) {
	for _, src := range []string{
		`{"text": "ab"}` + "\n" + `{"text": "c"}`, `[{"prompt": "a", "completion": "b"}]`, `{"input_ids": [1, 2], "labels": [-100, 2]}`,
		"\ufeff{\"instruction\": \"a\", \"input\": \"\", \"output\": \"b\"}\r\n", "plain", "[", "{", `[{"text": ` + "\xff",
	} {
		f.Add([]byte(src), uint8(4))
	}
	f.Fuzz(func(t *testing.T, src []byte, length uint8) {
		const vocab = 300
		for _, name := range []string{"a.jsonl", "a.txt"} {
			d, err := Load(strings.NewReader(string(src)), name, Options{Tokenizer: bytesTokenizer{merges: []string{"ab"}}, MaxLength: int(length), Vocab: vocab, Context: 255})
			if err != nil {
				continue
			}
			trained := 0
			for _, s := range d.Samples {
				if len(s.IDs) != len(s.Labels) || len(s.IDs) == 0 || len(s.IDs) > 255 {
					t.Fatalf("%d ids, %d labels", len(s.IDs), len(s.Labels))
				}
				for i, id := range s.IDs {
					if id < 0 || id >= vocab || s.Labels[i] != Ignore && (s.Labels[i] < 0 || s.Labels[i] >= vocab) {
						t.Fatalf("id %d, label %d", id, s.Labels[i])
					}
				}
				trained += s.Counted()
			}
			if trained == 0 || trained != d.Stats.Trained || len(d.Samples) != d.Stats.Rows {
				t.Fatalf("%d trained tokens in %d rows, stats %+v", trained, len(d.Samples), d.Stats)
			}
			if b := Collate(d.Samples, 0, 0); b.Tokens != trained {
				t.Fatalf("a batch counts %d tokens of %d", b.Tokens, trained)
			}
		}
	})
}

func TestSharedText(t *testing.T) {
	f, err := os.Open(testfiles.Shared(t, "data/tinyshakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := Load(f, "tinyshakespeare.txt", Options{Tokenizer: bytesTokenizer{}, Context: 256})
	if err != nil {
		t.Fatal(err)
	}
	// Every byte is trained once: its row begins with BOS.
	if d.Stats.Trained != 1_115_394 || d.Longest() != 256 || d.Stats.Rows != (1_115_394+254)/255 {
		t.Errorf("%+v, longest %d", d.Stats, d.Longest())
	}
}

// Malformed rows are left out where that is asked for; what breaks the file as a whole is not.
func TestSkipBad(t *testing.T) {
	const good = `{"input_ids": [1, 2, 3]}`
	bad := []string{`{"input_ids": [9, 2`, `{"ids": [1, 2]}`, `{"input_ids": "1 2"}`, `{"input_ids": [1, 99]}`, "{\"input_ids\": [1], \"x\": \"\xff\"}", `7`, `{"input_ids": [1, 2], "labels": [1]}`}
	for _, b := range bad {
		for _, text := range []string{good + "\n" + b + "\n" + good, b + "\n" + good + "\n" + good} {
			if _, err := load(strings.NewReader(text), "d.jsonl", Options{Vocab: 50}); err == nil || !strings.Contains(err.Error(), "line ") {
				t.Errorf("%q: error %v", b, err)
			}
			d, err := load(strings.NewReader(text), "d.jsonl", Options{Vocab: 50, SkipBad: true})
			if err != nil {
				t.Errorf("%q: %v", b, err)
				continue
			}
			line := 2
			if strings.HasPrefix(text, b) {
				line = 1
			}
			if len(d.Samples) != 2 || d.Stats.Bad != 1 || d.Bad[0].Line != line || d.Bad[0].Cause == nil || d.Stats.Rows != 2 || d.Stats.Tokens != 6 {
				t.Errorf("%q: %+v, bad %+v", b, d.Stats, d.Bad)
			}
			if r := d.Remarks[0]; r.Code != "rows_bad" || r.Data["line"] != line || r.Data["rows"] != 3 || !strings.Contains(r.Message, "1 of 3 rows") {
				t.Errorf("%q: remarks %+v", b, d.Remarks)
			}
			if d.Samples[1].Line != 3 || d.Samples[0].Line != 3-line {
				t.Errorf("%q: lines %d and %d", b, d.Samples[0].Line, d.Samples[1].Line)
			}
		}
	}
	skip := Options{Vocab: 50, SkipBad: true}
	if d, err := load(strings.NewReader("["+good+`, {"input_ids": 7}, `+good+"]"), "d.json", skip); err != nil || d.Stats.Bad != 1 || d.Stats.Rows != 2 {
		t.Errorf("in an array: %v", err)
	}
	for text, want := range map[string]string{"[" + good + " " + good + "]": "comma", bad[0]: "no row is left", "": "holds no rows"} {
		if _, err := load(strings.NewReader(text), "d.json", skip); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if d, err := load(strings.NewReader(strings.Repeat(bad[0]+"\n", 1000)+good), "d.jsonl", skip); err != nil || d.Stats.Bad != 1000 || len(d.Bad) != maxBad {
		t.Errorf("many: %v", err)
	}
}

// Labels become classes: texts in alphabetical order, numbers by size, or as the model knows them.
func TestClassification(t *testing.T) {
	row := func(label string) string { return `{"input_ids": [1, 2], "label": ` + label + "}\n" }
	for _, c := range []struct {
		rows    string
		opt     Options
		names   []string
		classes []int32
		fails   string
	}{
		{rows: row(`"b"`) + row(`"a"`) + row(`"b"`), names: []string{"a", "b"}, classes: []int32{1, 0, 1}},
		{rows: row("10") + row("9") + row("-1"), names: []string{"-1", "9", "10"}, classes: []int32{2, 1, 0}},
		{rows: row("0") + row("2"), opt: Options{NumClasses: 3}, names: []string{"0", "1", "2"}, classes: []int32{0, 2}},
		{rows: row("7") + row("5"), opt: Options{NumClasses: 3}, names: []string{"5", "7", "LABEL_2"}, classes: []int32{1, 0}},
		{rows: row(`"x"`), opt: Options{NumClasses: 2}, names: []string{"x", "LABEL_1"}, classes: []int32{0}},
		{rows: row(`"no"`) + row("1"), opt: Options{Classes: []string{"yes", "no"}}, names: []string{"yes", "no"}, classes: []int32{1, 1}},
		{rows: row(`"b"`) + `{"input_ids": [1], "label": null}` + "\n" + row(`"a"`), opt: Options{SkipBad: true}, names: []string{"a", "b"}, classes: []int32{1, 0}},
		{rows: `{"input_ids": [1], "kind": "q"}` + "\n" + `{"input_ids": [1], "kind": "p"}`, opt: Options{Columns: map[string]string{"label": "kind"}},
			names: []string{"p", "q"}, classes: []int32{1, 0}},
		{rows: row("1") + row(`"maybe"`), opt: Options{Classes: []string{"yes", "no"}}, fails: `line 2: label "maybe" is none of the model's 2: ["yes" "no"]`},
		{rows: row(`"x"`) + row(`"x"`), fails: "two classes"},
		{rows: row("1") + row("2") + row("3"), opt: Options{NumClasses: 2}, fails: "3 different labels"},
		{rows: row("true"), fails: "line 1: \"label\" wants a whole number or a string, got a boolean"},
		{rows: `{"input_ids": [1]}`, fails: `line 1: the key "label" is missing`},
		{rows: `{"label": 1}`, fails: `line 1: the key "text" is missing`},
	} {
		c.opt.Classify = true
		d, err := Load(strings.NewReader(c.rows), "d.jsonl", c.opt)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: error %v, want one that says %q", c.rows, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.rows, err)
			continue
		}
		var got []int32
		for _, s := range d.Samples {
			got = append(got, s.Class)
		}
		if !slices.Equal(d.Classes, c.names) || !slices.Equal(got, c.classes) || d.Stats.Trained != len(got) {
			t.Errorf("%s: classes %v of %q, %d trained, want %v of %q", c.rows, got, d.Classes, d.Stats.Trained, c.classes, c.names)
		}
	}
	// The place where a classifier reads is that of transformers: argmax of (position × (id ≠ pad)), the first of equals.
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rows := make([]Sample, 1+r.IntN(4))
		for i := range rows {
			rows[i].IDs = make([]int32, 1+r.IntN(6))
			for j := range rows[i].IDs {
				rows[i].IDs[j] = int32(r.IntN(3)) // 0 is the padding token
			}
		}
		b := Collate(rows, 5, 7)
		b.SkipPadding(0)
		for i := range b.B {
			best, at := int32(-1), 0
			for t, id := range b.IDs[i*b.T : (i+1)*b.T] {
				value := int32(0)
				if id != 0 {
					value = int32(t)
				}
				if value > best {
					best, at = value, t
				}
			}
			if b.Last[i] != int32(i*b.T+at) {
				t.Fatalf("row %d of %v is read at %d, want %d", i, b.IDs, b.Last[i], i*b.T+at)
			}
		}
	}
	b := Collate([]Sample{{IDs: []int32{1, 2}, Class: 4}, {IDs: []int32{3}, Class: 0}}, 3, 5)
	if !slices.Equal(b.Classes, []int32{4, 0, Ignore}) || !slices.Equal(b.Last, []int32{1, 5, 10}) || b.Tokens != 2 {
		t.Errorf("a batch of classes %v, last %v, %d targets", b.Classes, b.Last, b.Tokens)
	}
}
