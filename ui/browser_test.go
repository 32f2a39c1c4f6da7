//go:build !js

package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"llamatab/engine/pretrained"
	"llamatab/engine/testfiles"
	"llamatab/server/headless"
	"llamatab/server/servertest"
)

// policy is the server's Content-Security-Policy. The page must work under it.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
	"style-src 'self'; img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// probe runs before the page's scripts. It suppresses the question before the page is left, and records errors, violations of the
// policy, long tasks and downloads.
const probe = `
globalThis.seen = { violations: [], errors: [], tasks: [] };
addEventListener("securitypolicyviolation", (e) => seen.violations.push(e.violatedDirective + " " + e.blockedURI));
addEventListener("error", (e) => seen.errors.push(e.message));
addEventListener("unhandledrejection", (e) => seen.errors.push(String(e.reason)));
addEventListener("beforeunload", (e) => e.stopImmediatePropagation());
addEventListener("click", (e) => { if (e.target.closest?.("a[download]")) e.preventDefault(); });
new PerformanceObserver((list) => { for (const e of list.getEntries()) seen.tasks.push([Math.round(e.startTime), Math.round(e.duration)]); }).observe({ type: "longtask", buffered: true });
const made = URL.createObjectURL.bind(URL);
URL.createObjectURL = (blob) => { seen.blob = blob; return made(blob); };
HTMLAnchorElement.prototype.click = function () { seen.download = this.download; };
Object.defineProperty(navigator, "languages", { value: [new URLSearchParams(location.search).get("lang") ?? "en-GB"] });
switch (new URLSearchParams(location.search).get("without")) {
  case "gpu": Object.defineProperty(navigator, "gpu", { value: undefined }); break;
  case "adapter": navigator.gpu.requestAdapter = async () => null; break;
  case "https": Object.defineProperty(globalThis, "isSecureContext", { value: false }); break;
}
`

// site serves the page with a stand-in for the engine's worker, and returns its address. offers are the answers of the server's
// API, by path.
func site(t *testing.T, offers map[string]string) string { return serveSite(t, offers).URL }

func serveSite(t *testing.T, offers map[string]string) *httptest.Server {
	t.Helper()
	if _, err := os.Stat("node_modules/uplot"); err != nil {
		t.Fatal("the page's libraries are not there: run `npm ci --prefix ui`, or `make build`")
	}
	wasm := filepath.Join(t.TempDir(), "ui.wasm")
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"llamatab/ui\"\n\nfunc main() { ui.Main() }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", wasm, source)
	build.Env = testfiles.BrowserBuild()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the page: %v\n%s", err, out)
	}
	files := map[string]string{
		"/page.wasm": wasm, "/gate.js": "../wasm/page/gate.js", "/loader.js": "../wasm/page/loader.js", "/engine.js": "../wasm/engine/engine.js", "/store.js": "../wasm/engine/store.js",
		"/replay.js": "../wasm/engine/replay.js", "/page.css": "page.css", "/wasm_exec.js": filepath.Join(goEnv(t, "GOROOT"), "lib/wasm/wasm_exec.js"),
		"/uPlot.iife.min.js": "node_modules/uplot/dist/uPlot.iife.min.js", "/uPlot.min.css": "node_modules/uplot/dist/uPlot.min.css",
		"/client-zip.js": "node_modules/client-zip/index.js", "/lean-qr.js": "node_modules/lean-qr/nano.mjs", "/room.css": "room.css",
		"/icon.svg": "icon.svg", "/app.webmanifest": "app.webmanifest",
	}
	for _, name := range []string{"sha2", "legacy", "_md", "_u64", "utils"} {
		files["/"+name+".js"] = "node_modules/@noble/hashes/" + name + ".js"
	}
	modules, err := filepath.Glob("js/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range modules {
		files["/"+filepath.Base(module)] = module
	}
	types := map[string]string{".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json"}
	helper := vuguHelper(t)
	worker, err := os.ReadFile("testdata/worker.js")
	if err != nil {
		t.Fatal(err)
	}
	description, err := json.Marshal(pretrained.Describe())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", types[filepath.Ext(r.URL.Path)])
		switch file, ok := files[r.URL.Path]; {
		case r.URL.Path == "/":
			index, err := os.ReadFile("../index.html")
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write(bytes.Replace(index, []byte("<head>"), []byte(`<head><script src="/probe.js"></script>`), 1))
		case r.URL.Path == "/probe.js":
			w.Write([]byte(probe))
		case r.URL.Path == "/vugu.js":
			w.Write(helper)
		case r.URL.Path == "/worker.js":
			w.Write(worker)
		case r.URL.Path == "/engine.wasm": // a program without content: the stand-in for the worker runs none
			w.Write([]byte("\x00asm\x01\x00\x00\x00"))
		case r.URL.Path == "/describe.json":
			w.Write(description)
		case r.URL.Path == "/axe.js":
			http.ServeFile(w, r, "node_modules/axe-core/axe.min.js")
		case offers[r.URL.Path] != "":
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(offers[r.URL.Path]))
		case ok:
			data, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
			}
			w.Write(data)
		default:
			t.Errorf("the page asks for %s", r.URL)
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// vuguHelper is vugu's helper script. The page loads it as a file, as the policy forbids to evaluate it.
func vuguHelper(t *testing.T) []byte {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/vugu/vugu/domrender").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "renderer-js-script.go"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := strconv.Unquote(string(regexp.MustCompile(`(?s)jsHelperScript = (".*")`).FindSubmatch(source)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(script)
}

// offers are the answers of a server with one model, one dataset, one ready run and one recipe, which fetches models of a hub.
var offers = map[string]string{
	"/hub/fetches": `{"host": "hub.example", "fetches": [{"name": "org/paused", "state": "paused", "done": 25000000, "total": 100000000, "rate": 0},
		{"name": "org/gated", "state": "failed", "done": 0, "total": 0, "rate": 0, "problem": {"code": "hub_gated", "message": "org/gated is a gated model", "next": "accept its conditions"}}]}`,
	"/hub/endpoint": `{"endpoint": "https://hub.example"}`,
	"/api/models":   `[{"name": "builtin:tales", "files": [{"name": "config.json", "size": 500}, {"name": "model.safetensors", "size": 1000000}]}]`,
	"/api/data":     `[{"name": "builtin:pirate", "size": 2500}, {"name": "NOTICE", "size": 10}]`,
	"/api/recipes": `[{"name": "head-only", "title": {"en": "Only the output head", "zh": "只训练输出头"}, "why": {"en": "It is cheap.", "zh": "它很省。"},
		"config": {"trainable": ["lm_head"], "training": {"learning_rate": 0.001}}}]`,
	"/api/runs": `[{"name": "pirate", "title": {"en": "Talk like a pirate", "zh": "像海盗一样说话"}, "about": {"en": "A style.", "zh": "一种风格。"},
		"prompts": ["One day, a fox", "It was windy"], "config": {"model": "builtin:tales", "dataset": {"path": "builtin:pirate"},
		"peft": {"peft_type": "LORA", "r": 8}, "training": {"max_steps": 60, "learning_rate": 0.005}}}]`,
}

// tab controls the page in a browser.
type tab struct {
	*testing.T
	browser *headless.Browser
	ctx     context.Context
}

func (b tab) open(url string) {
	b.Helper()
	if strings.Contains(url, "#") { // which alone would be no new page
		b.open("about:blank")
	}
	if err := b.browser.Open(b.ctx, url); err != nil {
		b.Fatal(err)
	}
}

// keepModels puts a model of a hub into the browser's storage, and one that has come in part. The page shows them when it opens.
func (b tab) keepModels() {
	b.Helper()
	b.eval(`(async () => {
		for (const [name, come] of [["HuggingFaceTB--SmolLM2-135M", 3e5], ["org--unfinished", 1e5]]) {
			const key = name + "@" + "0123456789".repeat(4), about = { repo: name.replace("--", "/"), revision: "main", commit: "0123456789".repeat(4),
				endpoint: "https://hub.example", files: [{ path: "config.json", size: 2 }, { path: "model.safetensors", size: 3e5 }] };
			await llamatabStore.put("models/" + key + "/.model.json", JSON.stringify(about));
			await llamatabStore.put("models/" + key + "/config.json", "{}");
			await llamatabStore.put("models/" + key + "/model.safetensors", new Uint8Array(come));
			if (come === 3e5) await llamatabStore.commit("models/" + key);
		}
	})()`)
}

// eval evaluates an expression to text.
func (b tab) eval(expression string) string {
	b.Helper()
	var value any
	if err := b.browser.Evaluate(b.ctx, "(async () => (await ("+expression+")) ?? null)()", &value); err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return fmt.Sprint(value)
}

// wait waits until an expression is true.
func (b tab) wait(expression string) {
	b.Helper()
	for deadline := time.Now().Add(servertest.Patience); ; time.Sleep(20 * time.Millisecond) {
		if b.eval("!!("+expression+")") == "true" {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("never true: %s\npage: %s\nseen: %s", expression, b.eval("document.body.innerText"), b.eval("JSON.stringify(seen)"))
		}
	}
}

func (b tab) want(expression, want string) {
	b.Helper()
	if got := b.eval(expression); got != want {
		b.Errorf("%s: got %q, want %q", expression, got, want)
	}
}

func (b tab) stage(stage Stage) {
	b.Helper()
	b.wait(`document.querySelector("main").dataset.state === "` + string(stage) + `"`)
}

// choose puts files of the given sizes into a file input.
func (b tab) choose(id string, sizes map[string]int) {
	b.Helper()
	var add strings.Builder
	for name, size := range sizes {
		fmt.Fprintf(&add, "t.items.add(new File([new Uint8Array(%d)], %q));", size, name)
	}
	b.eval(`(() => { const t = new DataTransfer(); ` + add.String() + ` const input = document.getElementById("` + id + `");
		input.files = t.files; input.dispatchEvent(new Event("change", { bubbles: true })); })()`)
}

// studio opens the studio, chooses a model and a data file of the given name, and waits for the plan.
func (b tab) studio(address, data string) {
	b.Helper()
	b.open(address + "#studio")
	b.wait(`document.getElementById("model-input") && document.querySelectorAll("#method-panel input").length > 3`)
	b.choose("model-input", map[string]int{"config.json": 500, "tokenizer.json": 9000, "model.safetensors": 1_000_000})
	b.choose("data-input", map[string]int{data: 2500})
	b.wait(`document.getElementById("plan-text").textContent.startsWith("Fits") || document.documentElement.lang === "zh" && document.querySelector("#plan table")`)
}

// click waits until the button with the id is enabled, and clicks it.
func (b tab) click(id string) {
	b.Helper()
	b.wait(`document.getElementById("` + id + `") && !document.getElementById("` + id + `").disabled`)
	b.eval(`document.getElementById("` + id + `").click()`)
}

// set types into a text control, once it exists.
func (b tab) set(id, text string) {
	b.Helper()
	b.wait(`document.getElementById("` + id + `")`)
	b.eval(`(() => { const e = document.getElementById("` + id + `"); e.value = "` + text + `"; e.dispatchEvent(new Event("input", { bubbles: true })); })()`)
}

// pick chooses an option of a select.
func (b tab) pick(id, value string) {
	b.Helper()
	b.wait(`document.getElementById("` + id + `")?.querySelector('option[value="` + value + `"]')`)
	b.eval(`(() => { const e = document.getElementById("` + id + `"); e.value = "` + value + `"; e.dispatchEvent(new Event("change", { bubbles: true })); })()`)
}

// press presses a key as the keyboard does.
func (b tab) press(key string) {
	b.Helper()
	if err := b.browser.Press(b.ctx, key); err != nil {
		b.Fatal(err)
	}
}

func openTab(t *testing.T) tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*servertest.Patience)
	t.Cleanup(cancel)
	browser, err := headless.Start(ctx, headless.Options{SwiftShader: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { browser.Close() })
	return tab{t, browser, ctx}
}
