package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The limits count what index.html names once, and all wasm files.
func TestWeigh(t *testing.T) {
	if !hasZstd() {
		t.Setenv("PATH", fakeZstd(t))
	}
	index := []byte(`<link href="/page.wasm"><link href="/page.js"><script src="/page.js"></script><a href="https://example.org">`)
	for _, c := range []struct {
		name  string
		sizes map[string]int64
		want  string
	}{
		{"at the limits", map[string]int64{"index.html": 1000, "page.js": 9000, "page.wasm": 1_190_000, "engine.wasm": wasmLimit - 1_190_000, "engine.js": 5_000_000}, ""},
		{"page too large", map[string]int64{"index.html": 1001, "page.js": 9000, "page.wasm": 1_190_000}, "1200001 bytes"},
		{"wasm too large", map[string]int64{"index.html": 1, "page.js": 1, "page.wasm": 1_000_000, "engine.wasm": wasmLimit - 1_000_000 + 1}, fmt.Sprint(wasmLimit+1, " bytes")},
		{"a file missing", map[string]int64{"index.html": 1, "page.js": 1}, "/page.wasm, which is not packed"},
	} {
		err := weigh(c.sizes, index)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// fakeZstd returns a folder with an executable file named zstd: weigh only looks whether there is one.
func fakeZstd(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "zstd"), nil, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A second build leaves only what it packed itself.
func TestRemoveOthers(t *testing.T) {
	out := t.TempDir()
	for _, name := range []string{".keep", "page.js.zst", "page.js.gz", "old.js.zst", "old.js.gz", "page.js"} {
		if err := os.WriteFile(filepath.Join(out, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeOthers(out, map[string]int64{"page.js": 1}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != ".keep page.js.gz page.js.zst" {
		t.Errorf("left: %s", got)
	}
}

// The browser learns from index.html of every module that is imported, and of none twice.
func TestPreloadModules(t *testing.T) {
	assets := map[string][]byte{
		"page.js": []byte("import { a } from \"./a.js\";\nimport {\n  b,\n} from \"./b.js\";\nconst zip = () => import(\"/zip.js\");\n"),
		"a.js":    []byte("import \"./b.js\";\nexport * from \"/c.js\";\n"),
		"b.js":    []byte("export const b = () => fetch(\"/api/b\"); // import \"./none.js\"\n"),
		"c.js":    []byte("import { a } from \"./a.js\";\n"),
		"zip.js":  nil,
	}
	index := []byte(`<head><link rel="modulepreload" href="/b.js"></head><script type="module" src="/page.js"></script>`)
	got, err := preloadModules(index, assets)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, link := range preloadLink.FindAllSubmatch(got, -1) {
		names = append(names, string(link[1]))
	}
	if want := "b.js page.js a.js c.js"; strings.Join(names, " ") != want {
		t.Errorf("links for %v, want %s", names, want)
	}
	delete(assets, "c.js")
	if _, err := preloadModules(index, assets); err == nil || !strings.Contains(err.Error(), "/c.js") {
		t.Errorf("a module that is missing: %v", err)
	}
}

// Two files with one name would be one asset.
func TestRead(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "a.js"), filepath.Join(t.TempDir(), "a.js")
	for _, file := range []string{one, two} {
		if err := os.WriteFile(file, []byte(file), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	assets, err := read([]string{one, "b.js=" + two})
	if err != nil || string(assets["a.js"]) != one || string(assets["b.js"]) != two {
		t.Errorf("%s, %v", assets, err)
	}
	if _, err := read([]string{one, two}); err == nil || !strings.Contains(err.Error(), "/a.js already") {
		t.Errorf("two files of one name: %v", err)
	}
}
