package inputs

import (
	"archive/zip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/server/library"
	"llamatab/server/web"
)

// withBuiltin puts a small built-in model, dataset and run in place of the packed ones.
func withBuiltin(t *testing.T) {
	before := web.Packed
	t.Cleanup(func() { web.Packed = before })
	web.Packed = fstest.MapFS{
		"builtin/models/small/config.json": {Data: []byte(`{"model_type": "llama"}`)},
		"builtin/data/rows.jsonl":          {Data: []byte(`{"text": "one"}` + "\n")},
		"builtin/runs.json":                {Data: []byte(`[{"name": "try", "config": {"model": "builtin:small"}}]`)},
	}
}

func TestBuiltinMounts(t *testing.T) {
	withBuiltin(t)
	m := New("", nil)
	model, data := "builtin:small", "builtin:rows"
	if err := m.Model("model", &model); err != nil {
		t.Fatal(err)
	}
	if err := m.Add("dataset", "dataset.path", &data); err != nil {
		t.Fatal(err)
	}
	if model != "builtin:small" || m.paths["dataset"] != "builtin:rows" {
		t.Errorf("the names became %q and %q: a resolved run must be able to name them again", model, m.paths["dataset"])
	}
	for _, c := range []struct{ mount, path, want string }{
		{"model", "builtin:smal", "builtin:small"},
		{"dataset", "builtin:small", "builtin:rows"},
		{"adapter", "builtin:small", "give a path"},
	} {
		if err := m.Add(c.mount, c.mount, &c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error about %q", c.mount, c.path, err, c.want)
		}
	}
	if run, err := library.NewBuiltin().Run("try"); err != nil || !strings.Contains(string(run), "builtin:small") {
		t.Errorf("run: %s, %v", run, err)
	}
}

// TestCheckpoint: the folder of a whole run is explained, with the newest of its checkpoints.
func TestCheckpoint(t *testing.T) {
	run := t.TempDir()
	for _, name := range []string{"checkpoint-9/trainer_state.json", "checkpoint-10/trainer_state.json", "checkpoint-11/run.json", "checkpoint-x/trainer_state.json"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(run, filepath.Dir(name)), 0o777), os.WriteFile(filepath.Join(run, name), nil, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"":                                "is the folder of a run, not one of its checkpoints; its newest is " + filepath.Join(run, "checkpoint-10"),
		"checkpoint-11":                   "holds no trainer_state.json, so it is not a checkpoint",
		"checkpoint-12":                   "does not exist",
		"checkpoint-9/trainer_state.json": "is a file",
		"checkpoint-9":                    "",
	} {
		folder := filepath.Join(run, path)
		err := New("", nil).Checkpoint("training.resume_from_checkpoint", &folder)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want an error about %q", path, err, want)
		}
	}
}

// A file in a zip archive is named as archive.zip#member. The engine reads the file, and the run keeps the name.
func TestMemberOfZip(t *testing.T) {
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "all.zip"))
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(out)
	for name, text := range map[string]string{"a.jsonl": `{"text": "first"}`, "b.jsonl": `{"text": "second"}`} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	m := New(dir, nil)
	path := "all.zip#b.jsonl"
	if err := errors.Join(m.Add("dataset", "dataset.path", &path), DataFile("dataset.path", path)); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "all.zip") + "#b.jsonl"; path != want || m.Paths()["dataset"] != want {
		t.Errorf("the run names %q", path)
	}
	files, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := fs.ReadFile(files.Dataset, "b.jsonl"); err != nil || string(text) != `{"text": "second"}` {
		t.Errorf("%q, %v", text, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{"all.zip#c.jsonl": `--dataset: ` + filepath.Join(dir, "all.zip") + `: the zip archive has no file "c.jsonl"`, "none.zip#a": "does not exist"} {
		if err := New(dir, nil).Add("dataset", "--dataset", &path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A model is given as a GGUF file, as any file of a split one, or as the folder of one. Only the files of the model can be read.
func TestGGUFModel(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x.gguf", "y-00001-of-00002.gguf", "y-00002-of-00002.gguf"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{"x.gguf": "x.gguf", "y-00002-of-00002.gguf": "y-00001-of-00002.gguf y-00002-of-00002.gguf"} {
		m := New(dir, nil)
		if err := m.Model("--model", &path); err != nil {
			t.Fatal(err)
		}
		files, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		entries, err := fs.ReadDir(files.Model, ".")
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%s: the job can read %q (%v), want %q", path, got, err, want)
		}
	}
	if err := New("", nil).Model("--model", &dir); err == nil || !strings.Contains(err.Error(), "2 GGUF models: x.gguf, y-00001-of-00002.gguf") {
		t.Errorf("a folder of two models: error %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "x.gguf")); err != nil {
		t.Fatal(err)
	}
	if err := New("", nil).Model("--model", &dir); err != nil {
		t.Errorf("a folder of one model: %v", err)
	}
}
