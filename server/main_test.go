package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"llamatab/engine/testfiles"
	"llamatab/server/exit"
	"llamatab/server/servertest"
	"llamatab/server/web"
)

// assetsVariable is an environment variable. With it the test binary behaves as the program, with the assets of the folder
// that it names.
const assetsVariable = "LLAMATAB_TEST_ASSETS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		web.Packed = os.DirFS(dir)
		main() // exits
	}
	code := m.Run()
	servertest.RemoveStandIn()
	os.Exit(code)
}

// program is the program as a process of its own, whose temporary files lie below temp.
func program(t *testing.T, args ...string) (c *exec.Cmd, temp string) {
	t.Helper()
	folder := servertest.StandIn(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp = t.TempDir()
	c = exec.Command(self, args...)
	c.Env = append(os.Environ(), assetsVariable+"="+folder, "TMPDIR="+temp)
	if os.Getenv("HF_ENDPOINT") == "" { // no test asks the real hub, or reads the person's cache
		c.Env = append(c.Env, "HF_HUB_OFFLINE=1", "LLAMATAB_CACHE="+t.TempDir())
	}
	return c, temp
}

// run runs the program to its end.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c, temp := program(t, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	timer := time.AfterFunc(servertest.Patience, func() { c.Process.Kill() })
	defer timer.Stop()
	c.Run() // the caller checks the exit code
	nothingLeft(t, temp)
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// nothingLeft checks that temp holds no browser profile, and that no browser runs with one.
func nothingLeft(t *testing.T, temp string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	noProcess(t, temp)
}

// noProcess waits until no process has temp in its command line: a busy machine takes seconds to end a browser that was killed.
func noProcess(t *testing.T, temp string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	var left []string
	for range 1500 {
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

// folder makes a temporary folder with files.
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

// withModel adds the files of a small model to files, under names that begin with prefix.
func withModel(t *testing.T, prefix string, files map[string]string) map[string]string {
	t.Helper()
	for _, name := range []string{"config.json", "tokenizer.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(testfiles.Repository(t), "testdata/builtin/models/tales", name))
		if err != nil {
			t.Fatal(err)
		}
		files[prefix+name] = string(data)
	}
	return files
}

const oneRow = `{"text": "Once upon a time there was a cat."}` + "\n"

const runJSON = `{"model": "model", "dataset": {"path": "data.jsonl"}, "trainable": ["all"]}`

func TestExitCodes(t *testing.T) {
	dir := folder(t, withModel(t, "model/", map[string]string{"run.json": runJSON, "data.jsonl": oneRow,
		"bad.json": `{"modle": "x"}`, "gone.json": `{"model": "gone", "dataset": {"path": "data.jsonl"}, "trainable": ["all"]}`,
		"empty/x": "", "held/m.gguf": "GGUF"}))
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
		{"pull without a name", []string{"pull"}, 2, "org/name"},
		{"pull of a path", []string{"pull", "./model"}, 2, "not the name of a model"},
		{"pull without a network", []string{"pull", "x/y"}, 2, "HF_HUB_OFFLINE"},
		{"pull from another site", []string{"pull", "https://github.com/x/y"}, 2, "--hub-endpoint"},
		{"remove what is not there", []string{"models", "--remove", "x/y"}, 2, "has no x/y"},
		{"unknown option", []string{"train", "--nope"}, 2, "nope"},
		{"unknown recipe", []string{"train", "--config", at("run.json"), "--out", at("out"), "--recipe", "lora"}, 2, "lora-first"},
		{"recipes of train", []string{"train", "--recipe", "help"}, 0, "unfreeze-step-by-step: "},
		{"recipes", []string{"recipes"}, 0, "hybrid: "},
		{"settings of axolotl", []string{"import-config", "importer/testdata/axolotl.yml"}, 0, `"lr_scheduler_type": "cosine"`},
		{"settings after the options", []string{"import-config", "--from", "axolotl", "importer/testdata/axolotl.yml", "--dataset", "d.jsonl"}, 0, `"lr_scheduler_type": "cosine"`},
		{"two settings files", []string{"import-config", "importer/testdata/axolotl.yml", "importer/testdata/trl.json"}, 2, "unexpected argument \"importer/testdata/trl.json\""},
		{"no settings file", []string{"import-config"}, 2, "FILE is missing"},
		{"settings without a model", []string{"import-config", "importer/testdata/trl.json", "--from", "axolotl"}, 2, "names no model: give --model"},
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
		{"no GGUF file", []string{"generate", "--model", "x.gguf", "--prompt", "x"}, 2, "x.gguf does not exist"},
		{"file that is no model", []string{"generate", "--model", at("run.json"), "--prompt", "x"}, 2, "a Hugging Face folder or a GGUF file"},
		{"gguf export", []string{"export", "--model", at("model"), "--format", "gguf", "--dtype", "q3_k", "--out", at("out")}, 2, "q3_k"},
		{"gguf-lora export", []string{"export", "--model", at("model"), "--format", "gguf-lora", "--out", at("out")}, 2, "--adapter"},
		{"export form", []string{"export", "--model", at("model"), "--format", "onnx", "--out", at("out")}, 2, "onnx"},
		{"export beside its GGUF base", []string{"export", "--model", at("held/m.gguf"), "--format", "gguf", "--out", at("held") + "/."}, 2, "would be overwritten"},
		{"export size", []string{"export", "--model", at("model"), "--format", "gguf", "--split-size", "4T", "--out", at("out")}, 2, "4T"},
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

// TestCommandsAreDocumented looks for every command in the reference pages of both languages.
func TestCommandsAreDocumented(t *testing.T) {
	for _, name := range []string{"commands.md", "commands.zh.md"} {
		page, err := os.ReadFile(filepath.Join("..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands {
			if !strings.Contains(string(page), "| `"+c.name+" ") {
				t.Errorf("docs/%s has no row for %s", name, c.name)
			}
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LLAMATAB_MAX_NEW_TOKENS", "many")
	if code, _, stderr := run(t, "generate", "--model", "x"); code != 2 || !strings.Contains(stderr, "LLAMATAB_MAX_NEW_TOKENS") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestServe(t *testing.T) {
	dir := folder(t, map[string]string{"models/m/config.json": "{}", "models/none/x": "", "data/d.jsonl": "0123456789", "data/.hidden": "x"})
	c, _ := program(t, "serve", "--listen", "127.0.0.1:0", "--models", filepath.Join(dir, "models"), "--data", filepath.Join(dir, "data"), "--hub-endpoint", "https://hub.example/")
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
		{"hub/endpoint", "", 200, `{"endpoint":"https://hub.example"}`},
		{"hub/fetches", "", 200, `"host":""`}, // it is offline
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
		if policy := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") || !strings.Contains(policy, " connect-src 'self' https://hub.example https://*.hub.example; ") || response.Header.Get("Cross-Origin-Opener-Policy") == "" {
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

// The tests below run commands in headless Chromium, with the stand-in for the engine.

const software = "--adapter-backend=swiftshader" // saves a browser start

func TestGenerateHeadless(t *testing.T) {
	model := folder(t, withModel(t, "", map[string]string{}))
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

// startTraining starts a run of the stand-in, which takes a step every 20 ms, and waits for its first steps.
func startTraining(t *testing.T) (c *exec.Cmd, temp, out string, stderr *bytes.Buffer) {
	t.Helper()
	return startTrainingUntil(t, "metrics.jsonl", 3)
}

// startTrainingUntil starts a run with more options and waits until a file of its output folder has some lines.
func startTrainingUntil(t *testing.T, file string, lines int, more ...string) (c *exec.Cmd, temp, out string, stderr *bytes.Buffer) {
	t.Helper()
	dir := folder(t, withModel(t, "model/", map[string]string{"run.json": runJSON, "data.jsonl": oneRow}))
	out = filepath.Join(dir, "out")
	c, temp = program(t, append([]string{"train", "--config", filepath.Join(dir, "run.json"), "--out", out, software}, more...)...)
	stderr = new(bytes.Buffer)
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*servertest.Patience, func() { c.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	for deadline := time.Now().Add(servertest.Patience); ; time.Sleep(10 * time.Millisecond) {
		if data, _ := os.ReadFile(filepath.Join(out, file)); bytes.Count(data, []byte("\n")) >= lines {
			return c, temp, out, stderr
		}
		if time.Now().After(deadline) {
			c.Process.Kill()
			c.Wait()
			t.Fatalf("%s has not got %d lines in time:\n%s", file, lines, stderr)
		}
	}
}

// hearSignals lets programs that the test starts receive SIGHUP and SIGINT also where the test itself runs under nohup or in a
// script's background: a child ignores what its parent ignores, and a handler in the parent becomes the default in the child.
func hearSignals(t *testing.T) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP, syscall.SIGINT)
	t.Cleanup(func() { signal.Stop(heard) })
}

func TestSignalStopsAndSaves(t *testing.T) {
	hearSignals(t)
	for _, sent := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		c, temp, out, stderr := startTraining(t)
		c.Process.Signal(sent)
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", sent, err, stderr)
		}
		for name, want := range map[string]string{"adapter/adapter_config.json": "{}", "summary.json": "swiftshader", "run.json": `"learning_rate"`} {
			if data, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(data), want) {
				t.Errorf("%v: %s: %q %v", sent, name, data, err)
			}
		}
		if _, err := os.Stat(filepath.Join(out, ".partial")); !os.IsNotExist(err) {
			t.Errorf("%v: unfinished files are left", sent)
		}
		nothingLeft(t, temp)
	}
}

// TestSignalBeforeFirstStep: a run that a signal ends before it has trained leaves no result, and does not say that it was done.
func TestSignalBeforeFirstStep(t *testing.T) {
	hearSignals(t)
	for _, sent := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		c, temp, out, stderr := startTrainingUntil(t, "run.json", 1, "--set", "training.seed=7")
		c.Process.Signal(sent)
		c.Wait()
		if code := c.ProcessState.ExitCode(); code != exit.Interrupted || !strings.Contains(stderr.String(), "before the first step: nothing was trained") || strings.Contains(stderr.String(), "checkpoint") {
			t.Errorf("%v: exit code %d\n%s", sent, code, stderr)
		}
		for _, name := range []string{"model", "adapter", "summary.json", ".partial", ".lock"} {
			if _, err := os.Stat(filepath.Join(out, name)); !os.IsNotExist(err) {
				t.Errorf("%v: %s is there: %v", sent, name, err)
			}
		}
		nothingLeft(t, temp)
	}
}

// TestIgnoredSignal: a signal that was ignored when the program started, as under nohup, does not end a run. Nor does it end when
// nobody reads its output any more.
func TestIgnoredSignal(t *testing.T) {
	dir := folder(t, withModel(t, "model/", map[string]string{"run.json": runJSON, "data.jsonl": oneRow}))
	c, temp := program(t)
	c.Args = []string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, c.Path, "train", "--config", filepath.Join(dir, "run.json"), "--out", filepath.Join(dir, "out"), software}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	c.Path = sh
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = write, write
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	go io.Copy(io.Discard, io.LimitReader(read, 64)) // enough to start
	steps := func() int {
		data, _ := os.ReadFile(filepath.Join(dir, "out", "metrics.jsonl"))
		return bytes.Count(data, []byte("\n"))
	}
	until := func(n int) {
		t.Helper()
		for end := time.Now().Add(3 * time.Minute); steps() < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				c.Process.Kill()
				t.Fatalf("%d steps of %d are done: the run has ended", steps(), n)
			}
		}
	}
	until(3)
	read.Close()
	c.Process.Signal(syscall.SIGHUP)
	until(steps() + 60) // more than a second: progress is printed meanwhile
	c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	nothingLeft(t, temp)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	hearSignals(t)
	dir := folder(t, withModel(t, "", map[string]string{}))
	c, temp := program(t, "generate", "--model", dir, "--prompt", "spin", software)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitForProfile(t, temp)
	c.Process.Signal(syscall.SIGINT) // the first signal ends all commands but train
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != exit.Interrupted {
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, temp)

	c, temp, _, _ = startTraining(t)
	c.Process.Signal(syscall.SIGINT)
	time.Sleep(time.Millisecond) // the system may merge two signals at the same time
	c.Process.Signal(syscall.SIGINT)
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != exit.Interrupted && code != 0 { // 0 means that it had stopped before the second signal
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
	// The killed program left its profile, which the next start removes.
	c = exec.Command(c.Path, "doctor", software)
	c.Env = append(os.Environ(), assetsVariable+"="+servertest.StandIn(t), "TMPDIR="+temp)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	nothingLeft(t, temp)
}
