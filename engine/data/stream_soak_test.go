//go:build soak

package data

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

// piecesTokenizer has a token for every four bytes, about as many as a tokenizer of a model has in English.
type piecesTokenizer struct{ bytesTokenizer }

func (p piecesTokenizer) Encode(text string, special bool) ([]int, error) {
	ids, _, err := p.EncodeOffsets(text)
	if special {
		ids = append([]int{1}, ids...)
	}
	return ids, err
}

func (piecesTokenizer) EncodeOffsets(text string) (ids []int, offsets [][2]int, err error) {
	for at := 0; at < len(text); at += 4 {
		ids, offsets = append(ids, 3+int(text[at])), append(offsets, [2]int{at, min(at+4, len(text))})
	}
	return ids, offsets, nil
}

// largeFile is a file of JSON lines that is computed where it is read, so that a browser, which has no disk, can read it too. Each
// line has largeLine bytes.
type largeFile struct{ rows, at int64 }

const largeLine = 1056

var largeFiller = strings.Repeat("Once upon a time there was a cat. ", 30)

// line is row i of the file.
func (largeFile) line(i int64) string {
	text := fmt.Sprintf("{\"prompt\": \"Story %d\", \"completion\": %q}", i, largeFiller[:i%900])
	return text + strings.Repeat(" ", largeLine-1-len(text)) + "\n"
}

func (f *largeFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	return n, err
}

func (f *largeFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		row := (off + int64(n)) / largeLine
		if row >= f.rows {
			return n, io.EOF
		}
		n += copy(p[n:], f.line(row)[(off+int64(n))%largeLine:])
	}
	return n, nil
}

func (f *largeFile) Close() error               { return nil }
func (f *largeFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *largeFile) Size() int64                { return f.rows * largeLine }
func (f *largeFile) Name() string               { return "large.jsonl" }
func (f *largeFile) Mode() fs.FileMode          { return 0o444 }
func (f *largeFile) ModTime() time.Time         { return time.Time{} }
func (f *largeFile) IsDir() bool                { return false }
func (f *largeFile) Sys() any                   { return nil }

// TestLargeFile reads a file of JSON lines of 1 GB with at most 300 MB of memory from the system, which in a browser is all
// of the program's memory, and draws rows of it, packed ones too.
func TestLargeFile(t *testing.T) {
	const rows, most = (1 << 30) / largeLine, 300 << 20
	open := func() (fs.File, error) { return &largeFile{rows: rows}, nil }
	began := time.Now()
	in, err := open()
	if err != nil {
		t.Fatal(err)
	}
	d, err := Load(in, "large.jsonl", Options{Tokenizer: piecesTokenizer{}, Open: open})
	if err != nil {
		t.Fatal(err)
	}
	indexed := time.Since(began)
	began = time.Now()
	random := rand.New(rand.NewPCG(1, 2))
	const draws = 1000
	for range draws {
		s, err := d.Row(random.IntN(d.Len()))
		if err != nil || len(s.IDs) == 0 {
			t.Fatal(err)
		}
	}
	drawn := time.Since(began)
	began = time.Now()
	packed := d.Pack(true, 1)
	for range draws / 10 {
		s, err := packed.Row(random.IntN(packed.Len()))
		if err != nil || len(s.Parts) == 0 {
			t.Fatal(err)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d rows of %d tokens indexed in %v, a row drawn in %v, packed into %d rows in %v, %d MB of memory",
		d.Len(), d.Stats.Tokens, indexed.Round(time.Second), drawn/draws, packed.Len(), time.Since(began).Round(time.Second), m.Sys>>20)
	if m.Sys > most || d.Stats.Dropped+d.Len() != rows || !d.Streams() || packed.Stats.Packed >= d.Len() {
		t.Errorf("%d bytes of memory, want at most %d; %d of %d rows", m.Sys, most, d.Len(), rows)
	}
}
