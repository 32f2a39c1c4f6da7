package data

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	for name, c := range map[string]struct {
		src, file, format string
		opt               Options
		want              []string
		separator         string
	}{
		"comma":                  {"prompt,completion\nab,cd\n", "a.csv", "prompt_completion", Options{}, []string{"(<)(a)(b)cd>"}, ","},
		"quotes":                 {"prompt,completion\n\"a\"\"b\",\"c,\r\nd\"\r\n\n", "a.csv", "prompt_completion", Options{}, []string{`(<)(a)(")(b)c,` + "\nd>"}, ","},
		"a quote in a cell":      {"prompt,completion\n5\" b,cd", "a.csv", "prompt_completion", Options{}, []string{`(<)(5)(")( )(b)cd>`}, ","},
		"semicolon":              {"prompt;completion\na,b;c,d\n", "a.csv", "prompt_completion", Options{}, []string{"(<)(a)(,)(b)c,d>"}, ";"},
		"tab":                    {"prompt\tcompletion\na\tb\n", "a.tsv", "prompt_completion", Options{}, []string{"(<)(a)b>"}, "\t"},
		"bar":                    {"prompt|completion\na|b\n", "a.csv", "prompt_completion", Options{}, []string{"(<)(a)b>"}, "|"},
		"Excel's own line":       {"sep=;\nprompt;completion\na;b\n", "a.csv", "prompt_completion", Options{}, []string{"(<)(a)b>"}, ";"},
		"a BOM":                  {"\ufefftext,id\nab,1\n", "a.csv", "text", Options{}, []string{"<ab>"}, ","},
		"one column":             {"text\na, b\n\"c\nd\"\n", "a.csv", "text", Options{}, []string{"<a, b>", "<c\nd>"}, ""},
		"spaces in the header":   {"prompt , completion\na,b\n", "a.csv", "prompt_completion", Options{}, []string{"(<)(a)b>"}, ","},
		"an index column":        {",text\n0,ab\n", "a.csv", "text", Options{}, []string{"<ab>"}, ","},
		"empty cells at the end": {"text,id\nab,1,,\n", "a.csv", "text", Options{}, []string{"<ab>"}, ","},
		"no header":              {"ab,cd\nef,gh\n", "a.csv", "prompt_completion", Options{Columns: map[string]string{"prompt": "1", "completion": "2"}}, []string{"(<)(a)(b)cd>", "(<)(e)(f)gh>"}, ","},
		"numbers and a header":   {"text,id\nab,cd\n", "a.csv", "text", Options{Columns: map[string]string{"text": "2"}}, []string{"<cd>"}, ","},
		"names of its own":       {"a,b\nx,y\n", "a.csv", "text", Options{Columns: map[string]string{"text": "b"}}, []string{"<y>"}, ","},
		"other spellings":        {"Prompt,Response\na,b\n", "a.csv", "prompt_completion", Options{}, []string{"(<)(a)b>"}, ","},
		"named csv":              {"text,id\nab,1\n", "rows", "text", Options{Format: "csv"}, []string{"<ab>"}, ","},
		"known by its header":    {"prompt\tcompletion\na\tb\n", "rows.txt", "prompt_completion", Options{}, []string{"(<)(a)b>"}, "\t"},
		"under another name":     {"prompt,completion\na,b\n", "rows.jsonl", "prompt_completion", Options{}, []string{"(<)(a)b>"}, ","},
		"prose with commas":      {"text, they say,\nis plain, too,\n", "a.txt", "text", Options{MaxLength: 99}, []string{"<text, they say,\nis plain, too,\n"}, ""},
		"named text":             {"prompt,completion\na,b\n", "a.txt", "text", Options{Format: "text", MaxLength: 99}, []string{"<prompt,completion\na,b\n"}, ""},
		"a format of its own":    {"text,prompt,completion\na,b,c\n", "a.csv", "text", Options{Format: "text"}, []string{"<a>"}, ","},
		"JSON lines inside":      {"{\"text\": \"a,b\"}\n", "a.csv", "text", Options{}, []string{"<a,b>"}, ""},
		"tokens":                 {"input_ids,labels\n\"[65, 66]\",\"[-100, 66]\"\n\"[67, 68]\",\n", "a.csv", "tokens", Options{}, []string{"(A)B", "CD"}, ","},
		"a text like JSON":       {"text,id\n[1],2\n", "a.csv", "text", Options{}, []string{"<[1]>"}, ","},
	} {
		d, err := loadString(c.src, c.file, c.opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := showAll(d); !slices.Equal(got, c.want) || d.Format != c.format || d.File.Separator != c.separator {
			t.Errorf("%s: %s %q of %+v, want %s %q", name, d.Format, got, d.File, c.format, c.want)
		}
	}
}

func TestTableClasses(t *testing.T) {
	d, err := loadString("review,sentiment\nab,good\ncd,bad\nef,\n", "a.csv", Options{Classify: true, SkipBad: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Classes, []string{"bad", "good"}) || len(d.Samples) != 2 || d.Samples[0].Class != 1 || d.Stats.Bad != 1 {
		t.Errorf("classes %q, %+v", d.Classes, d.Stats)
	}
	if d.File.Columns["text"] != "review" || d.File.Columns["label"] != "sentiment" || d.Remarks[0].Code != "columns_guessed" {
		t.Errorf("%+v, %v", d.File, d.Remarks)
	}
}

func TestBadTables(t *testing.T) {
	const good = "text,id\nab,1\n"
	for name, c := range map[string]struct {
		src  string
		opt  Options
		want string
		skip bool // such rows can be left out
	}{
		"too many cells":       {good + "a,b,c\n", Options{}, `line 3: 3 cells, the first row has 2`, true},
		"too few cells":        {good + "a\n", Options{}, `line 3: 1 cells, the first row has 2`, true},
		"after a quoted cell":  {good + "\"a\"b,1\n", Options{}, `line 3: column 4: 'b' after the end of a quoted cell`, true},
		"later in a row":       {good + "\"a\n\"b,1\n", Options{}, `line 3: line 4, column 2: 'b' after the end of a quoted cell`, true},
		"not UTF-8":            {good + "a\xff,1\n", Options{}, `line 3: not valid UTF-8`, true},
		"a quote never closed": {good + "x,y\n\"a,1\nb,2\n", Options{}, `line 4: column 1: the quote that opens here is never closed`, false},
		"a huge cell":          {good + "\"" + strings.Repeat("a", maxLine) + "\",1\n", Options{}, `limit`, false},
		"no format":            {"first,second\na,b\n", Options{}, `[first, second]`, false},
		"a name twice":         {"text,id,id\na,b,c\n", Options{}, `the column "id" occurs twice`, false},
		"no such column":       {good, Options{Format: "text", Columns: map[string]string{"text": "body"}}, `"body" is missing`, false},
		"a list that is none":  {"input_ids\n\"[1, 2\"\n", Options{}, `line 2: the cell under "input_ids" is not JSON`, false},
		"a Python list":        {"input_ids\n\"['a']\"\n", Options{}, `is not JSON`, false},
	} {
		_, err := loadString(c.src, "a.csv", c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if c.opt.SkipBad = true; !c.skip {
			continue
		}
		d, err := loadString(c.src+"cd,2\n", "a.csv", c.opt)
		if err != nil || !slices.Equal(showAll(d), []string{"<ab>", "<cd>"}) || d.Stats.Bad != 1 {
			t.Errorf("%s, left out: %v", name, err)
		}
	}
}

// A reader that breaks inside a table is an error wherever it does.
func TestBrokenTable(t *testing.T) {
	const src = "prompt,completion\n\"a\"\"b\",c\nd,\"e\"\n"
	for cut := range len(src) {
		if _, err := loadString(src[:cut], "a.csv", Options{}); cut > 18 && cut < 24 && err == nil {
			t.Errorf("cut at %d: accepted", cut)
		}
	}
}

// readAll reads the rows of a table with the separator, and the first error.
func readAll(src string, separator byte) (rows [][]string, err error) {
	r := &tableReader{c: cursor{in: bufio.NewReader(strings.NewReader(src)), line: 1}, separator: separator}
	for {
		cells, _, err := r.row()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, cells)
	}
}

// FuzzTable compares the reader with encoding/csv: what that accepts is read as the same cells.
func FuzzTable(f *testing.F) {
	for _, src := range []string{"a,b\nc,d", "\"a\"\"b\",\"c\nd\"\r\n", "a\r\n\r\n,\n", "\"a\"b", "\"", "é,\"\"", "a,\"b\nc", " \n\"\"\n", "\"a\"\r", "0\r"} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		reference := csv.NewReader(strings.NewReader(src))
		reference.FieldsPerRecord = -1
		want, err := reference.ReadAll()
		got, failed := readAll(src, ',')
		if err != nil {
			return
		}
		if strings.ToValidUTF8(src, "") != src {
			if failed == nil {
				t.Fatalf("%q is not UTF-8 and was read", src)
			}
			return
		}
		// A row of spaces alone is a cell there and blank here.
		want = slices.DeleteFunc(want, func(row []string) bool { return len(row) == 1 && strings.TrimSpace(row[0]) == "" })
		if failed != nil || !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
			t.Fatalf("%q: %q, %v, want %q", src, got, failed, want)
		}
	})
}

// FuzzTableFile reads whole files as tables.
func FuzzTableFile(f *testing.F) {
	for _, src := range []string{"prompt,completion\na,b\n", "text\n\"a\nb\"\n", "sep=;\ntext;label\na;b", "\ufefftext\tid\n", "a;b\n1;2\n", "input_ids\n\"[1,2]\"", "text|x\n\"", "sep="} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, opt := range []Options{{}, {SkipBad: true}, {Columns: map[string]string{"text": "1"}}} {
			d, err := loadString(string(src), "a.csv", opt)
			if bad, ok := errors.AsType[*BadRow](err); ok && bad.Line < 1 {
				t.Fatalf("%q: an error at line %d", src, bad.Line)
			}
			if err == nil && d.Stats.Rows != len(d.Samples) {
				t.Fatalf("%q: %+v", src, d.Stats)
			}
		}
	})
}
