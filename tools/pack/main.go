// Command pack fills the folder that the server embeds: it compresses each asset twice (zstd, gzip), and makes the
// two that no file holds: vugu.js, the helper script of the vugu library as a file, and licenses.txt, the licences
// of everything third-party that the program ships.
//
//	go run ./tools/pack --out server/web/assets --server ./server --wasm ./wasm [--npm DIR] FILE [NAME=FILE …]
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	gz "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// wasmLimit is the most that the engine may weigh on the wire, in bytes of its zstd form: what a classroom of
// thirty fetches in a minute over a weak Wi-Fi.
const wasmLimit = 2_000_000

func main() {
	out := flag.String("out", "server/web/assets", "folder to fill")
	server := flag.String("server", "", "the server's package, for the licences of what it links")
	wasm := flag.String("wasm", "", "the engine's package, for the licences of what it links")
	npm := flag.String("npm", "", "folder with package.json and node_modules, for their licences")
	builtin := flag.String("builtin", "", "folder of built-in models and data, taken over as it is")
	flag.Parse()
	err := pack(*out, *server, *wasm, *npm, flag.Args())
	if err == nil && *builtin != "" {
		err = os.CopyFS(filepath.Join(*out, "builtin"), os.DirFS(*builtin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(out, server, wasm, npm string, files []string) error {
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	packed := map[string]bool{".keep": true}
	var page []byte
	add := func(name string, data []byte) error {
		packed[name+".zst"], packed[name+".gz"] = true, true
		return compress(filepath.Join(out, name), data, npm)
	}
	for _, arg := range files {
		name, file, named := strings.Cut(arg, "=")
		if !named {
			name, file = filepath.Base(arg), arg
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if name == "index.html" {
			page = data
		}
		if err := add(name, data); err != nil {
			return err
		}
	}
	helper, err := vuguHelper()
	if err != nil {
		return fmt.Errorf("vugu.js: %w", err)
	}
	if err := add("vugu.js", []byte(helper)); err != nil {
		return err
	}
	licenses, err := collectLicenses(server, wasm, npm)
	if err != nil {
		return fmt.Errorf("licenses.txt: %w", err)
	}
	if err := add("licenses.txt", licenses); err != nil {
		return err
	}
	for _, reference := range regexp.MustCompile(`(?:src|href)="/([^"]+)"`).FindAllSubmatch(page, -1) {
		if name := string(reference[1]); !packed[name+".gz"] {
			return fmt.Errorf("index.html asks for /%s, which is not packed", name)
		}
	}
	// What an earlier build packed and this one did not must not be embedded.
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !packed[e.Name()] {
			if err := os.RemoveAll(filepath.Join(out, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// compress writes name.zst and name.gz, unless they hold the data already: the best levels take seconds.
func compress(name string, data []byte, npm string) error {
	if same(name+".gz", data) {
		if _, err := os.Stat(name + ".zst"); err == nil {
			return nil
		}
	}
	packed, best, err := zstandard(name, data, npm)
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, ".wasm") {
		fmt.Printf("%s: %.2f MB, %.2f MB on the wire\n", filepath.Base(name), float64(len(data))/1e6, float64(len(packed))/1e6)
		if best && len(packed) > wasmLimit {
			return fmt.Errorf("%s: %d bytes on the wire, more than the %d that are allowed: look for a new heavy dependency", name, len(packed), wasmLimit)
		}
	}
	var zipped bytes.Buffer
	w, err := gz.NewWriterLevel(&zipped, gz.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return errors.Join(w.Close(), os.WriteFile(name+".zst", packed, 0o666), os.WriteFile(name+".gz", zipped.Bytes(), 0o666))
}

// zstandard compresses with a window of 8 MiB, which is what browsers take. The zstd library does it an eighth better than
// the Go package, so the engine is left to it: as the program zstd, where that is installed, else as npm has it; best tells that
// it was the program. Its level 22 takes no longer than 19, which by where in the file they begin finds the patterns of the
// engine's tables or misses them, 4 % of the whole; npm's takes no window, and that of its levels above 19 is too large.
func zstandard(name string, data []byte, npm string) (packed []byte, best bool, err error) {
	if strings.HasSuffix(name, ".wasm") {
		run := func(program string, args ...string) ([]byte, error) {
			command := exec.Command(program, args...)
			command.Dir, command.Stdin = npm, bytes.NewReader(data)
			return command.Output()
		}
		if packed, err := run("zstd", "--ultra", "-22", "--zstd=wlog=23", "--quiet", "--stdout"); err == nil {
			return packed, true, nil
		}
		if packed, err := run("node", "--input-type=module", "--eval", `import { Zstd } from "@hpcc-js/wasm-zstd";
			import { readFileSync, writeSync } from "node:fs";
			const packed = (await Zstd.load()).compress(readFileSync(0), 19);
			for (let sent = 0; sent < packed.length;) sent += writeSync(1, packed, sent);`); err == nil {
			return packed, false, nil
		}
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, false, err
	}
	return encoder.EncodeAll(data, nil), false, nil
}

func same(name string, data []byte) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		return false
	}
	old, err := io.ReadAll(r)
	return err == nil && bytes.Equal(old, data)
}

// vuguHelper is the script that vugu would evaluate when it starts: a constant of its domrender package.
func vuguHelper() (string, error) {
	dir, err := output("go", "list", "-f", "{{.Dir}}", "github.com/vugu/vugu/domrender")
	if err != nil {
		return "", err
	}
	name := filepath.Join(strings.TrimSpace(dir), "renderer-js-script.go")
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		return "", err
	}
	var script string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "jsHelperScript" && len(spec.Values) == 1 {
			if text, ok := spec.Values[0].(*ast.BasicLit); ok {
				script, err = strconv.Unquote(text.Value)
			}
		}
		return true
	})
	if err == nil && script == "" {
		err = fmt.Errorf("%s: no constant jsHelperScript", name)
	}
	return script, err
}

// collectLicenses joins the licence texts of Go itself, of every Go module linked into the server or the wasm, and
// of the npm packages.
func collectLicenses(server, wasm, npm string) ([]byte, error) {
	folders := map[string]string{} // title → folder
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	folders["Go"] = strings.TrimSpace(goroot)
	for program, env := range map[string][]string{server: {"CGO_ENABLED=0"}, wasm: {"GOOS=js", "GOARCH=wasm"}} {
		if program == "" {
			continue
		}
		command := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", program)
		command.Env = append(os.Environ(), env...)
		command.Stderr = os.Stderr
		list, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("go list %s: %w", program, err)
		}
		for line := range strings.Lines(string(list)) {
			if title, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				folders[title] = dir
			}
		}
	}
	if npm != "" {
		data, err := os.ReadFile(filepath.Join(npm, "package.json"))
		if err != nil {
			return nil, err
		}
		var manifest struct {
			Dependencies map[string]string `json:"dependencies"`
		}
		if err := json.Unmarshal(data, &manifest); err != nil {
			return nil, fmt.Errorf("package.json: %w", err)
		}
		for name, version := range manifest.Dependencies {
			folders[name+" "+version] = filepath.Join(npm, "node_modules", filepath.FromSlash(name))
		}
	}

	var titles []string
	for title := range folders {
		titles = append(titles, title)
	}
	slices.Sort(titles)
	var text bytes.Buffer
	text.WriteString("llamatab ships parts of the works below, each under the licence printed with it.\n")
	for _, title := range titles {
		found := false
		for _, pattern := range []string{"LICENSE*", "LICENCE*", "COPYING*", "NOTICE*"} {
			names, err := filepath.Glob(filepath.Join(folders[title], pattern))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				data, err := os.ReadFile(name)
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(&text, "\n%s\n%s (%s)\n\n%s\n", strings.Repeat("=", 80), title, filepath.Base(name), bytes.TrimSpace(data))
				found = true
			}
		}
		if !found {
			fmt.Fprintf(os.Stderr, "pack: %s has no licence file in %s\n", title, folders[title])
		}
	}
	return text.Bytes(), nil
}

func output(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
