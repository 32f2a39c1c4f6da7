package data

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// streamed reads src as a large file is read.
func streamed(t *testing.T, files fstest.MapFS, name string, opt Options) (*Dataset, error) {
	t.Helper()
	was := streamFrom
	streamFrom = 1
	defer func() { streamFrom = was }()
	opt.Open = func() (fs.File, error) { return files.Open(name) }
	f, err := opt.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Load(f, name, opt)
}

// samePacks compares packed rows that are read when they are drawn with those in memory.
func samePacks(t *testing.T, name string, got, want *Dataset) {
	t.Helper()
	name += ", packed"
	if got.Stats != want.Stats || got.Fingerprint != want.Fingerprint || got.Longest() != want.Longest() || got.LongestPart() != want.LongestPart() || got.VisiblePairs(0) != want.VisiblePairs(0) || got.VisiblePairs(2) != want.VisiblePairs(2) {
		t.Errorf("%s: %+v, fingerprint %x; want %+v, %x", name, got.Stats, got.Fingerprint, want.Stats, want.Fingerprint)
	}
	if !reflect.DeepEqual(got.PackedRemark(), want.PackedRemark()) || got.Len() < 1 || want.Stats.Packed != want.Len() {
		t.Errorf("%s: %v, want %v", name, got.PackedRemark(), want.PackedRemark())
	}
	sameRows(t, name, got, want)
	rows, err := got.Pick([]int{got.Len() - 1, 0, got.Len() / 2})
	if err != nil || !reflect.DeepEqual(rows[1], want.Samples[0]) || !reflect.DeepEqual(rows[0], want.Samples[got.Len()-1]) {
		t.Errorf("%s: %v: rows that are drawn in another order differ", name, err)
	}
	for row := range got.Len() {
		if got.rowCounted(row) != want.rowCounted(row) || !slices.Equal(got.RowLines(row), want.RowLines(row)) {
			t.Errorf("%s: row %d counts %d of lines %v, want %d of %v", name, row, got.rowCounted(row), got.RowLines(row), want.rowCounted(row), want.RowLines(row))
		}
	}
	alone, wantAlone := got.Unpack(), want.Unpack()
	if alone.Len() != wantAlone.Len() || alone.Stats != wantAlone.Stats {
		t.Errorf("%s: %d rows when unpacked, want %d", name, alone.Len(), wantAlone.Len())
	}
	for row := range alone.Len() {
		s, err := alone.Row(row)
		if w := wantAlone.Samples[row]; err != nil || !slices.Equal(s.IDs, w.IDs) || s.Line != w.Line {
			t.Errorf("%s: unpacked row %d is %v (%v), want %v", name, row, s, err, w)
		}
	}
}

// A file whose rows are read when they are drawn gives the rows, counts and remarks of the same file in memory.
func TestStreamedRows(t *testing.T) {
	row := func(i int) string {
		return fmt.Sprintf(`{"prompt": "é%d", "completion": "%s"}`, i%40, strings.Repeat("x", i%7))
	}
	var lines, list, spread, table strings.Builder
	lines.WriteString("\ufeff\n \n")
	list.WriteString("\n[")
	table.WriteString("prompt,completion\r\n")
	for i := range 100 {
		fmt.Fprintf(&lines, "%s\r\n\n", row(i))
		fmt.Fprintf(&list, "%s,\n", row(i))
		fmt.Fprintf(&spread, "%s\n", strings.ReplaceAll(row(i), ",", ",\n"))
		fmt.Fprintf(&table, "\"é\n%d\",%s\n", i%40, strings.Repeat("x", i%7))
	}
	for name, c := range map[string]struct {
		file, src string
		streams   bool
	}{
		"JSON lines":       {"a.jsonl", lines.String(), true},
		"a bad row":        {"a.jsonl", lines.String() + "{\"prompt\": 1}\n" + row(5), true},
		"an array":         {"a.json", list.String() + row(3) + "]", true},
		"objects":          {"a.json", spread.String(), true},
		"a list":           {"a.json", "{\"n\": 1,\n\"data\": " + strings.TrimSpace(list.String()) + row(3) + "]}", true},
		"a table":          {"a.csv", table.String(), true},
		"a text":           {"a.txt", strings.Repeat("abc ", 99), false},
		"packed":           {"a.jsonl.gz", gzipped(t, lines.String()), false},
		"GB18030":          {"a.jsonl", `{"text": "ab"}` + "\n" + `{"text": "` + hello + `"}`, false},
		"tokens as tables": {"a.tsv", "input_ids\tx\n[65,66]\t1\n[67,68,69]\t2\n", true},
	} {
		opt := Options{Tokenizer: bytesTokenizer{}, MaxLength: 9, SkipBad: true}
		files := fstest.MapFS{c.file: {Data: []byte(c.src)}}
		want, err := Load(strings.NewReader(c.src), c.file, opt)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := streamed(t, files, c.file, opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Streams() != c.streams || got.Stats != want.Stats || got.Fingerprint != want.Fingerprint || !reflect.DeepEqual(got.Remarks, want.Remarks) || got.Longest() != want.Longest() {
			t.Errorf("%s: %+v %v, want %+v %v", name, got.Stats, got.Remarks, want.Stats, want.Remarks)
		}
		sameRows(t, name, got, want)
		sameRows(t, name+", cut", got.Cut(3), want.Cut(3))
		for _, shuffle := range []bool{false, true} {
			samePacks(t, name, got.Pack(shuffle, 3), want.Pack(shuffle, 3))
		}
		if want.Len() < 3 {
			continue
		}
		train, valid, err := got.Split(0.3, 7)
		wantTrain, wantValid, _ := want.Split(0.3, 7)
		if err != nil || train.Stats != wantTrain.Stats || valid.Stats != wantValid.Stats {
			t.Errorf("%s: the parts have %+v and %+v (%v), want %+v and %+v", name, train.Stats, valid.Stats, err, wantTrain.Stats, wantValid.Stats)
		}
		sameRows(t, name+", train", train, wantTrain)
		sameRows(t, name+", valid", valid, wantValid)
		samePacks(t, name+", train", train.Pack(true, 3), wantTrain.Pack(true, 3))
	}
}

func sameRows(t *testing.T, name string, got, want *Dataset) {
	t.Helper()
	if got.Len() != want.Len() {
		t.Fatalf("%s: %d rows, want %d", name, got.Len(), want.Len())
	}
	all, err := got.Range(0, got.Len())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i, s := range all {
		w, err := want.Row(i)
		if err != nil || !reflect.DeepEqual(s, w) || got.RowLen(i) != len(w.IDs) || !slices.Equal(got.RowLines(i), w.Lines()) || want.RowLen(i) != len(w.IDs) {
			t.Fatalf("%s: row %d is %+v of %d tokens, want %+v (%v)", name, i, s, got.RowLen(i), w, err)
		}
	}
}

// A row that has changed since the file was indexed is an error, and so is a file that is gone.
func TestStreamedFileChanges(t *testing.T) {
	const src = `{"text": "abc"}` + "\n" + `{"text": "def"}` + "\n"
	for name, change := range map[string]func(files fstest.MapFS){
		"another text": func(files fstest.MapFS) { files["a.jsonl"].Data = []byte(strings.Replace(src, "def", "dex", 1)) },
		"another kind": func(files fstest.MapFS) {
			files["a.jsonl"].Data = []byte(strings.Replace(src, `{"text": "def`, `["text", "def`, 1))
		},
		"shorter": func(files fstest.MapFS) { files["a.jsonl"].Data = []byte(src[:20]) },
		"gone":    func(files fstest.MapFS) { delete(files, "a.jsonl") },
	} {
		files := fstest.MapFS{"a.jsonl": {Data: []byte(src)}}
		d, err := streamed(t, files, "a.jsonl", Options{Tokenizer: bytesTokenizer{}})
		if err != nil {
			t.Fatal(err)
		}
		change(files)
		if s, err := d.Row(1); err == nil {
			t.Errorf("%s: %+v", name, s)
		} else if name != "gone" && !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", name, err)
		} else if name == "another text" && !errors.Is(err, errChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
