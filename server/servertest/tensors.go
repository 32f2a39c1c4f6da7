package servertest

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/weights"
)

// Tensors reads the float tensors of a safetensors file.
func Tensors(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	c, err := weights.OpenFile(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := map[string][]float32{}
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		if x.CheckFloat() != nil {
			continue
		}
		h, err := c.ReadF32(x)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = h.Data
	}
	return all
}

// IDs reads an I32 tensor of a safetensors file.
func IDs(t *testing.T, path, name string) []int32 {
	t.Helper()
	c, err := weights.OpenFile(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, ok := c.Tensor(name)
	if !ok {
		t.Fatalf("%s: no %s", path, name)
	}
	var ids []int32
	if err := c.ReadChunks(x, 1<<20, func(_ int64, b []byte) error {
		for i := 0; i+4 <= len(b); i += 4 {
			ids = append(ids, int32(uint32(b[i])|uint32(b[i+1])<<8|uint32(b[i+2])<<16|uint32(b[i+3])<<24))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// TokensFile writes a dataset of token ids, T a row.
func TokensFile(t *testing.T, ids []int32, T int) string {
	t.Helper()
	var b strings.Builder
	for at := 0; at < len(ids); at += T {
		row, _ := json.Marshal(map[string]any{"input_ids": ids[at : at+T]})
		b.Write(row)
		b.WriteByte('\n')
	}
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Distance is ‖a−b‖/‖b−origin‖ over all tensors together.
func Distance(t *testing.T, a, b, origin map[string][]float32) float64 {
	t.Helper()
	num, den := 0.0, 0.0
	for name, y := range b {
		x, ok := a[name]
		if !ok || len(x) != len(y) {
			t.Fatalf("%s is missing or has another shape", name)
		}
		for i := range y {
			o := 0.0
			if origin != nil {
				o = float64(origin[name][i])
			}
			num += math.Pow(float64(x[i])-float64(y[i]), 2)
			den += math.Pow(float64(y[i])-o, 2)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d tensors, want %d", len(a), len(b))
	}
	return math.Sqrt(num / den)
}
