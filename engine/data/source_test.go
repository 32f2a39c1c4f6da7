package data

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"llamatab/engine/data/textfile"
)

func gzipped(t testing.TB, src string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, src)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// zipped is a zip archive of files: name, content, name, content …
func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err == nil {
			_, err = io.WriteString(w, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asUTF16(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func TestPackedFiles(t *testing.T) {
	const rows = `{"text": "ab"}` + "\n"
	for name, c := range map[string]struct{ src, file, packed, member string }{
		"gzip":                 {gzipped(t, rows), "a.jsonl.gz", "gzip", ""},
		"gzip under any name":  {gzipped(t, rows), "a.jsonl", "gzip", ""},
		"gzip of a table":      {gzipped(t, "text,id\nab,1\n"), "a.csv.gz", "gzip", ""},
		"gzip in two parts":    {gzipped(t, "text,id\n") + gzipped(t, "ab,1\n"), "a.csv.gz", "gzip", ""},
		"zip":                  {zipped(t, "rows.csv", "text,id\nab,1\n"), "a.zip", "zip", "rows.csv"},
		"zip with other files": {zipped(t, "README.md", "x", "__MACOSX/._a.jsonl", "x", "a/rows.jsonl", rows, "a/.hidden.json", "x", "picture.png", "x"), "a.zip", "zip", "a/rows.jsonl"},
		"zip with a train set": {zipped(t, "test.jsonl", "x", "train.jsonl", rows), "a.zip", "zip", "train.jsonl"},
		"zip of gzip":          {zipped(t, "rows.jsonl.gz", gzipped(t, rows)), "a.zip", "gzip", "rows.jsonl.gz"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.src), iotest.OneByteReader(strings.NewReader(c.src))} { // the second one has no random access
			d, err := Load(r, c.file, Options{Tokenizer: bytesTokenizer{}})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := showAll(d); !slices.Equal(got, []string{"<ab>"}) || d.File.Packed != c.packed || d.File.Member != c.member {
				t.Errorf("%s: %q of %+v", name, got, d.File)
			}
		}
	}
}

func TestBadArchives(t *testing.T) {
	const rows = `{"text": "ab"}` + "\n"
	whole := gzipped(t, strings.Repeat(rows, 1000))
	archive := zipped(t, "rows.jsonl", strings.Repeat(rows, 1000))
	for name, c := range map[string]struct{ src, want string }{
		"gzip cut off":         {whole[:len(whole)/2], "the gzip file ends early"},
		"gzip of its head":     {whole[:5], "the gzip file ends early"},
		"gzip damaged":         {whole[:len(whole)-6] + "??????", "the gzip file is damaged"},
		"zip cut off":          {archive[:len(archive)/2], "the zip archive ends early"},
		"zip damaged":          {strings.Replace(archive, archive[40:50], "??????????", 1), "the zip archive is damaged"},
		"zip of several":       {zipped(t, "a.jsonl", rows, "b.csv", "text\nab"), `2 data files, ["a.jsonl" "b.csv"]`},
		"zip without data":     {zipped(t, "a.png", "x", "b.bin", "x"), "without a data file"},
		"zip of nothing":       {zipped(t), "without a data file"},
		"an Excel workbook":    {zipped(t, "[Content_Types].xml", "x", "xl/workbook.xml", "x"), "an Excel workbook"},
		"a Word document":      {zipped(t, "word/document.xml", "x"), "Microsoft Office"},
		"a zip in a zip":       {zipped(t, "a.zip", zipped(t, "b.zip", zipped(t, "c.jsonl", rows))), ""},
		"a Parquet file":       {"PAR1\x15\x04\x15\x10PAR1", "a Parquet file"},
		"Zstandard":            {"\x28\xb5\x2f\xfd\x04", "Zstandard"},
		"a PDF":                {"%PDF-1.7\n", "a PDF document"},
		"a picture":            {"\x89PNG\r\n\x1a\n", "a PNG image"},
		"a pointer of Git LFS": {"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"},
		"a web page":           {"\n<!DOCTYPE html>\n<html>", "an HTML page"},
		"a binary file":        {"\x01\x02\x03\x00\x00abc", "a binary file"},
	} {
		for _, file := range []string{"a.jsonl", "a.txt", "a"} {
			_, err := loadString(c.src, file, Options{SkipBad: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s as %s: %v, want %q", name, file, err, c.want)
			}
		}
	}
}

// TestBomb: what unpacks to many times its size is not read to its end.
func TestBomb(t *testing.T) {
	bomb := gzipped(t, strings.Repeat("\n", 17<<20))
	if _, err := loadString(bomb, "a.jsonl", Options{}); err == nil || !strings.Contains(err.Error(), "more than 200 times its size") {
		t.Error(err)
	}
}

// 你好 in GB18030, and a longer text: 我们是中国人。他说的话很有意思，这一天大家都来了。
const (
	hello   = "\xc4\xe3\xba\xc3"
	chinese = "\xce\xd2\xc3\xc7\xca\xc7\xd6\xd0\xb9\xfa\xc8\xcb\xa1\xa3\xcb\xfb\xcb\xb5\xb5\xc4\xbb\xb0\xba\xdc\xd3\xd0\xd2\xe2\xcb\xbc\xa3\xac\xd5\xe2\xd2\xbb\xcc\xec\xb4\xf3\xbc\xd2\xb6\xbc\xc0\xb4\xc1\xcb\xa1\xa3"
)

func TestEncodings(t *testing.T) {
	rows := `{"text": "é你🦙"}` + "\r\n"
	want := "<" + string([]byte("é你🦙")) + ">"
	for name, c := range map[string]struct{ src, file, encoding, want string }{
		"UTF-8":                {rows, "a.jsonl", "UTF-8", want},
		"UTF-8 with a BOM":     {"\ufeff" + rows, "a.jsonl", "UTF-8", want},
		"UTF-16 LE with a BOM": {asUTF16(binary.LittleEndian, "\ufeff"+rows), "a.jsonl", "UTF-16", want},
		"UTF-16 BE with a BOM": {asUTF16(binary.BigEndian, "\ufeff"+rows), "a.jsonl", "UTF-16", want},
		"UTF-16 LE":            {asUTF16(binary.LittleEndian, rows), "a.jsonl", "UTF-16", want},
		"UTF-16 BE":            {asUTF16(binary.BigEndian, rows), "a.jsonl", "UTF-16", want},
		"UTF-16 table":         {asUTF16(binary.LittleEndian, "\ufefftext\tid\né你🦙\t1\n"), "a.csv", "UTF-16", want},
		"GB18030":              {`{"text": "` + hello + `"}`, "a.jsonl", "GB18030", "<你好>"},
		"GB18030 table":        {"text,id\n" + hello + ",1\n", "a.csv", "GB18030", "<你好>"},
		"GB18030 text":         {chinese, "a.txt", "GB18030", "<我们是中国人。他说的话很有意思，这一天大家都来了。"},
		"GB18030 far behind":   {strings.Repeat(" ", 3*textfile.Buffer) + `{"text": "` + hello + `"}`, "a.jsonl", "GB18030", "<你好>"},
		"GB18030, four bytes":  {`{"text": "` + hello + "\x94\x39\xb4\x36" + `"}`, "a.jsonl", "GB18030", "<你好🌰>"},
	} {
		d, err := Load(iotest.HalfReader(strings.NewReader(c.src)), c.file, Options{Tokenizer: bytesTokenizer{}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var text []byte
		for _, id := range d.Samples[0].IDs {
			text = append(text, byte(id))
		}
		got := strings.NewReplacer("\x01", "<", "\x02", ">").Replace(string(text))
		if got != c.want || d.File.Encoding != c.encoding {
			t.Errorf("%s: %q as %s, want %q", name, got, d.File.Encoding, c.want)
		}
		if told := len(d.Remarks) > 0 && d.Remarks[0].Code == "file_encoding"; told != (c.encoding == "GB18030") {
			t.Errorf("%s: remarks %v", name, d.Remarks)
		}
	}
}

// What is neither UTF-8 nor GB18030 is named with its line, and never read as another text.
func TestDamagedText(t *testing.T) {
	row := func(text string) string { return `{"text": "ok"}` + "\n" + `{"text": "` + text + `"}` + "\n" }
	for name, src := range map[string]string{
		"Latin-1":                 row("caf\xe9 au lait"),
		"Latin-1 between letters": row("d\xe9j\xe0 vu, na\xefve"),
		"Windows-1252 quotes":     row("\x93hello\x94"),
		"UTF-8 cut":               row("\xe4\xbd"),
		"UTF-8, then not":         row("你好\xff"),
		"GB18030, then not":       row(hello + strings.Repeat("a", 2*textfile.Buffer) + "\xff\xff"),
		"Shift JIS":               row("\x93\xfa\x96\x7b\x8c\xea\x82\xc5\x82\xb7"),
		"UTF-16 with half a pair": asUTF16(binary.LittleEndian, "\ufeff"+`{"text": "ok"}`+"\n"+`{"text": "`) + "\x3d\xd8" + asUTF16(binary.LittleEndian, `x"}`),
		"UTF-16 with half a unit": asUTF16(binary.BigEndian, "\ufeff"+`{"text": "ok"}`+"\n"+`{"text": "`) + "\x00",
	} {
		d, err := loadString(src, "a.jsonl", Options{})
		if err == nil || !strings.Contains(err.Error(), "line 2: not valid UTF-8") {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				t.Log(showAll(d))
			}
		}
	}
}

// FuzzFile reads whole files of any kind.
func FuzzFile(f *testing.F) {
	for _, src := range []string{
		gzipped(f, `{"text": "ab"}`), zipped(f, "a.csv", "text,id\nab,1"), asUTF16(binary.LittleEndian, "\ufefftext,id\nab,1"), chinese, `{"text": "` + hello + `"}`,
		"{\n\"text\": \"ab\"\n}", `{"data": [{"text": "ab"}], "n": 1}`, `[{"question": "a", "answer": "b"}, null]`, "PAR1", "\xfe\xff\x00",
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, file := range []string{"a", "a.jsonl", "a.txt"} {
			d, err := loadString(string(src), file, Options{SkipBad: true})
			if err == nil && (d.Stats.Rows != len(d.Samples) || d.Stats.Rows == 0) {
				t.Fatalf("%q: %+v", src, d.Stats)
			}
		}
	})
}
