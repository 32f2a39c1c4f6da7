package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"llamatab/engine/corpus"
)

// The committed files must be what the grammar writes, so that they can be made again.
func TestCommitted(t *testing.T) {
	dir, committed := t.TempDir(), filepath.Join("..", "..", "testdata", "builtin")
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	same := func(made, kept string) {
		t.Helper()
		a, err := os.ReadFile(filepath.Join(dir, made))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(committed, kept))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not what the grammar writes: make builtin", kept)
		}
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json", "run.json"} {
		same(name, filepath.Join("models", modelName, name))
	}
	for _, s := range corpus.Sets {
		same(filepath.Join("data", s.Name+".jsonl"), filepath.Join("data", s.Name+".jsonl"))
	}
}
