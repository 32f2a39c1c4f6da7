//go:build !js

package ui

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"llamatab/server/headless"
)

// policy is what the server sends: the page must work under it.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
	"style-src 'self'; img-src 'self' data: blob:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// probe is put before the page's scripts: it keeps the page from asking before it is left, and notes what must not
// happen.
const probe = `
globalThis.seen = { violations: [], errors: [], long: 0 };
addEventListener("securitypolicyviolation", (e) => seen.violations.push(e.violatedDirective + " " + e.blockedURI));
addEventListener("error", (e) => seen.errors.push(e.message));
addEventListener("unhandledrejection", (e) => seen.errors.push(String(e.reason)));
addEventListener("beforeunload", (e) => e.stopImmediatePropagation());
new PerformanceObserver((list) => { for (const e of list.getEntries()) seen.long += e.duration; }).observe({ type: "longtask" });
const made = URL.createObjectURL.bind(URL);
URL.createObjectURL = (blob) => { seen.blob = blob; return made(blob); };
HTMLAnchorElement.prototype.click = function () { seen.download = this.download; };
Object.defineProperty(navigator, "language", { value: new URLSearchParams(location.search).get("lang") ?? "en-GB" });
switch (new URLSearchParams(location.search).get("without")) {
  case "gpu": Object.defineProperty(navigator, "gpu", { value: undefined }); break;
  case "adapter": navigator.gpu.requestAdapter = async () => null; break;
  case "https": Object.defineProperty(globalThis, "isSecureContext", { value: false }); break;
}
`

// site serves the page with a stand-in for the engine's worker, and returns its address.
func site(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("node_modules/uplot"); err != nil {
		t.Skip("the page's libraries are not there: run `npm ci --prefix ui`, or `make build`")
	}
	wasm := filepath.Join(t.TempDir(), "ui.wasm")
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"llamatab/ui\"\n\nfunc main() { ui.Main() }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", wasm, source)
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the page: %v\n%s", err, out)
	}
	files := map[string]string{
		"/llamatab.wasm": wasm, "/loader.js": "../wasm/loader.js", "/worker.js": "testdata/worker.js",
		"/page.js": "page.js", "/page.css": "page.css", "/wasm_exec.js": filepath.Join(goEnv(t, "GOROOT"), "lib/wasm/wasm_exec.js"),
		"/uPlot.iife.min.js": "node_modules/uplot/dist/uPlot.iife.min.js", "/uPlot.min.css": "node_modules/uplot/dist/uPlot.min.css",
		"/client-zip.js": "node_modules/client-zip/index.js",
	}
	types := map[string]string{".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}
	helper := vuguHelper(t)
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
	return server.URL
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// vuguHelper is the script that vugu would evaluate, which the page loads as a file.
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

// tab drives the page.
type tab struct {
	*testing.T
	browser *headless.Browser
	ctx     context.Context
}

func (b tab) open(url string) {
	b.Helper()
	if err := b.browser.Open(b.ctx, url); err != nil {
		b.Fatal(err)
	}
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
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
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

func (b tab) chooseBoth(data string) {
	b.Helper()
	b.choose("model-input", map[string]int{"config.json": 500, "tokenizer.json": 9000, "model.safetensors": 1_000_000})
	b.choose("data-input", map[string]int{data: 2500})
	b.wait(`document.getElementById("model-chosen").textContent && document.getElementById("data-chosen").textContent`)
}

func openTab(t *testing.T) tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	browser, err := headless.Start(ctx, headless.Options{SwiftShader: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { browser.Close() })
	return tab{t, browser, ctx}
}

const (
	status = `document.getElementById("status").textContent`
	ready  = `document.getElementById("start")`
)

func TestPage(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in site uses paths of other systems")
	}
	if testing.Short() {
		t.Skip("builds the page and starts a browser")
	}
	address := site(t)
	b := openTab(t)

	t.Run("run", func(t *testing.T) {
		b := tab{t, b.browser, b.ctx}
		b.open(address)
		b.wait(ready)
		b.want(`document.documentElement.lang`, "en")
		b.want(`document.querySelectorAll("#app h1").length`, "1")
		b.eval(`document.getElementById("start").click()`)
		b.wait(`document.activeElement.id === "model-input"`)
		b.want(`document.getElementById("problem").textContent`, "Choose a model folder first.")
		b.want(status, "Choose a model and data, then start.")

		// A wrong folder names what is missing.
		b.choose("model-input", map[string]int{"config.json": 10})
		b.wait(`document.getElementById("model-problem").textContent.includes("*.safetensors")`)
		b.chooseBoth("rows.jsonl")
		b.want(`document.getElementById("learning-rate").value`, "0.001")
		b.wait(status + ` === "Ready to start."`)
		// What the browser refuses is brought into sight.
		b.eval(`document.getElementById("batch-size").value = 0, document.getElementById("start").click()`)
		b.wait(`!document.getElementById("batch-size").closest("[hidden]")`)
		b.eval(`document.getElementById("batch-size").value = 2, document.getElementById("max-steps").value = 400, document.getElementById("start").click()`)
		b.stage(Training)
		b.wait(`document.getElementById("setup").elements[0].disabled && document.querySelector("#chart canvas")`)

		b.eval(`seen.long = 0, seen.from = performance.now()`)

		b.eval(`document.getElementById("pause").click()`)
		b.stage(Paused)
		b.want(`document.getElementById("pause").textContent`, "Resume")
		time.Sleep(300 * time.Millisecond) // what was on its way has arrived
		at := b.eval(`document.getElementById("step").textContent`)
		time.Sleep(300 * time.Millisecond)
		b.want(`document.getElementById("step").textContent`, at)
		b.eval(`document.getElementById("pause").click()`)
		b.stage(Done)

		b.want(`document.getElementById("step").textContent`, "400 / 400")
		b.want(`document.querySelectorAll("#chart canvas").length`, "1")
		b.want(`document.querySelectorAll("#events li").length`, "2")
		b.want(`document.querySelector("#events li:last-child strong").textContent`, "Warning")
		b.wait(status + `.startsWith("Done: 400 steps, loss ")`)
		b.eval(`document.getElementById("download").click()`)
		b.wait(`seen.download === "llamatab-model.zip" && !document.getElementById("download").disabled`)
		b.want(`seen.violations.concat(seen.errors).join()`, "")
		// Tasks of more than 50 ms: some are the machine's, but ten a second would be the page's.
		b.want(`seen.long < 0.5 * (performance.now() - seen.from) || seen.long`, "true")
		checkZip(t, b.eval(`seen.blob.arrayBuffer().then((a) => { let s = ""; for (const c of new Uint8Array(a)) s += String.fromCharCode(c); return btoa(s); })`))
	})

	t.Run("stop", func(t *testing.T) {
		b := tab{t, b.browser, b.ctx}
		b.open(address)
		b.wait(ready)
		b.chooseBoth("rows.jsonl")
		b.eval(`document.getElementById("method-full").click(), document.getElementById("max-steps").value = 100000`)
		b.wait(`document.getElementById("rank").hidden && document.getElementById("learning-rate").value === "0.0005"`)
		b.eval(`document.getElementById("start").click()`)
		b.stage(Training)
		b.eval(`document.getElementById("stop").click()`)
		b.stage(Stopped)
		b.wait(`!document.getElementById("download").closest("[hidden]")`)
	})

	t.Run("failures", func(t *testing.T) {
		b := tab{t, b.browser, b.ctx}
		b.open(address + "?lang=zh-CN")
		b.wait(ready)
		b.want(`document.getElementById("start").textContent`, "开始训练")
		b.chooseBoth("fails.jsonl")
		b.eval(`document.getElementById("start").click()`)
		b.stage(Failed)
		b.want(`document.querySelector("#error strong").textContent`, "GPU 内存不足。")
		b.want(`document.querySelector("#error pre").textContent`, "the step needs <5.2 GB>, the GPU gives 4.0 GB")
		// Another run after a failure; and content longer than vugu hands over at once arrives whole.
		b.choose("data-input", map[string]int{"crashes.txt": 10})
		b.eval(`document.getElementById("start").click()`)
		b.wait(`document.querySelector("#error pre")?.textContent.length === 40000`)
		b.want(`/^panic: 好字+$/.test(document.querySelector("#error pre").textContent)`, "true")
	})

	t.Run("language", func(t *testing.T) {
		b := tab{t, b.browser, b.ctx}
		b.open(address)
		b.wait(ready)
		b.eval(`document.getElementById("language").click()`)
		b.wait(`document.documentElement.lang === "zh" && ` + status + ` === "选择模型和数据，然后开始。"`)
		b.want(`/\ufffd/.test(document.body.innerHTML)`, "false")
		b.open(address) // it is remembered
		b.wait(ready)
		b.want(`document.documentElement.lang`, "zh")
		b.eval(`localStorage.clear()`)
	})

	t.Run("labels", func(t *testing.T) {
		b := tab{t, b.browser, b.ctx}
		b.open(address)
		b.wait(ready)
		b.want(`[...document.querySelectorAll("#app input, #app button")].filter((e) => !(e.labels?.length && e.labels[0].textContent.trim()) && !e.textContent.trim()).map((e) => e.id).join()`, "")
	})

	t.Run("gate", func(t *testing.T) {
		b := tab{t, b.browser, b.ctx}
		for without, want := range map[string]string{"https": "address", "gpu": "WebGPU", "adapter": "usable GPU"} {
			b.open(address + "?without=" + without)
			b.wait(`!document.getElementById("gate").hidden`)
			if text := b.eval(`document.getElementById("gate").innerText`); !strings.Contains(text, want) {
				t.Errorf("without %s the page says %q", without, text)
			}
			b.want(`document.getElementById("app").hidden`, "true")
		}
	})
}

// checkZip checks the downloaded result.
func checkZip(t *testing.T, text string) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range archive.File {
		names = append(names, f.Name)
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(r); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if lines := bytes.Count(content.Bytes(), []byte("\n")); f.Name == "metrics.jsonl" && lines != 400 {
			t.Errorf("metrics.jsonl has %d lines", lines)
		}
	}
	want := "adapter/adapter_config.json adapter/adapter_model.safetensors events.jsonl metrics.jsonl run.json summary.json"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the zip holds %s, want %s", got, want)
	}
}
