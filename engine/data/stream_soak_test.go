//go:build soak

package data

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// TestLargeFile reads a file of JSON lines of 1 GB with at most 300 MB of memory from the system, which in a browser is all
// of the program's memory, and draws rows of it.
func TestLargeFile(t *testing.T) {
	const size, most = 1 << 30, 300 << 20
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	filler := strings.Repeat("Once upon a time there was a cat. ", 60)
	written, rows := 0, 0
	for ; written < size; rows++ {
		n, err := fmt.Fprintf(w, "{\"prompt\": \"Story %d\", \"completion\": %q}\n", rows, filler[:rows%len(filler)])
		if err != nil {
			t.Fatal(err)
		}
		written += n
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	files := os.DirFS(dir)
	began := time.Now()
	in, err := files.Open("large.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Load(in, "large.jsonl", Options{Tokenizer: piecesTokenizer{}, Open: func() (fs.File, error) { return files.Open("large.jsonl") }})
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
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
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d rows of %d tokens indexed in %v, a row drawn in %v, %d MB of memory", d.Len(), d.Stats.Tokens, indexed.Round(time.Second), drawn/draws, m.Sys>>20)
	if m.Sys > most || d.Stats.Dropped+d.Len() != rows || !d.Streams() {
		t.Errorf("%d bytes of memory, want at most %d; %d of %d rows", m.Sys, most, d.Len(), rows)
	}
}
