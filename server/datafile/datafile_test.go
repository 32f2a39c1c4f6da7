package datafile

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

type turn struct {
	Role    string `parquet:"role"`
	Content string `parquet:"content"`
}

type row struct {
	Text     string   `parquet:"text"`
	Answer   *string  `parquet:"answer,optional"`
	Score    float64  `parquet:"score"`
	Messages []turn   `parquet:"messages,list"`
	Tags     []string `parquet:"tags,list"`
	IDs      []int32  `parquet:"input_ids,list"`
	Raw      []byte   `parquet:"raw"`
	Nested   struct {
		Done bool `parquet:"done"`
	} `parquet:"nested"`
}

// parquetFile is a Parquet file of rows in groups of two.
func parquetFile(t testing.TB, rows ...row) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, parquet.Compression(&parquet.Zstd))
	for i, r := range rows {
		_, err := w.Write([]row{r})
		if err == nil && i%2 == 1 {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstdFile(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// converted is the name and the content of the converted file.
func converted(t testing.TB, name string, src []byte) (string, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, src, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := Convert(path)
	if err != nil || out == nil {
		return "", "", err
	}
	text, err := os.ReadFile(out.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(out.Path)); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", out.Path, err)
	}
	return filepath.Base(out.Path), string(text), nil
}

func TestParquet(t *testing.T) {
	yes := "<yes> & \"no\""
	name, text, err := converted(t, "rows.parquet", parquetFile(t,
		row{Text: "a\nb", Answer: &yes, Score: 0.5, Messages: []turn{{"user", "hi"}, {"assistant", "hello"}}, Tags: []string{"x"}, IDs: []int32{1, 2}, Raw: []byte("é")},
		row{Text: "", Score: math.NaN(), Raw: []byte{0xff}},
		row{Text: "c", Messages: []turn{{"user", "bye"}}},
	))
	want := `{"answer":"<yes> & \"no\"","input_ids":[1,2],"messages":[{"content":"hi","role":"user"},{"content":"hello","role":"assistant"}],"nested":{"done":false},"raw":"é","score":0.5,"tags":["x"],"text":"a\nb"}
{"answer":null,"input_ids":[],"messages":[],"nested":{"done":false},"raw":null,"score":null,"tags":[],"text":""}
{"answer":null,"input_ids":[],"messages":[{"content":"bye","role":"user"}],"nested":{"done":false},"raw":"","score":0,"tags":[],"text":"c"}
`
	if err != nil || name != "rows.parquet.jsonl" || text != want {
		t.Errorf("%s: %v\n%s\nwant\n%s", name, err, text, want)
	}
}

func TestZstandard(t *testing.T) {
	name, text, err := converted(t, "rows.csv.zst", zstdFile(t, "text\nab\n"))
	if err != nil || name != "rows.csv" || text != "text\nab\n" {
		t.Errorf("%s: %q, %v", name, text, err)
	}
}

func TestOtherFiles(t *testing.T) {
	for _, src := range []string{"", "{}", `{"text": "ab"}`, "text\nab\n"} {
		if name, _, err := converted(t, "a", []byte(src)); err != nil || name != "" {
			t.Errorf("%q becomes %q, %v", src, name, err)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	whole := parquetFile(t, row{Text: strings.Repeat("abc", 100)}, row{Text: "d"}, row{Text: "e"})
	packed := zstdFile(t, strings.Repeat("abc", 1000))
	for name, src := range map[string][]byte{
		"a stub":          []byte("PAR1\x15\x04\x15\x10PAR1"),
		"Parquet cut off": whole[:len(whole)/2],
		"a large footer":  append(whole[:len(whole)-8:len(whole)-8], "\xff\xff\xff\xffPAR1"...),
		"a footer alone":  []byte("PAR1PAR1"),
		"zstd cut off":    packed[:len(packed)-4],
		"zstd of a head":  packed[:5],
	} {
		if _, text, err := converted(t, "a", src); err == nil {
			t.Errorf("%s: accepted as %q", name, text)
		}
	}
	for i := 4; i < len(whole); i += 29 { // an error or other rows, but never a panic
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x55
		_, _, _ = converted(t, "a", damaged)
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(parquetFile(f, row{Text: "a", Messages: []turn{{"user", "b"}}}, row{}))
	f.Add(zstdFile(f, "abc"))
	f.Add([]byte("PAR1"))
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(t *testing.T, src []byte) { _, _, _ = converted(t, "a", src) })
}
