package hub

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	const mirror = "https://models.school.example:8443/hub"
	for text, want := range map[string]string{
		"org/name":                                           "org/name",
		"  org/name\n":                                       "org/name",
		"org/name@main":                                      "org/name",
		"org/name@v1.0":                                      "org/name@v1.0",
		"org/name@refs/pr/1":                                 "org/name@refs/pr/1",
		"HuggingFaceTB/SmolLM2-135M":                         "HuggingFaceTB/SmolLM2-135M",
		"_a/b.c_d-e":                                         "_a/b.c_d-e",
		"https://huggingface.co/org/name":                    "org/name",
		"https://huggingface.co/org/name/":                   "org/name",
		"http://www.huggingface.co/org/name?x=1#y":           "org/name",
		"huggingface.co/org/name":                            "org/name",
		"hf.co/org/name":                                     "org/name",
		"https://hf.co/org/name/tree/main":                   "org/name",
		"https://huggingface.co/org/name/tree/v2":            "org/name@v2",
		"https://huggingface.co/org/name/tree/refs%2Fpr%2F7": "org/name@refs/pr/7",
		"https://huggingface.co/org/name/blob/main/config.json?show_file_info=x":          "org/name",
		"https://huggingface.co/org/name/resolve/abc123/model.safetensors?download=true":  "org/name@abc123",
		"https://huggingface.co/org/name/raw/main/README.md":                              "org/name",
		"https://huggingface.co/org/name/commit/0123456789012345678901234567890123456789": "org/name@0123456789012345678901234567890123456789",
		"https://huggingface.co/org/name/discussions/3":                                   "org/name",
		"https://huggingface.co/api/models/org/name":                                      "org/name",
		"https://huggingface.co/api/models/org/name/revision/v1":                          "org/name@v1",
		"https://hf-mirror.com/org/name/tree/main":                                        "org/name",
		"https://models.school.example:8443/org/name":                                     "org/name",
		"hf://org/name@v1":     "org/name@v1",
		"hf://models/org/name": "org/name",
		strings.Repeat("a", 96) + "/" + strings.Repeat("b", 96): strings.Repeat("a", 96) + "/" + strings.Repeat("b", 96),
	} {
		if got, err := ParseName(text, mirror); err != nil || got.String() != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
		if trimmed := strings.TrimSpace(text); !LooksLikeName(trimmed) {
			t.Errorf("%q does not look like a name", text)
		}
	}
	for text, want := range map[string]string{
		"": "want org/name", "name": "want org/name", "/": "want org/name", "a/b/c": "want org/name", "../name": "want org/name", "./name": "want org/name",
		"org/..": "want org/name", "org/a..b": "want org/name", "org/a--b": "want org/name", "org/name.git": "want org/name", "-a/b": "want org/name", "a/b.": "want org/name",
		"org/na me": "want org/name", "org/näme": "want org/name", "org/name\x00": "want org/name", `org\name/x`: "want org/name", "~/models": "want org/name", "C:/models": "want org/name",
		"org/name@": "not a revision", "org/name@../x": "not a revision", "org/name@/x": "not a revision", "org/name@a b": "not a revision",
		"org/name@-x": "not a revision", "org/name@a//b": "not a revision", "org/name@x.lock": "not a revision", "org/name@a?b": "not a revision",
		"org/name@" + strings.Repeat("x", 201):                 "not a revision",
		strings.Repeat("a", 97) + "/b":                         "want org/name",
		strings.Repeat("a/", 2000):                             "too long",
		"https://github.com/org/name":                          "--hub-endpoint",
		"https://huggingface.co.evil.example/org/name":         "--hub-endpoint",
		"https://user:secret@huggingface.co/org/name":          "not the address",
		"file:///etc/passwd":                                   "not the address",
		"https://huggingface.co/org":                           "names no model",
		"https://huggingface.co/":                              "names no model",
		"https://huggingface.co/datasets/org/name":             "datasets",
		"https://huggingface.co/spaces/org/name":               "spaces",
		"https://huggingface.co/docs/transformers":             "not the address",
		"https://huggingface.co/org/name/tree/main/sub":        "folder sub",
		"https://huggingface.co/org/name/blob/main/a/b/c.json": "folder a/b",
		"https://huggingface.co/org/name/tree/%2e%2e":          "not a revision",
		"https://huggingface.co/org%2Fname/x":                  "want org/name",
		"https://huggingface.co/org/%zz":                       "not the address",
	} {
		if got, err := ParseName(text, mirror); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %q, %v; want an error about %q", text, got, err, want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, text := range []string{"org/name", "org/name@v1", "org/name@refs/pr/1", "https://huggingface.co/org/name/tree/main", "hf.co/a/b/blob/main/x", "hf://a/b", "https://[::1]:80/a/b", "https://huggingface.co/a/b/tree/%2e%2e%2f", "a/b@", "@/@"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := ParseName(text, "http://127.0.0.1:8080")
		if err != nil {
			return
		}
		again, err := ParseName(name.String(), "")
		if err != nil || again != name {
			t.Fatalf("%q is %+v, whose text is %+v, %v", text, name, again, err)
		}
		for _, bad := range []string{"..", "//", "\\", "\x00", " ", "?", "#", "%", ":"} {
			if strings.Contains(name.Repo+"@"+name.Revision, bad) {
				t.Fatalf("%q is %+v, which contains %q", text, name, bad)
			}
		}
		if strings.Count(name.Repo, "/") != 1 || strings.HasPrefix(name.Repo, ".") || strings.HasPrefix(name.Revision, "/") {
			t.Fatalf("%q is %+v", text, name)
		}
	})
}
