package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"llamatab/engine/testfiles"
	"llamatab/server/hub/hubtest"
)

// withHub starts a hub that has the model org/tales and the adapter org/lora, and lets programs of this test use it with an
// empty cache.
func withHub(t *testing.T) *hubtest.Hub {
	t.Helper()
	h := hubtest.New()
	t.Cleanup(h.Close)
	files := map[string][]byte{}
	for name, text := range withModel(t, "", map[string]string{}) {
		files[name] = []byte(text)
	}
	h.Add("org/tales", files)
	h.Add("org/lora", map[string][]byte{"adapter_config.json": []byte(`{"base_model_name_or_path": "org/tales"}`), "adapter_model.safetensors": []byte("weights")})
	t.Setenv("HF_ENDPOINT", h.URL)
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_TOKEN", "hf_secret")
	h.Token = "hf_secret"
	t.Setenv("LLAMATAB_CACHE", t.TempDir())
	return h
}

func TestPullAndModels(t *testing.T) {
	h := withHub(t)
	says := func(want int, says string, args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, args...)
		if code != want || !strings.Contains(stdout+stderr, says) || strings.Contains(stdout+stderr, "hf_secret") {
			t.Errorf("%v: exit code %d, want %d and %q:\n%s%s", args, code, want, says, stdout, stderr)
		}
		return stdout + stderr
	}
	says(0, "no models in", "models")
	says(2, "there is no model org/absent", "pull", "org/absent")
	h.Fail(hubtest.Fault{Storage: true, Cut: 100_000})
	if text := says(0, "checked", "pull", h.URL+"/org/tales/tree/main"); !strings.Contains(text, "cut") || !strings.Contains(text, "3 files") {
		t.Errorf("pull says nothing of the cut connection:\n%s", text)
	}
	says(0, "--model org/tales --adapter org/lora", "pull", "org/lora")
	says(0, "org/tales", "models")
	says(0, "all 3 files are right", "models", "--verify")
	var list []listedModel
	_, stdout, _ := run(t, "models", "--json")
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list) != 2 || list[1].Name != "org/tales" || list[1].Kind != "model" || list[0].Base != "org/tales" {
		t.Fatalf("the list is %s, %v", stdout, err)
	}
	weights := filepath.Join(list[1].Folder, "model.safetensors")
	if err := os.WriteFile(weights, []byte("damaged"), 0o666); err != nil {
		t.Fatal(err)
	}
	says(1, "damaged: model.safetensors", "models", "--verify")
	says(0, "damaged in the cache", "pull", "org/tales")
	says(0, "is removed", "models", "--remove", "org/lora")
	says(2, "has no org/lora", "models", "--remove", "org/lora")
}

// TestHubModelInCommands: a name stands for a folder, is fetched where it is missing, and needs no network afterwards.
func TestHubModelInCommands(t *testing.T) {
	h := withHub(t)
	dir := folder(t, map[string]string{"run.json": `{"model": "org/tales", "dataset": {"path": "data.jsonl"}, "trainable": ["all"]}`, "data.jsonl": oneRow, "models/x": ""})
	code, stdout, stderr := run(t, "plan", "--config", filepath.Join(dir, "run.json"))
	if code != 0 || !strings.Contains(stderr, "3 files") || !strings.Contains(stdout, "steps") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	h.Close()
	if code, stdout, stderr = run(t, "tokenize", "--model", "org/tales", "--offline"); code != 0 || !regexp.MustCompile(`as of commit [0-9a-f]{7};`).MatchString(stderr) {
		t.Errorf("tokenize: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr = run(t, "generate", "--model", "org/tales", "--prompt", "x", "--chrome", "none"); code != 3 || !strings.Contains(stderr, "--chrome") {
		t.Errorf("generate: exit code %d\n%s", code, stderr)
	}
	if code, _, stderr = run(t, "generate", "--model", "org/other", "--prompt", "x", "--offline"); code != 2 || !strings.Contains(stderr, "llamatab pull org/other") {
		t.Errorf("a model that is not in the cache: exit code %d\n%s", code, stderr)
	}
	local := filepath.Join(testfiles.Repository(t), "testdata")
	t.Chdir(filepath.Dir(local))
	before := len(h.Requests())
	if code, _, stderr = run(t, "generate", "--model", "testdata/absent", "--prompt", "x"); code != 2 || !strings.Contains(stderr, "does not exist") || len(h.Requests()) != before {
		t.Errorf("a path that does not exist: exit code %d\n%s", code, stderr)
	}
}
