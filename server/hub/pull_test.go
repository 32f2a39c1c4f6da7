package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"llamatab/server/hub/hubtest"
)

// weights is a file of n bytes that do not repeat soon.
func weights(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16*7)
	}
	return b
}

func model() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type": "llama"}`), "generation_config.json": []byte("{}"), "tokenizer.json": []byte(`{"a": 1}`), "tokenizer_config.json": []byte("{}"),
		"chat_template.jinja": []byte("{{ x }}"), "additional_chat_templates/tools.jinja": []byte("{{ y }}"), "model.safetensors": weights(300_000), "LICENSE": []byte("free"), "empty.txt": nil,
		"README.md": []byte("about"), "pytorch_model.bin": []byte("pickle"), "onnx/model.onnx": []byte("onnx"), ".gitattributes": []byte("x"), "consolidated.safetensors": []byte("other"),
	}
}

// neededOf are the files of model that are fetched.
var neededOf = []string{"LICENSE", "additional_chat_templates/tools.jinja", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}

// waits records how long a client has waited, without waiting.
type waits struct {
	mu   sync.Mutex
	long []time.Duration
}

func (w *waits) pause(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.long = append(w.long, d)
	return ctx.Err()
}

// opened starts a hub that has the model org/name, and a store without files.
func opened(t *testing.T, token string) (*hubtest.Hub, *Store, *waits) {
	t.Helper()
	h := hubtest.New()
	t.Cleanup(h.Close)
	h.Add("org/name", model())
	return h, storeOf(t, h.URL, token, t.TempDir()), nil
}

func storeOf(t *testing.T, endpoint, token, dir string) *Store {
	t.Helper()
	c, err := NewClient(endpoint, token)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = new(waits).pause
	return &Store{Cache{dir}, c}
}

func pullOf(t *testing.T, s *Store, name string) (*Snapshot, error) {
	t.Helper()
	n, err := ParseName(name, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return s.Pull(ctx, n, Any, nil)
}

// wantFiles checks that a snapshot has the files of a repository, whole, and no others.
func wantFiles(t *testing.T, s *Snapshot, files map[string][]byte, names []string) {
	t.Helper()
	var got []string
	fs.WalkDir(os.DirFS(s.Dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path != manifestName {
			got = append(got, path)
			if data, _ := os.ReadFile(filepath.Join(s.Dir, path)); !bytes.Equal(data, files[path]) {
				t.Errorf("%s has other bytes", path)
			}
		}
		return nil
	})
	if !slices.Equal(got, names) {
		t.Errorf("the files are %q, want %q", got, names)
	}
}

func TestPull(t *testing.T) {
	h, s, _ := opened(t, "")
	var last Progress
	var backwards bool
	n, _ := ParseName("org/name", "")
	if found, err := s.Cache.Find(n); found != nil || err != nil {
		t.Errorf("an empty cache has %v, %v", found, err)
	}
	got, err := s.Pull(context.Background(), n, Model, func(p Progress) {
		backwards = backwards || p.Done < last.Done
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, got, model(), neededOf)
	if last.Done != last.Total || last.Done != got.Size() || last.Files != len(neededOf) || backwards {
		t.Errorf("the last progress is %+v, and the files have %d bytes", last, got.Size())
	}
	found, err := s.Cache.Find(n)
	if err != nil || found == nil || found.Commit != got.Commit || found.Content != Model || found.Endpoint != h.URL {
		t.Errorf("the cache has %+v, %v", found, err)
	}
	if found, err = s.Cache.Find(got.Name()); err != nil || found == nil {
		t.Errorf("by its commit the cache has %+v, %v", found, err)
	}
	before := len(h.Requests())
	if again, err := pullOf(t, s, "org/name"); err != nil || again.Dir != got.Dir || len(h.Requests()) != before+1 {
		t.Errorf("a second pull makes %d requests: %v", len(h.Requests())-before, err)
	}
	list, unfinished, err := s.Cache.List()
	if err != nil || len(list) != 1 || len(unfinished) != 0 || !slices.Equal(list[0].Revisions, []string{"main"}) {
		t.Errorf("the list is %+v, %+v, %v", list, unfinished, err)
	}
	if damaged, err := list[0].Verify(); err != nil || damaged != nil {
		t.Errorf("damaged: %v, %v", damaged, err)
	}
	if n, err := s.Cache.Remove("ORG/name", ""); err != nil || n < got.Size() {
		t.Errorf("removed %d bytes, %v", n, err)
	}
	if list, _, err = s.Cache.List(); err != nil || len(list) != 0 {
		t.Errorf("after its removal the list is %+v, %v", list, err)
	}
}

// TestToken: only the hub's own host gets the token, also where it redirects, and an error never contains it.
func TestToken(t *testing.T) {
	h, s, _ := opened(t, "hf_secret")
	h.Token = "hf_secret"
	other := hubtest.New()
	defer other.Close()
	h.Change("org/name", func(r *hubtest.Repo) { r.Private = true })
	if _, err := pullOf(t, s, "org/name"); err != nil {
		t.Fatal(err)
	}
	authorized, stored := 0, 0
	for _, r := range h.Requests() {
		if r.Storage && r.Authorization != "" {
			t.Errorf("the other host got %q with %s", r.Authorization, r.Path)
		}
		if r.Authorization == "Bearer hf_secret" {
			authorized++
		}
		if r.Storage {
			stored++
		}
	}
	if authorized < 3 || stored != 1 {
		t.Errorf("%d requests with the token, %d at the other host", authorized, stored)
	}
	h.Fail(hubtest.Fault{Path: "/api/models/", Redirect: other.URL + "/api/models/org/name/revision/main"})
	if _, err := pullOf(t, s, "org/name"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a redirect to a hub without the model: %v", err)
	}
	for _, r := range other.Requests() {
		if r.Authorization != "" {
			t.Errorf("another hub got %q", r.Authorization)
		}
	}
	plain, err := NewClient("http://models.example", "hf_secret")
	if err != nil || !plain.WithheldToken() {
		t.Errorf("a token is sent over plain HTTP: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	h, open, _ := opened(t, "")
	h.Token = "hf_good"
	h.Add("org/private", model())
	h.Change("org/private", func(r *hubtest.Repo) { r.Private = true })
	h.Add("org/gated", model())
	h.Change("org/gated", func(r *hubtest.Repo) { r.Gated = true })
	h.Add("org/pickle", map[string][]byte{"config.json": []byte("{}"), "pytorch_model.bin": []byte("x")})
	h.Add("org/gguf", map[string][]byte{"x-Q4.gguf": []byte("x")})
	h.Add("org/none", map[string][]byte{"README.md": []byte("x")})
	h.Add("org/incomplete", map[string][]byte{"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map": {"a": "model-00001-of-00001.safetensors"}}`)})
	h.Add("org/leads-out", map[string][]byte{"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map": {"a": "../../x.safetensors"}}`)})
	h.Add("org/lora-bin", map[string][]byte{"adapter_config.json": []byte("{}"), "adapter_model.bin": []byte("x")})
	if _, err := pullOf(t, open, "org/name"); err != nil {
		t.Fatal(err)
	}
	good, bad := *open, *open
	good.Client, bad.Client = storeOf(t, h.URL, "hf_good", "").Client, storeOf(t, h.URL, "hf_bad", "").Client
	for _, c := range []struct {
		store *Store
		name  string
		kind  Kind
		says  string
	}{
		{open, "org/absent", NotFound, "HF_TOKEN"},
		{&good, "org/absent", NotFound, "spelling"},
		{open, "other/name", NotFound, "the cache has org/name"},
		{open, "org/private", NotFound, "private"},
		{&bad, "org/name", NeedsToken, "valid token"},
		{open, "org/name@v9", NoRevision, "v9"},
		{open, "org/gated", Gated, "accept its conditions"},
		{open, "org/pickle", Unsuitable, "pickles"},
		{open, "org/gguf", Unsuitable, "GGUF"},
		{open, "org/none", Unsuitable, "neither"},
		{open, "org/incomplete", Unsuitable, "model-00001-of-00001.safetensors"},
		{open, "org/leads-out", Broken, "../../x.safetensors"},
		{open, "org/lora-bin", Unsuitable, "adapter_model.safetensors"},
		{&Store{Cache: open.Cache}, "org/absent", Offline, "--offline"},
	} {
		var e *Error
		if _, err := pullOf(t, c.store, c.name); !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Error(), c.says) || strings.Contains(e.Error(), "hf_") {
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.kind, c.says)
		}
	}
	if _, err := pullOf(t, &good, "org/gated"); err != nil {
		t.Errorf("a gated model with its token: %v", err)
	}
	h.Fail(hubtest.Fault{Path: "/resolve/", Status: http.StatusForbidden, Header: http.Header{"X-Error-Code": {"GatedRepo"}}, Times: 9})
	h.Add("org/gated", map[string][]byte{"config.json": []byte("{}"), "model.safetensors": []byte("new")})
	var e *Error
	if _, err := pullOf(t, &good, "org/gated"); !errors.As(err, &e) || e.Kind != Gated || !strings.Contains(e.Error(), "account") {
		t.Errorf("a gated model that the account may not read: %v", err)
	}
}

func TestContents(t *testing.T) {
	h, s, _ := opened(t, "")
	shards := map[string][]byte{"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map": {"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": weights(1000), "model-00002-of-00002.safetensors": weights(2000), "model-00003-of-00002.safetensors": weights(9)}
	h.Add("org/sharded", shards)
	adapter := map[string][]byte{"adapter_config.json": []byte(`{"base_model_name_or_path": "org/name"}`), "adapter_model.safetensors": weights(500), "README.md": []byte("x")}
	h.Add("org/lora", adapter)
	got, err := pullOf(t, s, "org/sharded")
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, got, shards, []string{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"})
	if got, err = pullOf(t, s, "org/lora"); err != nil || got.Content != Adapter || got.Base != "org/name" {
		t.Fatalf("an adapter is %+v, %v", got, err)
	}
	wantFiles(t, got, adapter, []string{"adapter_config.json", "adapter_model.safetensors"})
	for want, name := range map[Content]string{Model: "org/lora", Adapter: "org/name"} {
		n, _ := ParseName(name, "")
		var e *Error
		if _, err := s.Pull(context.Background(), n, want, nil); !errors.As(err, &e) || e.Kind != Unsuitable {
			t.Errorf("%s as %s: %v", name, want, err)
		}
	}
}

// TestFaults: after each fault the files are right, or an error says what is wrong.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []hubtest.Fault
		kind   Kind   // "" for success
		says   string // by an event, or in the error
		long   time.Duration
	}{
		{name: "cut", faults: []hubtest.Fault{{Storage: true, Cut: 100_000}, {Storage: true, Cut: 50_000, Times: 3}}, says: "cut"},
		{name: "cut of a small file", faults: []hubtest.Fault{{Path: "resolve-cache", Cut: 1}}, says: "cut"},
		{name: "stall", faults: []hubtest.Fault{{Storage: true, Stall: 70_000}}, says: "no bytes have come"},
		{name: "stall of the list", faults: []hubtest.Fault{{Path: "/api/models", Status: 503, Times: 2}}, says: "status 503"},
		{name: "wrong bytes once", faults: []hubtest.Fault{{Storage: true, Flip: true}}, says: "wrong checksum"},
		{name: "wrong bytes always", faults: []hubtest.Fault{{Storage: true, Flip: true, Times: 9}}, kind: Damaged, says: "checksum"},
		{name: "wrong small file always", faults: []hubtest.Fault{{Path: "resolve-cache", Flip: true, Times: 99}}, kind: Damaged, says: "checksum"},
		{name: "no ranges after a cut", faults: []hubtest.Fault{{Storage: true, Cut: 100_000}, {Storage: true, NoRange: true}}, says: "cut"},
		{name: "another range after a cut", faults: []hubtest.Fault{{Storage: true, Cut: 100_000}, {Storage: true, Shift: true}}, says: "other bytes"},
		{name: "416 after a cut", faults: []hubtest.Fault{{Storage: true, Cut: 100_000}, {Storage: true, Status: 416}}, says: "does not continue"},
		{name: "more bytes", faults: []hubtest.Fault{{Storage: true, Longer: true}}, kind: Broken, says: "more bytes"},
		{name: "portal", faults: []hubtest.Fault{{Storage: true, Page: "<html>please log in</html>"}}, kind: Broken, says: "in its place"},
		{name: "portal for the list", faults: []hubtest.Fault{{Path: "/api/models", Page: "<html>please log in</html>"}}, kind: Broken, says: "makes no sense"},
		{name: "429", faults: []hubtest.Fault{{Path: "/resolve/", Status: 429, Header: http.Header{"Retry-After": {"77"}}}}, says: "too many requests", long: 77 * time.Second},
		{name: "429 for an hour", faults: []hubtest.Fault{{Path: "/resolve/", Status: 429, Header: http.Header{"Retry-After": {"3600"}}}}, kind: Busy, says: "wait 1h0m0s"},
		{name: "500 always", faults: []hubtest.Fault{{Storage: true, Status: 500, Times: 99}}, kind: Broken, says: "status 500"},
		{name: "502 and 504", faults: []hubtest.Fault{{Storage: true, Status: 502}, {Storage: true, Status: 504}}, says: "status 504"},
		{name: "404 of a file", faults: []hubtest.Fault{{Path: "/resolve/", Status: 404, Header: http.Header{"X-Error-Code": {"EntryNotFound"}}}}, kind: Broken, says: "not there any more"},
		{name: "redirects for ever", faults: []hubtest.Fault{{Path: "/resolve/", Redirect: "x", Times: 999}}, kind: Broken, says: "redirects"},
		{name: "redirect to a file", faults: []hubtest.Fault{{Path: "/resolve/", Redirect: "file:///etc/passwd"}}, kind: Broken, says: "redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, s, _ := opened(t, "")
			w := new(waits)
			s.Client.pause, s.Client.stall = w.pause, 2*time.Second
			for _, f := range c.faults {
				h.Fail(f)
			}
			var said []string
			n, _ := ParseName("org/name", "")
			got, err := s.Pull(context.Background(), n, Any, func(p Progress) { said = append(said, p.Event) })
			var e *Error
			if c.kind != "" {
				if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Error(), c.says) {
					t.Errorf("%v, want %s with %q", err, c.kind, c.says)
				}
				if found, err := s.Cache.Find(n); found != nil || err != nil {
					t.Errorf("the cache has %+v, %v", found, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantFiles(t, got, model(), neededOf)
			if !strings.Contains(strings.Join(said, "\n"), c.says) {
				t.Errorf("it says nothing of %q: %q", c.says, strings.Join(said, ""))
			}
			if len(w.long) > 0 && slices.Max(w.long) < c.long {
				t.Errorf("it waits %v, want %v", w.long, c.long)
			}
		})
	}
}

// TestResume: what an interrupted pull has fetched is not fetched again, and a changed ETag makes the file begin anew.
func TestResume(t *testing.T) {
	h, s, _ := opened(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	h.Fail(hubtest.Fault{Storage: true, Stall: 200_000})
	n, _ := ParseName("org/name", "")
	_, err := s.Pull(ctx, n, Any, func(p Progress) {
		if p.Done > 200_000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("an interrupted pull ends with %v", err)
	}
	list, unfinished, err := s.Cache.List()
	if err != nil || len(list) != 0 || len(unfinished) != 1 || unfinished[0].Repo != "org/name" || unfinished[0].Bytes < 200_000 {
		t.Errorf("the list is %+v, %+v, %v", list, unfinished, err)
	}
	before := len(h.Requests())
	got, err := pullOf(t, s, "org/name")
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, got, model(), neededOf)
	ranges := 0
	for _, r := range h.Requests()[before:] {
		if r.Storage && r.Range == "bytes=200000-" && r.IfRange != "" {
			ranges++
		}
	}
	if ranges != 1 {
		t.Errorf("it goes on with %+v", h.Requests()[before:])
	}
}

// TestDamage: a file that has changed in the cache is found and fetched again, and alone.
func TestDamage(t *testing.T) {
	h, s, _ := opened(t, "")
	got, err := pullOf(t, s, "org/name")
	if err != nil {
		t.Fatal(err)
	}
	changed := weights(300_000)
	changed[7] ^= 1
	if err := os.WriteFile(filepath.Join(got.Dir, "model.safetensors"), changed, 0o666); err != nil {
		t.Fatal(err)
	}
	if damaged, err := got.Verify(); err != nil || !slices.Equal(damaged, []string{"model.safetensors"}) {
		t.Errorf("damaged: %v, %v", damaged, err)
	}
	before := len(h.Requests())
	if got, err = pullOf(t, s, "org/name"); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, got, model(), neededOf)
	if n := len(h.Requests()) - before; n != 3 {
		t.Errorf("%d requests, want the list and one file with its redirect", n)
	}
	if err := os.Truncate(filepath.Join(got.Dir, "model.safetensors"), 5); err != nil {
		t.Fatal(err)
	}
	n, _ := ParseName("org/name", "")
	if _, err := s.Cache.Find(n); err == nil || !strings.Contains(err.Error(), "llamatab pull") {
		t.Errorf("a shorter file: %v", err)
	}
}

// TestNewCommit: of a new commit only the files are fetched that have changed, and the old one stays.
func TestNewCommit(t *testing.T) {
	h, s, _ := opened(t, "")
	old, err := pullOf(t, s, "org/name")
	if err != nil {
		t.Fatal(err)
	}
	files := model()
	files["tokenizer_config.json"] = []byte(`{"new": true}`)
	h.Add("org/name", files)
	before := len(h.Requests())
	got, err := pullOf(t, s, "org/name")
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, got, files, neededOf)
	wantFiles(t, old, model(), neededOf)
	for _, r := range h.Requests()[before:] {
		if r.Storage {
			t.Errorf("the weights are fetched again: %+v", r)
		}
	}
	if found, err := s.Cache.Find(Name{"org/name", old.Commit}); err != nil || found == nil || found.Commit != old.Commit {
		t.Errorf("the old commit is %+v, %v", found, err)
	}
	if _, err := s.Cache.Remove("org/name", old.Commit); err != nil {
		t.Fatal(err)
	}
	if damaged, err := got.Verify(); err != nil || damaged != nil {
		t.Errorf("without the old commit the new one lacks %v, %v", damaged, err)
	}
}

// TestTogether: pulls of the same model at the same time fetch it once.
func TestTogether(t *testing.T) {
	h, s, _ := opened(t, "")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			own := storeOf(t, h.URL, "", s.Cache.Dir)
			if _, err := pullOf(t, own, "org/name"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	stored := 0
	for _, r := range h.Requests() {
		if r.Storage {
			stored++
		}
	}
	if stored != 1 {
		t.Errorf("the weights are fetched %d times", stored)
	}
}

func TestUnreachable(t *testing.T) {
	h, s, _ := opened(t, "")
	h.Close()
	var e *Error
	if _, err := pullOf(t, s, "org/name"); !errors.As(err, &e) || e.Kind != Unreachable || !strings.Contains(e.Error(), "--offline") {
		t.Errorf("without a hub: %v", err)
	}
}

// TestHostileLists: answers that no hub gives end with an error, and nothing is written outside the cache.
func TestHostileLists(t *testing.T) {
	sibling := func(path string, size any) map[string]any {
		return map[string]any{"rfilename": path, "size": size, "blobId": strings.Repeat("a", 40)}
	}
	whole := []map[string]any{sibling("config.json", 2), sibling("model.safetensors", 2)}
	for name, siblings := range map[string]any{
		"twice":            append(slices.Clone(whole), sibling("config.json", 2)),
		"negative size":    []any{sibling("config.json", -1), sibling("model.safetensors", 2)},
		"no size":          []any{map[string]any{"rfilename": "config.json"}, sibling("model.safetensors", 2)},
		"huge size":        []any{sibling("config.json", 2), sibling("model.safetensors", 1<<43)},
		"huge config":      []any{sibling("config.json", 1<<31), sibling("model.safetensors", 2)},
		"no disk for it":   []any{sibling("config.json", 2), sibling("model.safetensors", 1<<41)},
		"sizes that lie":   []any{sibling("config.json", 3), sibling("model.safetensors", 2)},
		"two sizes":        []any{sibling("config.json", 2), map[string]any{"rfilename": "model.safetensors", "size": 2, "lfs": map[string]any{"size": 3, "sha256": strings.Repeat("a", 64)}}},
		"no checksum":      []any{sibling("config.json", 2), map[string]any{"rfilename": "model.safetensors", "size": 2}},
		"bad checksum":     []any{sibling("config.json", 2), map[string]any{"rfilename": "model.safetensors", "size": 2, "blobId": "../../x"}},
		"case clash":       append(slices.Clone(whole), sibling("LICENSE", 2), sibling("license", 2)),
		"a number":         5,
		"null":             nil,
		"wrong sum":        whole,
		"fractional sizes": []any{sibling("config.json", 2.5)},
	} {
		t.Run(name, func(t *testing.T) {
			h := hubtest.New()
			defer h.Close()
			h.Add("org/name", map[string][]byte{"config.json": []byte("{}"), "model.safetensors": []byte("xx")})
			h.Change("org/name", func(r *hubtest.Repo) { r.Listed = func([]map[string]any) any { return siblings } })
			top := t.TempDir()
			s := storeOf(t, h.URL, "", filepath.Join(top, "a", "cache"))
			if got, err := pullOf(t, s, "org/name"); err == nil {
				t.Fatalf("it is %+v", got)
			}
			if list, _, err := s.Cache.List(); err != nil || len(list) != 0 {
				t.Errorf("the cache has %+v, %v", list, err)
			}
			if entries, _ := os.ReadDir(top); len(entries) > 1 {
				t.Errorf("files are written outside the cache: %v", entries)
			}
		})
	}
	for _, path := range []string{"../x", "/etc/passwd", `..\x`, "a/../b", "C:x", "x\x00", ".hidden", "a/.git/x", "a//b", "x.", "x ", "", "\xff", strings.Repeat("x", 300)} {
		if err := (File{Path: path, Blob: strings.Repeat("a", 40)}).check(); err == nil {
			t.Errorf("%q can be used as a file name", path)
		}
	}
}

// TestHugeAnswer: an answer without end is cut off.
func TestHugeAnswer(t *testing.T) {
	h, s, _ := opened(t, "")
	h.Fail(hubtest.Fault{Path: "/api/models", Page: strings.Repeat("x", maxListing+1)})
	if _, err := pullOf(t, s, "org/name"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func FuzzListing(f *testing.F) {
	for _, text := range []string{
		`{"id": "org/name", "sha": "0123456789012345678901234567890123456789", "gated": false, "siblings": [{"rfilename": "config.json", "size": 2, "blobId": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, {"rfilename": "model.safetensors", "size": 2, "lfs": {"sha256": "` + strings.Repeat("b", 64) + `", "size": 2, "pointerSize": 134}}]}`,
		`{"sha": "0123456789012345678901234567890123456789", "siblings": [{"rfilename": "../x"}]}`, `{"siblings": null}`, `[]`, ``, `{"sha": 5}`,
		`{"sha": "0123456789012345678901234567890123456789", "gated": "auto", "siblings": [{"rfilename": "adapter_config.json", "size": 1e3}, {"rfilename": "adapter_model.safetensors", "size": -1}]}`,
	} {
		f.Add([]byte(text), []byte(`{"weight_map": {"a": "model-00001-of-00001.safetensors"}}`))
	}
	f.Fuzz(func(t *testing.T, data, index []byte) {
		name := Name{"org/name", DefaultRevision}
		l, err := parseListing(data, name)
		if err != nil {
			return
		}
		for _, want := range []Content{Model, Adapter, Any} {
			content, err := l.contentOf(want, name)
			if err != nil {
				continue
			}
			files, err := l.needed(content, index, name)
			if err != nil {
				continue
			}
			for _, file := range files {
				if !filepath.IsLocal(file.Path) || strings.ContainsAny(file.Path, "\\:\x00") || file.Size < 0 || file.SHA256+file.Blob == "" {
					t.Fatalf("%+v is to be fetched", file)
				}
			}
		}
	})
}

// FuzzPartial: whatever lies beside an unfinished file, the file is fetched whole.
func FuzzPartial(f *testing.F) {
	f.Add([]byte("half"), []byte(`{"path": "model.safetensors", "size": 2000, "etag": "\"x\""}`))
	f.Add(weights(2000), []byte(`{}`))
	f.Add(weights(1999), []byte(fmt.Sprintf(`{"path": "model.safetensors", "size": 2000, "sha256": %q, "etag": "\"old\""}`, "x")))
	h := hubtest.New()
	f.Cleanup(h.Close)
	files := map[string][]byte{"config.json": []byte("{}"), "model.safetensors": weights(2000)}
	commit := h.Add("org/name", files)
	f.Fuzz(func(t *testing.T, part, beside []byte) {
		s := storeOf(t, h.URL, "", t.TempDir())
		dir := filepath.Join(s.Cache.repoDir("org/name"), commit, partialFolder)
		list, _ := json.Marshal(map[string]string{})
		for name, data := range map[string][]byte{"model.safetensors.part": part, "model.safetensors.part.json": beside, "config.json.part.json": list} {
			if err := errors.Join(os.MkdirAll(dir, 0o777), os.WriteFile(filepath.Join(dir, name), data, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := pullOf(t, s, "org/name")
		if err != nil {
			t.Fatal(err)
		}
		wantFiles(t, got, files, []string{"config.json", "model.safetensors"})
	})
}

// A repository that is a model and an adapter is kept as both, in whichever order they are fetched.
func TestModelAndAdapter(t *testing.T) {
	for _, order := range [][]Content{{Model, Adapter}, {Adapter, Model}} {
		h := hubtest.New()
		t.Cleanup(h.Close)
		files := map[string][]byte{
			"config.json": []byte("{}"), "model.safetensors": weights(1000), "adapter_config.json": []byte(`{"base_model_name_or_path": "org/base"}`), "adapter_model.safetensors": weights(500),
		}
		h.Add("org/both", files)
		s := storeOf(t, h.URL, "", t.TempDir())
		for i, content := range append(order, order...) {
			got, err := s.Pull(t.Context(), Name{"org/both", "main"}, content, nil)
			if err != nil || !got.Holds(content) || i > 0 && !got.Holds(order[0]) {
				t.Fatalf("%s, %s, then %s: %+v, %v", order, content, order[0], got, err)
			}
		}
		found, err := s.Cache.Find(Name{"org/both", "main"})
		if err != nil || found == nil || !found.Holds(Model) || !found.Holds(Adapter) || found.Content != Model || found.Base != "org/base" || len(found.Files) != len(files) {
			t.Errorf("%s: %+v, %v", order, found, err)
		}
		if damaged, err := found.Verify(); err != nil || damaged != nil {
			t.Errorf("%s: damaged %v, %v", order, damaged, err)
		}
		// What is damaged is fetched again, and the other one is not forgotten.
		if err := os.WriteFile(filepath.Join(found.Dir, "model.safetensors"), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Pull(t.Context(), Name{"org/both", "main"}, Model, nil); err != nil || !got.Holds(Adapter) || len(got.Files) != len(files) {
			t.Errorf("%s: fetched again as %+v, %v", order, got, err)
		}
	}
	if alone := (&Snapshot{Content: Adapter}); alone.Holds(Model) || !alone.Holds(Adapter) || !alone.Holds(Any) {
		t.Error("an adapter is taken for a model")
	}
}

// What somebody works with is not removed.
func TestHold(t *testing.T) {
	h := hubtest.New()
	t.Cleanup(h.Close)
	h.Add("org/name", map[string][]byte{"config.json": []byte("{}"), "model.safetensors": weights(1000)})
	s := storeOf(t, h.URL, "", t.TempDir())
	got, err := s.Pull(t.Context(), Name{"org/name", "main"}, Model, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.Cache.Hold(got)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Cache.Hold(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []func(){one, two} {
		for _, commit := range []string{"", got.Commit} {
			_, err := s.Cache.Remove("org/name", commit)
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind != InUse {
				t.Errorf("removed %q: %v", commit, err)
			}
			if err := got.present(); err != nil {
				t.Error(err)
			}
		}
		release()
	}
	if bytes, err := s.Cache.Remove("org/name", got.Commit); err != nil || bytes == 0 {
		t.Errorf("%d bytes removed, %v", bytes, err)
	}
}
