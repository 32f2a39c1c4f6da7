package hub

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// listCase is a case of testdata/lists.json: what a hub says of the repository org/name, and the files of it that a model needs or
// the problem that there is. In the siblings "blob" stands for the checksum of a small file and "lfs" for that of a large one. The
// page's own reader of lists is tested with the same cases (ui/js/hub_files.test.mjs).
type listCase struct {
	Name     string          // of the case
	Revision string          // that is asked for; "" for main
	ID       string          // the name of the repository in the answer; "" for org/name
	Files    []string        // of the repository: those that end with .safetensors are large
	Siblings json.RawMessage // instead of Files: the list as the hub writes it
	Answer   *string         // instead of both: the whole answer
	Index    string          // of a sharded model

	Want    []string // the paths of the files, in this order
	Repo    string   // the repository's name as it is then spelled; "" for org/name
	Problem Kind     // instead of Want
	Says    string   // a part of the problem's text
}

// answer is what the hub sends.
func (c listCase) answer(t *testing.T) []byte {
	t.Helper()
	if c.Answer != nil {
		return []byte(*c.Answer)
	}
	siblings := c.Siblings
	if siblings == nil {
		entries := []map[string]any{}
		for _, path := range c.Files {
			e := map[string]any{"rfilename": path, "size": 2, "blobId": "blob"}
			if strings.HasSuffix(path, ".safetensors") {
				e["lfs"] = map[string]any{"sha256": "lfs", "size": 2, "pointerSize": 134}
			}
			entries = append(entries, e)
		}
		var err error
		if siblings, err = json.Marshal(entries); err != nil {
			t.Fatal(err)
		}
	}
	id := c.ID
	if id == "" {
		id = "org/name"
	}
	text := strings.NewReplacer(`"blob"`, `"`+strings.Repeat("a", 40)+`"`, `"lfs",`, `"`+strings.Repeat("b", 64)+`",`, `"lfs"}`, `"`+strings.Repeat("b", 64)+`"}`).Replace(string(siblings))
	return []byte(`{"id": "` + id + `", "sha": "` + strings.Repeat("0123456789", 4) + `", "gated": false, "siblings": ` + text + `}`)
}

// needs are the files of a model as Pull finds them.
func (c listCase) needs(t *testing.T) (repo string, files []File, err error) {
	name := Name{"org/name", DefaultRevision}
	if c.Revision != "" {
		name.Revision = c.Revision
	}
	list, err := parseListing(c.answer(t), name)
	if err != nil {
		return "", nil, err
	}
	if _, err := list.contentOf(Model, name); err != nil {
		return "", nil, err
	}
	files, err = list.needed(Model, []byte(c.Index), name)
	return list.Repo, files, err
}

func TestNeededFiles(t *testing.T) {
	data, err := os.ReadFile("testdata/lists.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []listCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 40 {
		t.Errorf("there are %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			repo, files, err := c.needs(t)
			if c.Problem != "" {
				if e, ok := errors.AsType[*Error](err); !ok || e.Kind != c.Problem || !strings.Contains(e.Text, c.Says) {
					t.Fatalf("%v, want %s with %q", err, c.Problem, c.Says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, f := range files {
				paths = append(paths, f.Path)
				if large := strings.HasSuffix(f.Path, ".safetensors"); f.Size != 2 || (f.SHA256 != "") != large || (f.Blob != "") == large {
					t.Errorf("%+v", f)
				}
			}
			if want := c.Repo; !slices.Equal(paths, c.Want) || want == "" && repo != "org/name" || want != "" && repo != want {
				t.Errorf("%s needs %q, want %s and %q", repo, paths, c.Repo, c.Want)
			}
		})
	}
}
