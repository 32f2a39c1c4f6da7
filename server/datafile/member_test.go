package datafile

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// zipOf writes a zip archive of files to a temporary folder.
func zipOf(t testing.TB, files map[string][]byte) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "all.zip")
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMember(t *testing.T) {
	archive := zipOf(t, map[string][]byte{
		"a/train.jsonl": []byte("{\"text\": \"a\"}\n"), "b/train.jsonl": []byte("{\"text\": \"b\"}\n"), "b/": nil, "b/valid.csv": []byte("text\nc\n"),
		"rows.parquet": parquetFile(t, row{Text: "d"}), "#odd": []byte("e"), "long.txt": bytes.Repeat([]byte("x"), 24<<20),
	})
	for member, want := range map[string]string{
		"a/train.jsonl": `{"text": "a"}`, "b/train.jsonl": `{"text": "b"}`, "valid.csv": "text", "rows.parquet": `"text":"d"`, "#odd": "e",
	} {
		f, err := Member(archive, member)
		if err != nil {
			t.Errorf("%s: %v", member, err)
			continue
		}
		text, err := os.ReadFile(f.Path)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", member, text, err)
		}
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.Path); !os.IsNotExist(err) {
			t.Errorf("%s stays in the temporary folder", member)
		}
	}
	for member, want := range map[string]string{
		"train.jsonl": `2 files called "train.jsonl"`, "nope.jsonl": `no file "nope.jsonl"; it has [`, "b": `no file "b"`, "long.txt": "unpacks to more than 200 times its size",
	} {
		if _, err := Member(archive, member); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", member, err, want)
		}
	}
	plain := filepath.Join(t.TempDir(), "plain.zip")
	if err := os.WriteFile(plain, []byte("no archive"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Member(plain, "x"); err == nil || !strings.Contains(err.Error(), "no zip archive") {
		t.Error(err)
	}
}

func TestSplitMember(t *testing.T) {
	archive := zipOf(t, map[string][]byte{"x": nil})
	odd := archive + "#file"
	if err := os.WriteFile(odd, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{
		archive: {archive}, archive + "#x": {archive, "x"}, archive + "#a/b": {archive, "a/b"}, odd: {odd}, odd + "#x": {odd, "x"},
		archive + "#": {archive + "#"}, "#x": {"#x"}, filepath.Dir(archive) + "#x": {filepath.Dir(archive) + "#x"}, "none.zip#x": {"none.zip#x"},
	} {
		if a, m := SplitMember(name); a != want[0] || m != want[1] {
			t.Errorf("%s: %q, %q", name, a, m)
		}
	}
}
