package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/testfiles"
	"llamatab/server/servertest"
)

// A run that cannot be trained is refused with the right exit code, a cause and advice.
func TestRefusals(t *testing.T) {
	t.Parallel()
	model := filepath.Join(testfiles.Repository(t), "testdata/builtin/models/tales")
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("rows.jsonl", `{"input_ids": [1, 2, 3]}`+"\n")
	for _, c := range []struct {
		name  string
		rows  string
		extra []string
		code  int
		words []string
	}{
		{"id outside the vocabulary", write("rows.jsonl", `{"input_ids": [1, 1024]}`), nil, 2, []string{"rows.jsonl", "line 1", "1024"}},
		{"empty dataset", write("rows.jsonl", ""), nil, 2, []string{"rows.jsonl", "no rows"}},
		{"nothing trained", write("rows.jsonl", `{"input_ids": [1, 2], "labels": [-100, -100]}`), nil, 2, []string{"nothing to train on"}},
		{"unknown key", good, []string{"--set", "training.learning_rat=1"}, 2, []string{"learning_rat", "learning_rate"}},
		{"quantised weights that train", good, []string{"--set", "quantization=nf4"}, 2, []string{"quantization", "nf4", "frozen"}},
		{"does not fit", good, []string{"--memory-budget", "1MiB"}, 1, []string{"memory", "too much"}},
		{"row too long", write("rows.jsonl", `{"input_ids": [`+strings.Repeat("1,", 600)+`1]}`), nil, 2, []string{"601", "512"}},
	} {
		cfg, _ := json.Marshal(map[string]any{"model": model, "trainable": []string{"all"}, "dataset": map[string]any{"path": c.rows, "format": "tokens"}})
		out := filepath.Join(t.TempDir(), "out")
		_, errs, code := servertest.Try(t, "", append([]string{"train", "--config", write("run.json", string(cfg)), "--out", out}, c.extra...)...)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s", c.name, code, c.code, errs)
		}
		for _, w := range c.words {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: %q is not in the message:\n%s", c.name, w, errs)
			}
		}
		for _, left := range []string{"model", ".partial"} {
			if _, err := os.Stat(filepath.Join(out, left)); err == nil {
				t.Errorf("%s: %s was left behind", c.name, left)
			}
		}
	}
}
