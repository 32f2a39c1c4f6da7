package hub

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestParseName: testdata/names.json has each text with the name that it means, or with a part of the error. The page's own
// reader of names is tested with the same file (ui/js/hub_files.test.mjs).
func TestParseName(t *testing.T) {
	const mirror = "https://models.school.example:8443/hub"
	data, err := os.ReadFile("testdata/names.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Text, Name, Error string }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		got, err := ParseName(c.Text, mirror)
		if c.Error != "" {
			if err == nil || !strings.Contains(err.Error(), c.Error) {
				t.Errorf("%q is %q, %v; want an error about %q", c.Text, got, err, c.Error)
			}
			continue
		}
		if err != nil || got.String() != c.Name {
			t.Errorf("%q is %q, %v; want %q", c.Text, got, err, c.Name)
		}
		if trimmed := strings.TrimSpace(c.Text); !LooksLikeName(trimmed) {
			t.Errorf("%q does not look like a name", c.Text)
		}
	}
	if len(cases) < 60 {
		t.Errorf("there are %d cases", len(cases))
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
