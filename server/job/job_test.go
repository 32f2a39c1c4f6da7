package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/message"
)

// host is a job behind a real HTTP server, writing to a folder.
type host struct {
	t    *testing.T
	job  *Job
	out  string
	addr string
}

func newHost(t *testing.T, keep bool) *host {
	t.Helper()
	h := &host{t: t, out: t.TempDir()}
	h.start(keep)
	return h
}

// start begins a job in the folder, as a new run of the program would.
func (h *host) start(keep bool) {
	h.t.Helper()
	if h.job != nil {
		h.job.Store.(*Dir).lock.Close() // as the end of the process before does
	}
	dir, err := OpenDir(h.out)
	if err != nil {
		h.t.Fatal(err)
	}
	h.job = New(message.Job{Command: message.Train})
	h.job.Store, h.job.Log, h.job.Mounts = dir, NewLog(h.out, keep), map[string]Mount{}
	server := httptest.NewServer(h.job.Handler())
	h.addr = server.URL + h.job.Path()
	h.t.Cleanup(func() { server.Close(); dir.Close(); h.job.Log.Close() })
}

func (h *host) do(method, path, body string) (int, string) {
	h.t.Helper()
	request, err := http.NewRequest(method, h.addr+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request) // follows no redirect
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (h *host) want(status int, method, path, body string) string {
	h.t.Helper()
	got, text := h.do(method, path, body)
	if got != status {
		h.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, text)
	}
	return text
}

func (h *host) say(envelopes ...message.Envelope) string {
	h.t.Helper()
	body, err := json.Marshal(envelopes)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.want(http.StatusOK, "POST", "messages", string(body))
}

func (h *host) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.out, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// names lists the output folder.
func (h *host) names() []string {
	h.t.Helper()
	entries, err := os.ReadDir(h.out)
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	return names
}

func step(n int) message.Envelope {
	return message.Envelope{Type: "step", Step: &message.Step{Step: n, Loss: 1}}
}

func event(code string, step int) message.Envelope {
	return message.Envelope{Type: "event", Event: &message.Event{Code: code, Step: step}}
}

func TestOutput(t *testing.T) {
	h := newHost(t, false)
	const none = http.StatusNoContent
	h.want(none, "POST", "out/a/one.bin?offset=0", "hello ")
	h.want(none, "POST", "out/a/one.bin?offset=0", "again ") // what was begun before is given up
	h.want(http.StatusConflict, "POST", "out/a/one.bin?offset=5", "")
	h.want(none, "POST", "out/a/one.bin?offset=0", "hello ")
	h.want(http.StatusConflict, "POST", "out/a/one.bin?offset=7", "gap")
	h.want(http.StatusConflict, "POST", "out/a/one.bin?offset=-1", "")
	h.want(http.StatusConflict, "POST", "out/a/one.bin", "")
	h.want(none, "POST", "out/a/one.bin?offset=6", "world")
	if got := h.names(); !slices.Equal(got, []string{partial}) {
		t.Fatalf("before the commit the folder shows %v", got)
	}
	h.want(none, "POST", "commit/a", "")
	if got := h.read("a/one.bin"); got != "hello world" {
		t.Fatalf("committed %q", got)
	}

	// A run reads its own results again.
	if got := h.want(http.StatusOK, "GET", "out/a/one.bin", ""); got != "hello world" {
		t.Errorf("read again: %q", got)
	}
	if got := h.want(http.StatusOK, "GET", "out/a/?list", ""); got != `[{"name":"one.bin","size":11}]`+"\n" {
		t.Errorf("list of a result: %s", got)
	}
	h.want(none, "POST", "out/checkpoint-1/additional_chat_templates/rag.jinja?offset=0", "{{ documents }}")
	h.want(none, "POST", "commit/checkpoint-1", "") // all files that its checksums name are listed
	if got := h.want(http.StatusOK, "GET", "out/checkpoint-1/?list", ""); got != `[{"name":"additional_chat_templates/rag.jinja","size":15}]`+"\n" {
		t.Errorf("list of a checkpoint with chat templates: %s", got)
	}
	h.want(none, "DELETE", "out/checkpoint-1", "")
	h.want(http.StatusNotFound, "GET", "out/b/?list", "")

	// A folder replaces the folder before it whole.
	h.want(none, "POST", "out/a/two.bin?offset=0", "2")
	h.want(none, "POST", "commit/a", "")
	if _, err := os.Stat(filepath.Join(h.out, "a/one.bin")); !os.IsNotExist(err) {
		t.Errorf("a file of the replaced folder is still there: %v", err)
	}
	h.want(none, "POST", "out/x.json?offset=0", "1")
	h.want(none, "POST", "commit/x.json", "")
	h.want(none, "POST", "out/x.json?offset=0", "2")
	h.want(none, "POST", "commit/x.json", "")
	if got := h.read("x.json"); got != "2" {
		t.Errorf("the file holds %q after it was replaced", got)
	}
	h.want(http.StatusInternalServerError, "POST", "commit/never-written", "")
	h.want(none, "DELETE", "out/a", "")
	h.want(none, "DELETE", "out/a", "") // already gone: the same end
	if err := h.job.Store.(*Dir).Close(); err != nil {
		t.Fatal(err)
	}
	if got := h.names(); !slices.Equal(got, []string{"x.json"}) {
		t.Errorf("at the end the folder holds %v", got)
	}
}

func TestLeftOfAKilledRunIsDropped(t *testing.T) {
	h := newHost(t, false)
	h.want(http.StatusNoContent, "POST", "out/model/half?offset=0", "abc")
	h.start(false)
	h.want(http.StatusNoContent, "POST", "out/model/half?offset=0", "whole")
	h.want(http.StatusNoContent, "POST", "commit/model", "")
	if got := h.read("model/half"); got != "whole" {
		t.Errorf("got %q", got)
	}
}

// A message that comes after the record was closed, as from a tab that is slow to end, changes nothing of it.
func TestClosedRecordStays(t *testing.T) {
	h := newHost(t, false)
	h.say(step(1), step(2))
	h.job.Log.Close()
	h.say(step(3), event("loss_spike", 3))
	if got := h.steps(); got != "[1 2]" {
		t.Errorf("steps %s after the record was closed", got)
	}
}

func TestTwoRunsInOneFolder(t *testing.T) {
	out := t.TempDir()
	first, err := OpenDir(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Append("model/x", 0, strings.NewReader("half")); err != nil {
		t.Fatal(err)
	}
	_, err = OpenDir(out)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on", os.Getpid())) {
		t.Fatalf("a second run got %v", err)
	}
	if err := first.Commit("model"); err != nil {
		t.Errorf("the second run has disturbed the first: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out, lockName)); !os.IsNotExist(err) {
		t.Errorf("the lock is left: %v", err)
	}
	next, err := OpenDir(out)
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
}

func TestHostilePaths(t *testing.T) {
	h := newHost(t, false)
	secret := filepath.Join(filepath.Dir(h.out), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(secret)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "data"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "beside"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(h.out), filepath.Join(h.out, "link")); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.job.Mounts["model"], err = MountPath(folder); err != nil {
		t.Fatal(err)
	}
	if h.job.Mounts["dataset"], err = MountPath(filepath.Join(folder, "data")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", ".", "%2e%2e/secret", "..%2fsecret", "a/..%2f..%2fsecret", "a%5c..%5c..%5csecret", "%2fetc%2fpasswd",
		"c:%5cx", "c:x", "a%00b", ".lock", ".partial", ".partial/x", "a/%2e%2e/%2e%2e/secret"} {
		for _, request := range []string{"POST out/", "POST commit/", "DELETE out/", "GET out/", "GET files/model/", "GET files/dataset/"} {
			method, prefix, _ := strings.Cut(request, " ")
			status, text := h.do(method, prefix+path+"?offset=0", "x")
			if status < 300 || strings.Contains(text, "0123456789") {
				t.Errorf("%s%s: status %d: %s", request, path, status, text)
			}
		}
	}
	// A link in the output folder is not a way out of it.
	h.want(http.StatusNoContent, "POST", "out/link/secret?offset=0", "changed") // below .partial
	if status, _ := h.do("POST", "commit/link/secret", ""); status == http.StatusNoContent {
		t.Error("a commit went through a link out of the folder")
	}
	if status, _ := h.do("DELETE", "out/link/secret", ""); status == http.StatusNoContent {
		t.Error("a removal went through a link out of the folder")
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
		t.Errorf("the file outside was touched: %q %v", data, err)
	}
	h.want(http.StatusNotFound, "GET", "files/dataset/beside", "")
	h.want(http.StatusNotFound, "GET", "files/nothing/x", "")
	if got := h.want(http.StatusOK, "GET", "files/dataset/?list", ""); got != `[{"name":"data","size":10}]`+"\n" {
		t.Errorf("list of a one-file mount: %s", got)
	}
	if got := h.want(http.StatusOK, "GET", "files/model/?list", ""); !strings.Contains(got, "beside") {
		t.Errorf("list of a folder: %s", got)
	}
}

// A model's further chat templates are listed with their folder, and sent by that name.
func TestTemplatesOfAModel(t *testing.T) {
	h := newHost(t, false)
	h.job.Mounts["model"] = MountFS(fstest.MapFS{
		"config.json": {Data: []byte("{}")}, "additional_chat_templates/rag.jinja": {Data: []byte("{{ documents }}")},
		"additional_chat_templates/notes.txt": {Data: []byte("x")}, "other/a.jinja": {Data: []byte("x")},
	}, "")
	want := `[{"name":"config.json","size":2},{"name":"additional_chat_templates/rag.jinja","size":15}]` + "\n"
	if got := h.want(http.StatusOK, "GET", "files/model/?list", ""); got != want {
		t.Errorf("list of a model: %s", got)
	}
	if got := h.want(http.StatusOK, "GET", "files/model/additional_chat_templates/rag.jinja", ""); got != "{{ documents }}" {
		t.Errorf("a template is %q", got)
	}
}

func TestRanges(t *testing.T) {
	h := newHost(t, false)
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.job.Mounts["dataset"], err = MountPath(file); err != nil {
		t.Fatal(err)
	}
	request, _ := http.NewRequest("GET", h.addr+"files/dataset/data", nil)
	request.Header.Set("Range", "bytes=3-5")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusPartialContent || string(text) != "345" {
		t.Errorf("status %d, body %q", response.StatusCode, text)
	}
}

func TestMessages(t *testing.T) {
	h := newHost(t, false)
	var seen []string
	h.job.Observe = func(e message.Envelope) { seen = append(seen, e.Type) }
	h.job.Send(message.Stop)
	if got := h.say(); got != `{"control":["stop"]}`+"\n" {
		t.Errorf("first answer %s", got)
	}
	if got := h.say(step(1)); got != `{"control":[]}`+"\n" {
		t.Errorf("a control was delivered twice: %s", got)
	}
	h.want(http.StatusBadRequest, "POST", "messages", "{")
	h.say(message.Envelope{Type: "config", Config: json.RawMessage(`{"a":1}`)}, step(2), event("loss_spike", 2),
		message.Envelope{Type: "summary", Summary: json.RawMessage(`{"b":1e-8}`)},
		message.Envelope{Type: "done", Done: &message.Done{Stopped: true}})
	h.say(message.Envelope{Type: "failed", Failed: &message.Failed{Code: "late"}}, step(3)) // after its end a job is over
	<-h.job.Ended()
	if o := h.job.Outcome(); o.Done == nil || !o.Done.Stopped {
		t.Errorf("outcome %+v", o)
	}
	if want := []string{"step", "config", "step", "event", "summary", "done"}; !slices.Equal(seen, want) {
		t.Errorf("observed %v, want %v", seen, want)
	}
	if got := strings.Count(h.read("metrics.jsonl"), "\n"); got != 2 {
		t.Errorf("%d lines of metrics", got)
	}
	if h.read("run.json") != "{\n  \"a\": 1\n}\n" || !strings.Contains(h.read("summary.json"), "1e-8") || !strings.Contains(h.read("events.jsonl"), "loss_spike") {
		t.Error("run.json, summary.json or events.jsonl are not as sent")
	}
}

// steps are the steps in metrics.jsonl.
func (h *host) steps() string {
	h.t.Helper()
	var steps []int
	for line := range strings.Lines(h.read("metrics.jsonl")) {
		var s message.Step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			h.t.Fatalf("%q: %v", line, err)
		}
		steps = append(steps, s.Step)
	}
	return fmt.Sprint(steps)
}

func TestRecord(t *testing.T) {
	torn := func(h *host) {
		for _, name := range []string{"metrics.jsonl", "events.jsonl"} {
			file, err := os.OpenFile(filepath.Join(h.out, name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o666)
			if err != nil {
				h.t.Fatal(err)
			}
			file.WriteString(`{"step": 9, "los`)
			file.Close()
		}
	}
	for _, c := range []struct {
		name   string
		keep   bool
		second []message.Envelope
		steps  string
		events int
	}{
		{"a new run replaces the record", false, []message.Envelope{step(1)}, "[1]", 0},
		{"resumed at 2", true, []message.Envelope{event("resumed", 2), step(3), step(4)}, "[1 2 3 4]", 2},
		{"resumed at the end", true, []message.Envelope{event("resumed", 4), step(5)}, "[1 2 3 4 5]", 2},
		{"resumed without saying so", true, []message.Envelope{step(3)}, "[1 2 3]", 1},
		{"rolled back", true, []message.Envelope{event("resumed", 4), step(5), step(6), step(4)}, "[1 2 3 4]", 2},
		{"nothing said, nothing touched", false, nil, "torn", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, false)
			h.say(step(1), step(2), step(3), event("loss_spike", 3), step(4))
			h.job.Log.Close()
			torn(h)
			before := h.read("metrics.jsonl")
			h.start(c.keep)
			h.say(c.second...)
			if c.second == nil {
				if h.read("metrics.jsonl") != before {
					t.Error("the record was touched")
				}
				return
			}
			if got := h.steps(); got != c.steps {
				t.Errorf("steps %s, want %s", got, c.steps)
			}
			events := h.read("events.jsonl")
			if n := strings.Count(events, "\n"); n != c.events || events != "" && !strings.HasSuffix(events, "}\n") {
				t.Errorf("%d events, want %d: %s", n, c.events, events)
			}
		})
	}
}

// TestEarlierCheckpoints: a new run in the folder of an older one moves the older one's checkpoints and record to a folder of
// their own. A run that resumes there moves only the checkpoints after the one that it resumes from.
func TestEarlierCheckpoints(t *testing.T) {
	older := func(t *testing.T) *host {
		h := newHost(t, false)
		h.say(step(1), step(2))
		h.job.Log.Close()
		for _, name := range []string{"checkpoint-2", "checkpoint-10", "checkpoint-4", "best", "adapter", "checkpoint-new"} {
			if err := os.Mkdir(filepath.Join(h.out, name), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		return h
	}
	for _, c := range []struct {
		name   string
		keep   bool
		inputs []string // of the new run, below the folder
		second message.Envelope
		moved  string
		left   string
	}{
		{"a new run", false, nil, step(1), "[checkpoint-2 checkpoint-4 checkpoint-10]", "[checkpoint-new earlier-1 events.jsonl metrics.jsonl]"},
		{"a new run that starts from the result", false, []string{"adapter/adapter_config.json"}, step(1), "[checkpoint-2 checkpoint-4 checkpoint-10]",
			"[adapter checkpoint-new earlier-1 events.jsonl metrics.jsonl]"},
		{"a new run that starts from a checkpoint", false, []string{"checkpoint-4/adapter_config.json", "checkpoint-1"}, step(1), "[checkpoint-2 checkpoint-10]",
			"[checkpoint-4 checkpoint-new earlier-1 events.jsonl metrics.jsonl]"},
		{"a resumed run", true, []string{"checkpoint-2"}, event("resumed", 2), "[checkpoint-4 checkpoint-10]",
			"[adapter best checkpoint-2 checkpoint-new earlier-1 events.jsonl metrics.jsonl]"},
		{"a run that resumes from the newest", true, []string{"checkpoint-10"}, event("resumed", 10), "[]",
			"[adapter best checkpoint-10 checkpoint-2 checkpoint-4 checkpoint-new events.jsonl metrics.jsonl]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := older(t)
			h.start(c.keep)
			for _, name := range c.inputs {
				h.job.Log.Inputs = append(h.job.Log.Inputs, filepath.Join(h.out, name))
			}
			var moved []string
			h.job.Log.Earlier = func(folder string, names []string) {
				if moved = names; folder != filepath.Join(h.out, "earlier-1") {
					t.Errorf("moved to %s", folder)
				}
			}
			if got := h.names(); slices.Contains(got, "earlier-1") {
				t.Errorf("moved before the run began: %v", got)
			}
			h.say(c.second)
			if got := fmt.Sprint(moved); got != c.moved {
				t.Errorf("moved %s, want %s", got, c.moved)
			}
			if got := fmt.Sprint(h.names()); got != c.left {
				t.Errorf("left %s, want %s", got, c.left)
			}
			if c.moved != "[]" && !c.keep {
				h.read("earlier-1/metrics.jsonl")
			}
		})
	}
	h := older(t)
	h.start(false)
	h.say(step(1))
	h.job.Log.Close()
	if err := os.Mkdir(filepath.Join(h.out, "checkpoint-1"), 0o777); err != nil {
		t.Fatal(err)
	}
	h.start(false)
	h.say(step(1))
	if got := fmt.Sprint(h.names()); !strings.Contains(got, "earlier-1 earlier-2") {
		t.Errorf("after a third run: %s", got)
	}
}

// TestEarlierResults: a run that writes another kind of result than an earlier one in the folder moves that aside.
func TestEarlierResults(t *testing.T) {
	for _, c := range []struct {
		name    string
		written []string
		inputs  []string
		left    string
	}{
		{"the same kind", []string{"adapter"}, nil, "[adapter events.jsonl metrics.jsonl]"},
		{"another kind", []string{"model"}, nil, "[earlier-1 events.jsonl metrics.jsonl model]"},
		{"both kinds", []string{"adapter", "model"}, nil, "[adapter events.jsonl metrics.jsonl model]"},
		{"another kind, which began at the adapter", []string{"model"}, []string{"adapter"}, "[adapter events.jsonl metrics.jsonl model]"},
		{"no result", nil, nil, "[adapter events.jsonl metrics.jsonl]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, false)
			for _, name := range append([]string{"adapter"}, c.written...) {
				if err := os.MkdirAll(filepath.Join(h.out, name), 0o777); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range c.inputs {
				h.job.Log.Inputs = append(h.job.Log.Inputs, filepath.Join(h.out, name))
			}
			h.say(step(1))
			h.say(message.Envelope{Type: "done", Done: &message.Done{Files: c.written}})
			if got := fmt.Sprint(h.names()); got != c.left {
				t.Errorf("left %s, want %s", got, c.left)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	place := filepath.Join(t.TempDir(), "logits.safetensors")
	files := Files{"logits": place}
	if err := files.Append("other", 0, strings.NewReader("")); err == nil {
		t.Error("a file that was not asked for was written")
	}
	if err := files.Append("logits", 0, strings.NewReader("ab")); err != nil {
		t.Fatal(err)
	}
	if err := files.Append("logits", 2, strings.NewReader("cd")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(place); !os.IsNotExist(err) {
		t.Error("the file shows before it is complete")
	}
	if err := files.Commit("logits"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(place); err != nil || string(data) != "abcd" {
		t.Errorf("%q %v", data, err)
	}
}

// A body that breaks off leaves the file as it was, so that the engine can send the piece again.
func TestBrokenUpload(t *testing.T) {
	dir, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	broken := io.MultiReader(strings.NewReader("half"), io.LimitReader(badReader{}, 1))
	if err := dir.Append("x", 0, broken); err == nil {
		t.Fatal("a broken body was taken")
	}
	if err := dir.Append("x", 0, bytes.NewReader([]byte("whole"))); err != nil {
		t.Error(err)
	}
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Disk full is a status of its own, which the engine tells as the cause.
func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	h := newHost(t, false)
	h.job.Store = fullStore{}
	text := h.want(http.StatusInsufficientStorage, "POST", "out/x?offset=0", "data")
	if !strings.Contains(text, "no space left") {
		t.Errorf("the cause is missing: %s", text)
	}
}

// fullStore writes to a disk that is always full.
type fullStore struct{ Files }

func (fullStore) Append(string, int64, io.Reader) error {
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString("x"); err != nil {
		return fmt.Errorf("job: writing x: %w", err)
	}
	return nil
}

// cutting is a client that goes away while it is answered.
type cutting struct {
	http.ResponseWriter
	cut func()
}

func (c cutting) Write(p []byte) (int, error) {
	c.cut()
	return c.ResponseWriter.Write(p)
}

// The engine of a chat job gets each conversation once, and hears when no more will come.
func TestAsk(t *testing.T) {
	h := newHost(t, false)
	if err := h.job.Ask(t.Context(), message.Ask{Number: 3, Conversation: json.RawMessage(`{"messages":[]}`)}); err != nil {
		t.Fatal(err)
	}
	if status, body := h.do("GET", "ask", ""); status != 200 || !strings.Contains(body, `"number":3`) || !strings.Contains(body, `"conversation":{"messages":[]}`) {
		t.Errorf("status %d, %s", status, body)
	}
	broken, cut := context.WithCancel(t.Context())
	if err := h.job.Ask(t.Context(), message.Ask{Number: 4}); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(broken, "GET", h.job.Path()+"ask", nil)
	h.job.Handler().ServeHTTP(cutting{httptest.NewRecorder(), cut}, r)
	if status, body := h.do("GET", "ask", ""); status != 200 || !strings.Contains(body, `"number":4`) {
		t.Errorf("a conversation whose request broke off: status %d, %s", status, body)
	}
	h.job.EndAsking()
	for range 2 {
		if status, _ := h.do("GET", "ask", ""); status != http.StatusGone {
			t.Errorf("status %d after the last conversation", status)
		}
	}
	ended := newHost(t, false)
	ended.job.Fail(message.Failed{Code: "tab_crashed"})
	full := ended.job.Ask(t.Context(), message.Ask{}) // fits into the queue, or finds the engine gone
	if err := ended.job.Ask(t.Context(), message.Ask{}); err == nil && full == nil {
		t.Error("a job that has ended takes conversations")
	}
}
