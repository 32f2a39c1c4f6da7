// Command pack fills the folder that the server embeds. It compresses each asset twice (zstd, gzip), checks what the page
// weighs, and makes the assets that no file holds:
//
//   - describe.json: the settings that run.json may hold and the families of models, as the engine describes them
//   - vugu.js: the helper script of the vugu library, which is a constant in its Go code
//   - licenses.txt: the licences of everything third-party that the program ships
//
// Usage:
//
//	go run ./tools/pack --out server/web/assets --server ./server --wasm ./wasm/... [--npm DIR] FILE [NAME=FILE …]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	_ "llamatab/engine/data" // registers the formats of data that the description names
	_ "llamatab/engine/peft" // and the methods
	"llamatab/engine/pretrained"
)

// Limits on what goes over the wire, in bytes of the zstd form. A classroom of thirty opens the page at once over a weak
// Wi-Fi, so what the page needs before somebody can use it is bounded apart from the engine, which loads while they read.
const (
	pageLimit = 1_200_000 // index.html and all that it names
	wasmLimit = 3_400_000 // all wasm files together
)

func main() {
	out := flag.String("out", "server/web/assets", "folder to fill")
	server := flag.String("server", "", "the server's package, for the licences of what it links")
	wasm := flag.String("wasm", "", "the packages of the browser's programs, for the licences of what they link")
	npm := flag.String("npm", "", "folder with package.json and node_modules, for their licences")
	builtin := flag.String("builtin", "", "folder of built-in models and data, taken over as it is")
	flag.Parse()
	var programs []program
	if *server != "" {
		programs = append(programs, program{*server, []string{"CGO_ENABLED=0"}})
	}
	if *wasm != "" {
		programs = append(programs, program{*wasm, []string{"GOOS=js", "GOARCH=wasm"}})
	}
	err := pack(*out, programs, *npm, flag.Args())
	if err == nil && *builtin != "" {
		err = os.CopyFS(filepath.Join(*out, "builtin"), os.DirFS(*builtin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// pack fills the folder out with the given files (FILE, or NAME=FILE) and the assets that it makes itself.
func pack(out string, programs []program, npm string, files []string) error {
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	assets, err := read(files)
	if err != nil {
		return err
	}
	for name, make := range map[string]func() ([]byte, error){
		"describe.json": func() ([]byte, error) { return json.Marshal(pretrained.Describe()) },
		"vugu.js":       vuguHelper,
		"licenses.txt":  func() ([]byte, error) { return collectLicenses(programs, npm) },
	} {
		if assets[name], err = make(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if assets["index.html"], err = preloadModules(assets["index.html"], assets); err != nil {
		return err
	}
	sizes := map[string]int64{} // of the zstd form, by the asset's name
	for _, name := range slices.Sorted(maps.Keys(assets)) {
		if sizes[name], err = compress(filepath.Join(out, name), assets[name], npm); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := weigh(sizes, assets["index.html"]); err != nil {
		return err
	}
	return removeOthers(out, sizes)
}

// read reads the given files by the names under which they are served.
func read(files []string) (map[string][]byte, error) {
	assets := map[string][]byte{}
	for _, arg := range files {
		name, file, named := strings.Cut(arg, "=")
		if !named {
			name, file = filepath.Base(arg), arg
		}
		if assets[name] != nil {
			return nil, fmt.Errorf("%s: another file is served as /%s already", file, name)
		}
		data, err := os.ReadFile(file)
		if err == nil && strings.HasSuffix(name, ".wasm") {
			data, err = mergeSegments(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		assets[name] = data
	}
	return assets, nil
}

// weigh checks that all that index.html names is packed and that the sizes keep to the limits. What the page needs
// before it is usable is index.html with the files that it names; everything else loads later.
func weigh(sizes map[string]int64, index []byte) error {
	page := sizes["index.html"]
	named := map[string]bool{}
	for _, reference := range regexp.MustCompile(`(?:src|href)="/([^"]+)"`).FindAllSubmatch(index, -1) {
		name := string(reference[1])
		size, packed := sizes[name]
		if !packed {
			return fmt.Errorf("index.html asks for /%s, which is not packed", name)
		}
		if !named[name] {
			named[name] = true
			page += size
		}
	}
	var wasm int64
	for name, size := range sizes {
		if strings.HasSuffix(name, ".wasm") {
			wasm += size
		}
	}
	fmt.Printf("on the wire: %.2f MB until the page is usable, %.2f MB of wasm in all\n", float64(page)/1e6, float64(wasm)/1e6)
	if !hasZstd() { // what packs in its place is larger
		return nil
	}
	if page > pageLimit {
		return fmt.Errorf("the page needs %d bytes before it is usable, more than the %d that are allowed: look for a new heavy dependency", page, pageLimit)
	}
	if wasm > wasmLimit {
		return fmt.Errorf("the wasm files take %d bytes, more than the %d that are allowed: look for a new heavy dependency", wasm, wasmLimit)
	}
	return nil
}

// removeOthers removes from the folder what an earlier build packed and this one did not: it must not be embedded.
func removeOthers(out string, sizes map[string]int64) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".zst"), ".gz")
		if _, packed := sizes[name]; packed && name != e.Name() || e.Name() == ".keep" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(out, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
