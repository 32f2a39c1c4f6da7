package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"llamatab/engine/message"
)

// assetsVariable makes the test binary the program itself, with the assets of the folder it names.
const assetsVariable = "LLAMATAB_TEST_ASSETS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		packed = os.DirFS(dir)
		main() // exits
	}
	code := m.Run()
	if made != "" {
		os.RemoveAll(made)
	}
	os.Exit(code)
}

var made string // the folder of testAssets

// testAssets packs the page and, for the engine, the stand-in of testdata/engine.
var testAssets = sync.OnceValues(func() (string, error) {
	var err error
	if made, err = os.MkdirTemp("", "llamatab-test-assets-"); err != nil {
		return "", err
	}
	run := func(env []string, args ...string) error {
		c := exec.Command("go", args...)
		c.Dir, c.Env = "..", append(os.Environ(), env...)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	engine := filepath.Join(made, "engine.wasm")
	if err := run([]string{"GOOS=js", "GOARCH=wasm"}, "build", "-o", engine, "./server/testdata/engine"); err != nil {
		return "", err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	page := filepath.Join(made, "index.html")
	if err := os.WriteFile(page, []byte("<!doctype html><script src=/vugu.js></script>"), 0o666); err != nil {
		return "", err
	}
	folder := filepath.Join(made, "assets")
	return folder, run(nil, "run", "./tools/pack", "--out", folder, "--server", "./server", "--wasm", "./server/testdata/engine", "llamatab.wasm="+engine,
		filepath.Join(strings.TrimSpace(string(goroot)), "lib", "wasm", "wasm_exec.js"), page, "wasm/loader.js", "wasm/worker.js", "wasm/replay.js", "wasm/store.js")
})

// program is the program as a process of its own. Its temporary files are all below temp.
func program(t *testing.T, args ...string) (c *exec.Cmd, temp string) {
	t.Helper()
	folder, err := testAssets()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp = t.TempDir()
	c = exec.Command(self, args...)
	c.Env = append(os.Environ(), assetsVariable+"="+folder, "TMPDIR="+temp)
	return c, temp
}

// run runs the program to its end.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c, temp := program(t, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	timer := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	defer timer.Stop()
	c.Run() // its exit code is looked at
	nothingLeft(t, temp)
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// nothingLeft checks that no browser runs with a profile below temp, and that there is no such profile.
func nothingLeft(t *testing.T, temp string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	noProcess(t, temp)
}

// noProcess checks that within a second no process has temp in its command line.
func noProcess(t *testing.T, temp string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	var left []string
	for range 50 {
		left = nil
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			if line, err := os.ReadFile(name); err == nil && bytes.Contains(line, []byte(temp)) {
				left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
			}
		}
		if left == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("processes left behind:\n%s", strings.Join(left, "\n"))
}

// folder makes a folder with files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const runJSON = `{"model": "model", "dataset": {"path": "data.jsonl"}, "trainable": ["all"]}`

func TestExitCodes(t *testing.T) {
	dir := folder(t, map[string]string{"run.json": runJSON, "data.jsonl": "{}\n", "model/config.json": "{}",
		"bad.json": `{"modle": "x"}`, "gone.json": `{"model": "gone", "dataset": {"path": "data.jsonl"}, "trainable": ["all"]}`,
		"empty/x": ""})
	at := func(name string) string { return filepath.Join(dir, name) }
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, c := range []struct {
		name string
		args []string
		code int
		says string // on either output
	}{
		{"help", []string{"--help"}, 0, "tokenize"},
		{"help of a command", []string{"train", "--help"}, 0, "--set"},
		{"unknown command", []string{"trian"}, 2, "trian"},
		{"later command", []string{"pull", "x/y"}, 2, "not available in this version"},
		{"unknown option", []string{"train", "--nope"}, 2, "nope"},
		{"unknown recipe", []string{"train", "--config", at("run.json"), "--out", at("out"), "--recipe", "lora"}, 2, "lora-first"},
		{"recipes of train", []string{"train", "--recipe", "help"}, 0, "unfreeze-step-by-step: "},
		{"recipes", []string{"recipes"}, 0, "hybrid: "},
		{"recipes as JSON", []string{"recipes", "--json"}, 0, `"title"`},
		{"short room code", []string{"--room-code", "1"}, 2, "--room-code"},
		{"stray argument", []string{"doctor", "now"}, 2, "now"},
		{"missing option", []string{"train", "--config", "x"}, 2, "--out"},
		{"no config", []string{"train", "--config", at("none.json"), "--out", at("out")}, 2, "none.json"},
		{"misspelt key", []string{"train", "--config", at("bad.json"), "--out", at("out")}, 2, "model"},
		{"model not there", []string{"train", "--config", at("gone.json"), "--out", at("out")}, 2, at("gone")},
		{"set", []string{"train", "--config", at("run.json"), "--out", at("out"), "--set", "training.learning_rate=fast"}, 2, "learning_rate"},
		{"out is a file", []string{"train", "--config", at("run.json"), "--out", at("run.json")}, 2, "is a file"},
		{"no model", []string{"generate", "--model", at("empty"), "--prompt", "x"}, 2, "config.json"},
		{"hub name", []string{"generate", "--model", "org/name", "--prompt", "x"}, 2, "hub"},
		{"built-in", []string{"generate", "--model", "builtin:x", "--prompt", "x"}, 2, "built-in"},
		{"gguf model", []string{"generate", "--model", "x.gguf", "--prompt", "x"}, 2, "GGUF"},
		{"gguf export", []string{"export", "--model", at("model"), "--format", "gguf", "--out", at("out")}, 2, "gguf"},
		{"no browser", []string{"generate", "--model", at("model"), "--chrome", at("none")}, 3, "--chrome"},
		{"browser that is none", []string{"generate", "--model", at("model"), "--chrome", "/bin/false"}, 3, "did not start"},
		{"doctor without browser", []string{"doctor", "--chrome", at("none")}, 3, "problem"},
		{"port in use", []string{"serve", "--listen", taken.Addr().String()}, 1, "port " + port},
		{"no such folder", []string{"serve", "--models", at("none")}, 2, "--models"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := run(t, c.args...)
			if code != c.code || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, c.code, c.says, stdout, stderr)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LLAMATAB_MAX_NEW_TOKENS", "many")
	if code, _, stderr := run(t, "generate", "--model", "x"); code != 2 || !strings.Contains(stderr, "LLAMATAB_MAX_NEW_TOKENS") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestNoAssets(t *testing.T) {
	saved := packed
	defer func() { packed = saved }()
	packed = os.DirFS(t.TempDir())
	if _, err := newAssets(); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
}

func TestServe(t *testing.T) {
	dir := folder(t, map[string]string{"models/m/config.json": "{}", "models/none/x": "", "data/d.jsonl": "0123456789", "data/.hidden": "x"})
	c, _ := program(t, "serve", "--listen", "127.0.0.1:0", "--models", filepath.Join(dir, "models"), "--data", filepath.Join(dir, "data"))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	_, address, ok := strings.Cut(strings.TrimSpace(string(line[:n])), "llamatab is ready: open ")
	if !ok {
		t.Fatalf("it says %q", line[:n])
	}
	for _, request := range []struct {
		path, host string
		status     int
		holds      string
	}{
		{"", "", 200, "<!doctype html>"},
		{"", "localhost", 200, "<!doctype html>"},
		{"", "evil.example", http.StatusMisdirectedRequest, ""},
		{"none", "", 404, ""},
		{".keep", "", 404, ""},
		{"licenses.txt", "", 200, "github.com/chromedp/chromedp"},
		{"docs/fsdp.html", "", 200, "<svg"},
		{"docs/fsdp.zh.html", "", 200, "<svg"},
		{"docs/docs.css", "", 200, "svg"},
		{"docs/docs.go", "", 404, ""},
		{"vugu.js", "", 200, "vuguRender"},
		{"api/models", "", 200, `[{"name":"m","files":[{"name":"config.json","size":2}]}]`},
		{"api/models/m/config.json", "", 200, "{}"},
		{"api/models/..%2fdata/d.jsonl", "", 404, ""},
		{"api/data", "", 200, `[{"name":"d.jsonl","size":10}]`},
		{"api/data/d.jsonl", "", 200, "0123456789"},
		{"api/data/.hidden", "", 404, ""},
		{"api/rooms", "", 200, "[]"},
		{"api/rooms/none", "", 404, "no such room"},
	} {
		r, err := http.NewRequest("GET", address+request.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if request.host != "" {
			r.Host = request.host
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		body.ReadFrom(response.Body)
		response.Body.Close()
		if response.StatusCode != request.status || !strings.Contains(body.String(), request.holds) {
			t.Errorf("%+v: status %d: %.200s", request, response.StatusCode, body.String())
		}
		if response.Header.Get("Content-Security-Policy") == "" || response.Header.Get("Cross-Origin-Opener-Policy") == "" {
			t.Errorf("%+v: security headers are missing", request)
		}
	}
	c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestNextFreePort(t *testing.T) {
	first, err := listenAt("", defaultListen)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := listenAt("", defaultListen)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.Addr().String() == second.Addr().String() {
		t.Error("the same port twice")
	}
}

func TestAssetEncodings(t *testing.T) {
	dir, err := testAssets()
	if err != nil {
		t.Fatal(err)
	}
	page := &assets{os.DirFS(dir)}
	for _, c := range []struct{ accept, encoding string }{
		{"gzip, deflate, br, zstd", "zstd"},
		{"gzip, zstd;q=0", "gzip"},
		{"GZIP;q=0.5", "gzip"},
		{"br", ""},
		{"", ""},
	} {
		r := httptest.NewRequest("GET", "/llamatab.wasm", nil)
		r.Header.Set("Accept-Encoding", c.accept)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != 200 || w.Header().Get("Content-Encoding") != c.encoding || w.Header().Get("Content-Type") != "application/wasm" {
			t.Errorf("%q: status %d, %v", c.accept, w.Code, w.Header())
		}
		if c.encoding == "" && !bytes.HasPrefix(w.Body.Bytes(), []byte("\x00asm")) {
			t.Errorf("%q: the body is no wasm", c.accept)
		}
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		w = httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != http.StatusNotModified {
			t.Errorf("%q: a known tag is answered with status %d", c.accept, w.Code)
		}
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
}

// Whole runs in headless Chromium, with the stand-in engine.

const software = "--adapter-backend=swiftshader" // saves a browser start

func TestGenerateHeadless(t *testing.T) {
	model := folder(t, map[string]string{"config.json": "{}"})
	for _, c := range []struct {
		prompt string
		code   int
		says   []string
	}{
		{"hello", 0, []string{`"text": "heard hello"`, `"gpu": true`, `"backend": "swiftshader"`}},
		{"fail", 1, []string{"does_not_fit: too big", "use less"}},
		{"panic", 1, []string{"engine_crashed", "assignment to entry in nil map", "main.generate"}},
		{"throw", 1, []string{"engine_crashed", "TypeError"}},
		{"exit", 1, []string{"engine_ended"}},
	} {
		t.Run(c.prompt, func(t *testing.T) {
			code, stdout, stderr := run(t, "generate", "--model", model, "--prompt", c.prompt, "--json", software)
			for _, want := range c.says {
				if code != c.code || !strings.Contains(stdout+stderr, want) {
					t.Errorf("exit code %d, want %d and %q:\n%s%s", code, c.code, want, stdout, stderr)
				}
			}
		})
	}
	t.Run("streamed", func(t *testing.T) {
		if code, stdout, stderr := run(t, "generate", "--model", model, "--prompt", "hello", software); code != 0 || stdout != "heard hello\n" {
			t.Errorf("exit code %d: %q\n%s", code, stdout, stderr)
		}
	})
	t.Run("backend left open", func(t *testing.T) {
		code, stdout, stderr := run(t, "generate", "--model", model, "--prompt", "hello", "--json")
		if code != 0 || strings.Contains(stdout, `"swiftshader"`) != strings.Contains(stderr, "no hardware adapter: using SwiftShader (software)") {
			t.Errorf("exit code %d:\n%s%s", code, stdout, stderr)
		}
	})
}

func TestDoctor(t *testing.T) {
	code, stdout, stderr := run(t, "doctor", "--json", software)
	var d diagnosis
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v:\n%s%s", code, err, stdout, stderr)
	}
	if d.Adapter == nil || !d.Adapter.Software || d.Adapter.Limits["maxBufferSize"] == 0 || d.Version == "" {
		t.Errorf("%+v", d)
	}
}

// startTraining starts a run of the stand-in engine, which takes a step every 20 ms, and waits for its first steps.
func startTraining(t *testing.T) (c *exec.Cmd, temp, out string, stderr *bytes.Buffer) {
	t.Helper()
	dir := folder(t, map[string]string{"run.json": runJSON, "data.jsonl": "{}\n", "model/config.json": "{}"})
	out = filepath.Join(dir, "out")
	c, temp = program(t, "train", "--config", filepath.Join(dir, "run.json"), "--out", out, software)
	stderr = new(bytes.Buffer)
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if data, _ := os.ReadFile(filepath.Join(out, "metrics.jsonl")); bytes.Count(data, []byte("\n")) > 2 {
			return c, temp, out, stderr
		}
		if time.Now().After(deadline) {
			c.Process.Kill()
			c.Wait()
			t.Fatalf("no steps after a minute:\n%s", stderr)
		}
	}
}

func TestSignalStopsAndSaves(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c, temp, out, stderr := startTraining(t)
		c.Process.Signal(signal)
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", signal, err, stderr)
		}
		for name, want := range map[string]string{"adapter/adapter_config.json": "{}", "summary.json": "swiftshader", "run.json": `"learning_rate"`} {
			if data, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(data), want) {
				t.Errorf("%v: %s: %q %v", signal, name, data, err)
			}
		}
		if _, err := os.Stat(filepath.Join(out, ".partial")); !os.IsNotExist(err) {
			t.Errorf("%v: unfinished files are left", signal)
		}
		nothingLeft(t, temp)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := folder(t, map[string]string{"config.json": "{}"})
	c, temp := program(t, "generate", "--model", dir, "--prompt", "spin", software)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitForProfile(t, temp)
	c.Process.Signal(syscall.SIGINT) // not a training run: the first one ends it
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, temp)

	c, temp, _, _ = startTraining(t)
	c.Process.Signal(syscall.SIGINT)
	time.Sleep(time.Millisecond) // two signals at once are one
	c.Process.Signal(syscall.SIGINT)
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitInterrupted && code != 0 { // 0: it had stopped by then
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, temp)
}

func waitForProfile(t *testing.T, temp string) {
	t.Helper()
	for range 3000 {
		if found, _ := filepath.Glob(filepath.Join(temp, "llamatab-chromium-*", "*")); len(found) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no browser was started")
}

func TestKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills a child with its parent")
	}
	c, temp, _, _ := startTraining(t)
	c.Process.Kill()
	c.Wait()
	noProcess(t, temp)
	// The profile could not be removed; the next start does it.
	c = exec.Command(c.Path, "doctor", software)
	c.Env = append(os.Environ(), assetsVariable+"="+must(testAssets()), "TMPDIR="+temp)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	nothingLeft(t, temp)
}

func TestTabCrash(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the tab's process is found in /proc")
	}
	c, temp, out, stderr := startTraining(t)
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		line, err := os.ReadFile(name)
		if err == nil && bytes.Contains(line, []byte("--type=renderer")) && bytes.Contains(line, []byte(temp)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			if tab, err := os.FindProcess(pid); err == nil {
				tab.Kill()
			}
		}
	}
	c.Wait()
	events, _ := os.ReadFile(filepath.Join(out, "events.jsonl"))
	if code := c.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(stderr.String(), "tab_crashed") || !strings.Contains(string(events), "tab_crashed") {
		t.Errorf("exit code %d: %s\nevents: %s", code, stderr, events)
	}
	nothingLeft(t, temp)
}

// An engine that says nothing ends the run, whether or not its tab answers.
func TestHung(t *testing.T) {
	dir, err := testAssets()
	if err != nil {
		t.Fatal(err)
	}
	defer func(files fs.FS, quiet, alive, silent time.Duration) {
		packed, quietLimit, aliveLimit, silentLimit = files, quiet, alive, silent
	}(packed, quietLimit, aliveLimit, silentLimit)
	packed, quietLimit, aliveLimit, silentLimit = os.DirFS(dir), time.Second, time.Second, 3*time.Second
	j := newMounts("").into(message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: "spin"}})
	err = runHeadless(t.Context(), headlessRun{job: j, browser: browserFlags{backend: "swiftshader"}})
	if err == nil || !strings.Contains(err.Error(), "tab_hung") || exitCode(err) != exitFailed {
		t.Errorf("got %v", err)
	}
}

func TestProgress(t *testing.T) {
	say := []message.Envelope{
		{Progress: &message.Progress{Phase: "load", Detail: "weights", Done: 1e6, Total: 4e6, Unit: "bytes"}},
		{Progress: &message.Progress{Phase: "load", Detail: "weights", Done: 4e6, Total: 4e6, Unit: "bytes"}},
		{Progress: &message.Progress{Phase: "train", Total: 2}},
		{Step: &message.Step{Step: 1, Loss: 2.5, LearningRate: 1e-3, GradNorm: 1, TokensPerSecond: 100, StepSeconds: 3}},
		{Event: &message.Event{Level: "warning", Code: "loss_spike", Message: "loss rose"}},
		{Step: &message.Step{Step: 2, Loss: 2.25, LearningRate: 1e-3, GradNorm: 1, TokensPerSecond: 100, StepSeconds: 3}},
		{Done: &message.Done{}},
	}
	for terminal, want := range map[bool]string{
		false: "load weights\ntrain\n" +
			"step 1/2  loss 2.5000  lr 1.00e-03  grad 1  100 tok/s  3s left\nwarning: loss_spike: loss rose\n" +
			"step 2/2  loss 2.2500  lr 1.00e-03  grad 1  100 tok/s\n",
		true: "\r\x1b[Kload weights  1.0 MB/4.0 MB 25%\r\x1b[Kload weights  4.0 MB/4.0 MB 100%" +
			"\r\x1b[Kstep 1/2  loss 2.5000  lr 1.00e-03  grad 1  100 tok/s  3s left" +
			"\r\x1b[Kwarning: loss_spike: loss rose\n\r\x1b[Kstep 1/2  loss 2.5000  lr 1.00e-03  grad 1  100 tok/s  3s left" +
			"\r\x1b[Kstep 2/2  loss 2.2500  lr 1.00e-03  grad 1  100 tok/s\n",
	} {
		var out bytes.Buffer
		clock := time.Unix(0, 0)
		p := &progress{out: &out, terminal: terminal, now: func() time.Time { clock = clock.Add(time.Second); return clock }}
		for _, e := range say {
			p.observe(e)
		}
		if out.String() != want {
			t.Errorf("terminal %v:\n%q\nwant\n%q", terminal, out.String(), want)
		}
	}
}

// bytewise is a tokenizer whose ids are the bytes.
type bytewise struct{}

func (bytewise) Encode(text string, special bool) ([]int, error) {
	var ids []int
	for _, b := range []byte(text) {
		ids = append(ids, int(b))
	}
	return ids, nil
}

func (bytewise) Decode(ids []int, skipSpecial bool) string {
	var text []byte
	for _, id := range ids {
		text = append(text, byte(id))
	}
	return string(text)
}

func TestTokenizeLines(t *testing.T) {
	for _, c := range []struct {
		in            string
		jsonl, decode bool
		out, fails    string
	}{
		{in: "ab\n\nc", out: "[97,98]\n[]\n[99]\n"},
		{in: "\"a\\nb\"\n\"\"\n", jsonl: true, out: "[97,10,98]\n[]\n"},
		{in: "[60,115,62]\n[]\n", decode: true, out: "<s>\n\n"},
		{in: "[60,10]\n", decode: true, jsonl: true, out: "\"<\\n\"\n"},
		{in: "\"a\"\nb\n", jsonl: true, out: "[97]\n", fails: "line 2"},
		{in: "[1\n", decode: true, fails: "line 1"},
		{in: "", out: ""},
	} {
		var out bytes.Buffer
		err := tokenizeLines(bytewise{}, strings.NewReader(c.in), &out, c.jsonl, c.decode)
		if out.String() != c.out || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%+v: %q, %v", c, out.String(), err)
		}
	}
}
