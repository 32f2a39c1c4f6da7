package inputs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/server/exit"
	"llamatab/server/hub"
)

// TestNamesOfAHub: a name of a hub is looked up where there is no folder of that name, and becomes the name of its commit.
func TestNamesOfAHub(t *testing.T) {
	fetched, base := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{filepath.Join(fetched, "config.json"): "{}", filepath.Join(base, "local", "model", "config.json"): "{}"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	commit := strings.Repeat("0123456789", 4)
	var asked []string
	m := New(base, func(name string, content hub.Content) (*hub.Snapshot, error) {
		asked = append(asked, name+" "+string(content))
		if strings.Contains(name, "absent") {
			return nil, &hub.Error{Kind: hub.NotFound, Text: "there is no such model"}
		}
		return &hub.Snapshot{Repo: "org/name", Commit: commit, Dir: fetched}, nil
	})
	path := "https://huggingface.co/org/name"
	if err := m.Model("--model", &path); err != nil || path != "org/name@"+commit {
		t.Fatalf("the model is %q, %v", path, err)
	}
	files, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Model.Open("config.json"); err != nil {
		t.Error(err)
	}
	path = "org/adapter@v1"
	if err := m.Adapter("--adapter", &path); err != nil || m.Paths()["adapter"] != "org/name@"+commit {
		t.Errorf("the adapter is %q, %v", path, err)
	}
	path = "local/model"
	if err := m.Model("--model", &path); err != nil || path != filepath.Join(base, "local", "model") {
		t.Errorf("a folder is %q, %v", path, err)
	}
	path = "local/absent"
	if err := m.Model("--model", &path); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a folder that is not there: %v", err)
	}
	path = "org/absent"
	if err := m.Model("--model", &path); exit.Code(err) != exit.BadUsage || !strings.Contains(err.Error(), "there is no folder org/absent, and there is no such model") {
		t.Errorf("a name that is not there: %v", err)
	}
	if got := strings.Join(asked, ", "); got != "https://huggingface.co/org/name model, org/adapter@v1 adapter, org/absent model" {
		t.Errorf("the hub was asked for %s", got)
	}
}
