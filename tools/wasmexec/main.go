// Command wasmexec runs a Go program built for js/wasm in a worker of a headless Chromium with WebGPU:
//
//	GOOS=js GOARCH=wasm go test -exec bin/wasmexec ./engine/op
//
// It prints what the program prints and ends with its exit code. The program can read the files of its module and of the
// folder "shared" beside the module, and can write in its temporary folder. LLAMATAB_CHROME names the browser.
// LLAMATAB_ADAPTER_BACKEND=default selects the hardware adapter instead of SwiftShader.
package main

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"llamatab/server/headless"
)

//go:embed worker.js
var web embed.FS

// timeoutGrace is how long a program may run after its own -test.timeout. A program that never yields cannot end itself.
const timeoutGrace = 20 * time.Second

func main() {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: wasmexec PROGRAM.wasm [ARGUMENT ...]\n\nRuns a js/wasm program in headless Chromium with WebGPU; meant for go test -exec and go run -exec.")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "wasmexec:", err)
	}
	os.Exit(code)
}

// exit is how the program ended.
type exit struct {
	code    int
	message string
}

func run(program string, args []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	if limit := testTimeout(args); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit+timeoutGrace, fmt.Errorf("the program was still running %v after its time limit of %v", timeoutGrace, limit))
		defer cancel()
	}

	directory, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	glue, err := wasmExecJS()
	if err != nil {
		return 1, err
	}
	temp, err := os.MkdirTemp("", "llamatab-wasmexec-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(temp)

	exited := make(chan exit, 1)
	handler := handler{program: program, args: args, directory: directory, temp: temp, glue: glue, exited: exited}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 1, err
	}
	token := make([]byte, 16) // other users of this machine do not know it, so they cannot reach the files
	rand.Read(token)
	root := "/" + hex.EncodeToString(token)
	server := &http.Server{Handler: isolate(http.StripPrefix(root, handler.routes())), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	defer server.Close()

	browser, err := headless.Start(ctx, headless.Options{
		Chrome:      os.Getenv("LLAMATAB_CHROME"),
		SwiftShader: os.Getenv("LLAMATAB_ADAPTER_BACKEND") != "default",
	})
	if err != nil {
		return 1, err
	}
	defer browser.Close()
	if err := browser.Open(ctx, "http://"+listener.Addr().String()+root+"/"); err != nil {
		return 1, err
	}
	select {
	case e := <-exited:
		if e.message != "" {
			fmt.Fprintln(os.Stderr, e.message)
		}
		return e.code, nil
	case <-browser.Gone():
		return 1, browser.Err()
	case <-ctx.Done():
		return 1, context.Cause(ctx)
	}
}

// handler answers what the page and its worker ask for.
type handler struct {
	program   string // the wasm file
	args      []string
	directory string // the program's working directory
	temp      string // the program's temporary folder
	glue      string // the path of wasm_exec.js
	exited    chan<- exit
}

func (h handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!doctype html><title>wasmexec</title><script>new Worker("worker.js")</script>`)
	})
	mux.Handle("GET /worker.js", http.FileServerFS(web))
	mux.HandleFunc("GET /wasm_exec.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, h.glue) })
	mux.HandleFunc("GET /replay.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		script, _ := os.ReadFile(filepath.Join(readable(h.directory)[0], "wasm", "engine", "replay.js"))
		w.Write(script) // a program of another module has none and needs none
	})
	mux.HandleFunc("GET /program.wasm", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/wasm") // the test binary is called *.test
		http.ServeFile(w, r, h.program)
	})
	mux.HandleFunc("GET /setup", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"args": h.args, "env": environment(h.temp), "directory": filepath.ToSlash(h.directory)})
	})
	mux.HandleFunc("POST /write/{fd}", func(w http.ResponseWriter, r *http.Request) {
		out := os.Stdout
		if r.PathValue("fd") == "2" {
			out = os.Stderr
		}
		io.Copy(out, r.Body)
	})
	mux.HandleFunc("POST /exit", func(w http.ResponseWriter, r *http.Request) {
		message, _ := io.ReadAll(r.Body)
		code, err := strconv.Atoi(r.URL.Query().Get("code"))
		if err != nil {
			code = 1
		}
		select {
		case h.exited <- exit{code, string(message)}:
		default: // the first report counts
		}
	})
	mux.Handle("POST /fs/{op}", files{read: readable(h.directory), write: h.temp})
	return mux
}

// isolate makes the page cross-origin isolated, so that its timers are finer.
func isolate(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cross-Origin-Embedder-Policy", "require-corp")
		w.Header().Set("Cache-Control", "no-store")
		h.ServeHTTP(w, r)
	})
}

// testTimeout is the value of go test's -test.timeout among args, 0 for none.
func testTimeout(args []string) time.Duration {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), "test.timeout="); ok {
			limit, _ := time.ParseDuration(value)
			return limit
		}
	}
	return 0
}

// environment is the environment of the program. It is small because Go's js runtime allows 8 KiB for arguments and
// environment together.
func environment(temp string) map[string]string {
	env := map[string]string{"TMPDIR": filepath.ToSlash(temp)}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "LLAMATAB_") || strings.HasPrefix(name, "GO") {
			env[name] = value
		}
	}
	return env
}

// wasmExecJS is the path of wasm_exec.js in the Go toolchain.
func wasmExecJS() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for GOROOT: %w", err)
	}
	path := filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the Go installation lacks its wasm support: %w", err)
	}
	return path, nil
}
