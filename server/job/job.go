// Package job is the server's side of one headless job. The engine in the tab fetches the job and ranges of its files,
// reports its progress and writes its results through HTTP requests. All addresses lie below a path with a random token,
// so that no other page or user of the machine can reach them:
//
//	GET    job.json               the message.Job
//	GET    files/MOUNT/PATH       a file of a mount, with ranges
//	GET    files/MOUNT/PATH?list  the files of one folder: [{"name","size"}]
//	GET    ask                    the next message.Ask of a chat job; 204 where none has come for a while, 410 where none will
//	POST   messages               [message.Envelope, …] in order; answers {"control":[…]}, each control once
//	POST   out/PATH?offset=N      writes the body at offset N, which must be the file's length (else 409); 0 replaces the file
//	GET    out/PATH               a finished file, with ranges; ?list as for mounts
//	POST   commit/PATH            moves a file or folder that was written to its final name
//	DELETE out/PATH               removes a file or folder, committed or not
//
// A failed write answers 507 where the disk is full, else 500, with the cause as text.
package job

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"sync"
	"syscall"
	"time"

	"llamatab/engine/message"
)

// maxMessages bounds one POST of messages in bytes; the largest message is a bench report of some hundred KiB.
const maxMessages = 16 << 20

// Store keeps the files that the engine writes. Paths are slash-separated and relative; any other path gives ErrPath.
type Store interface {
	// Append writes r at the end of an unfinished file, which must be offset bytes long, else ErrOffset. At offset 0 the
	// file begins anew.
	Append(path string, offset int64, r io.Reader) error
	// Commit moves a file or folder that was written to its final name. It replaces what was there.
	Commit(path string) error
	// Remove deletes a file or folder, committed or not. It is no error if there is none.
	Remove(path string) error
	// FS is the committed files. A run that goes back to a checkpoint reads it here.
	FS() fs.FS
}

// Errors of a Store that the engine can tell apart by status.
var (
	ErrPath   = errors.New("not a path that may be used here")
	ErrOffset = errors.New("the offset is not the end of the file")
)

// Job is one job and its state. Fill the fields, then use Handler.
type Job struct {
	Spec    message.Job
	Mounts  map[string]Mount
	Store   Store                  // nil: the engine may write no files
	Log     *Log                   // nil: nothing is recorded
	Observe func(message.Envelope) // called for every message in order; may be nil

	// Token is the random path element; set by New.
	Token string

	asks   chan message.Ask
	noMore chan struct{} // closed by EndAsking

	mu      sync.Mutex
	heard   time.Time
	waiting bool // for a disk that takes the record
	control []message.Control
	again   *message.Ask // that was taken for a request which broke off
	ended   chan struct{}
	last    message.Envelope // the Done or Failed that ended the job
}

// New returns a job with a fresh token.
func New(spec message.Job) *Job {
	token := make([]byte, 16)
	rand.Read(token)
	return &Job{Spec: spec, Token: hex.EncodeToString(token), ended: make(chan struct{}), heard: time.Now(), asks: make(chan message.Ask, 1), noMore: make(chan struct{})}
}

// Path is the address of the job's page below the server's root.
func (j *Job) Path() string { return "/job/" + j.Token + "/" }

// Send queues a control for the engine, which takes it with its next message.
func (j *Job) Send(c message.Control) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.control = append(j.control, c)
}

// Ask hands a conversation to the engine of a chat job. It waits while another one has not been taken.
func (j *Job) Ask(ctx context.Context, a message.Ask) error {
	select {
	case j.asks <- a:
		return nil
	case <-j.ended:
		return errors.New("the engine has ended")
	case <-j.noMore:
		return errors.New("the engine is ending")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// EndAsking ends a chat job once it has answered what it was asked. It is called once.
func (j *Job) EndAsking() { close(j.noMore) }

// askWait is how long a request for the next conversation waits.
const askWait = 20 * time.Second

func (j *Job) ask(w http.ResponseWriter, r *http.Request) {
	j.touch()
	a, status := j.nextAsk(r.Context())
	if a == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil || r.Context().Err() != nil {
		j.mu.Lock()
		j.again = a
		j.mu.Unlock()
	}
}

// nextAsk waits for a conversation. Without one it returns a status that says why.
func (j *Job) nextAsk(ctx context.Context) (a *message.Ask, status int) {
	j.mu.Lock()
	a, j.again = j.again, nil
	j.mu.Unlock()
	if a != nil {
		return a, 0
	}
	select {
	case next := <-j.asks:
		return &next, 0
	default:
	}
	select {
	case next := <-j.asks:
		return &next, 0
	case <-j.noMore:
		return nil, http.StatusGone
	case <-time.After(askWait):
	case <-ctx.Done():
	}
	return nil, http.StatusNoContent
}

// Heard is when the engine last made a request.
func (j *Job) Heard() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.heard
}

// Ended is closed when the engine reported Done or Failed; Outcome then tells which.
func (j *Job) Ended() <-chan struct{} { return j.ended }

// Outcome is the Done or Failed envelope that ended the job, empty before that.
func (j *Job) Outcome() message.Envelope {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Fail ends a job that the engine cannot end itself.
func (j *Job) Fail(f message.Failed) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.take(message.Envelope{Type: "failed", Failed: &f})
}

// Handler serves all addresses below Path except the page itself.
func (j *Job) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /job.json", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, j.Spec) })
	mux.HandleFunc("GET /files/{mount}/{path...}", func(w http.ResponseWriter, r *http.Request) {
		mount, ok := j.Mounts[r.PathValue("mount")]
		if !ok {
			http.Error(w, fmt.Sprintf("this job has no %q", r.PathValue("mount")), http.StatusNotFound)
			return
		}
		j.touch()
		mount.serve(w, r, r.PathValue("path"))
	})
	mux.HandleFunc("GET /ask", j.ask)
	mux.HandleFunc("POST /messages", j.messages)
	mux.HandleFunc("POST /out/{path...}", j.stored(func(name string, r *http.Request) error {
		offset, err := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
		if err != nil || offset < 0 {
			return fmt.Errorf("job: writing %s: offset %q: %w", name, r.URL.Query().Get("offset"), ErrOffset)
		}
		return j.Store.Append(name, offset, r.Body)
	}))
	mux.HandleFunc("GET /out/{path...}", func(w http.ResponseWriter, r *http.Request) {
		if j.Store == nil {
			http.Error(w, "this job writes no files", http.StatusForbidden)
			return
		}
		j.touch()
		MountFS(j.Store.FS(), "").serve(w, r, r.PathValue("path"))
	})
	mux.HandleFunc("POST /commit/{path...}", j.stored(func(name string, _ *http.Request) error { return j.Store.Commit(name) }))
	mux.HandleFunc("DELETE /out/{path...}", j.stored(func(name string, _ *http.Request) error { return j.Store.Remove(name) }))
	return http.StripPrefix("/job/"+j.Token, mux)
}

// stored is the handler of a request that changes the store.
func (j *Job) stored(do func(name string, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if j.Store == nil {
			http.Error(w, "this job writes no files", http.StatusForbidden)
			return
		}
		j.touch()
		if err := do(r.PathValue("path"), r); err != nil {
			writeError(w, err)
			return
		}
		j.touch()
		w.WriteHeader(http.StatusNoContent)
	}
}

func (j *Job) touch() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.heard = time.Now()
}

func (j *Job) messages(w http.ResponseWriter, r *http.Request) {
	var envelopes []message.Envelope
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessages)).Decode(&envelopes); err != nil {
		http.Error(w, "job: messages: "+err.Error(), http.StatusBadRequest)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.heard = time.Now()
	for _, e := range envelopes {
		j.take(e)
	}
	control := j.control
	if control == nil {
		control = []message.Control{}
	}
	j.control = nil
	writeJSON(w, map[string]any{"control": control})
}

// take records one message. Messages after the end of the job are dropped, such as that of a worker that dies while it is
// closed.
func (j *Job) take(e message.Envelope) {
	select {
	case <-j.ended:
		return
	default:
	}
	if j.Log != nil {
		e = j.record(e)
	}
	if j.Observe != nil {
		j.Observe(e)
	}
	if e.Done != nil || e.Failed != nil {
		j.last = e
		close(j.ended)
	}
}

// record writes a message into the log. A log that cannot begin is the end of the job: it fails instead. What a disk that is full
// later does not take waits in the log, which is told the first time.
func (j *Job) record(e message.Envelope) message.Envelope {
	err := j.Log.Record(e)
	switch {
	case err == nil:
		j.waiting = false
	case !j.Log.Begun() && e.Failed == nil:
		return message.Envelope{Type: "failed", Failed: &message.Failed{Code: "output", Message: err.Error(), Next: "Free space or choose another output folder.", Exit: 1}}
	case e.Done != nil:
		j.warn("a result of an earlier run is still in the output folder: %v", err)
	case !j.waiting:
		j.waiting = true
		j.warn("the record of the run waits in memory until the disk takes it: %v", err)
	}
	return e
}

// warn tells the person about the disk.
func (j *Job) warn(format string, args ...any) {
	if j.Observe != nil {
		j.Observe(message.Envelope{Type: "event", Event: &message.Event{Time: time.Now().UTC().Format(time.RFC3339), Level: "warning", Code: "storage_full", Message: fmt.Sprintf(format, args...)}})
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrPath):
		status = http.StatusBadRequest
	case errors.Is(err, ErrOffset):
		status = http.StatusConflict
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		status = http.StatusInsufficientStorage
	}
	http.Error(w, err.Error(), status)
}

// cleanPath refuses a name that could lead out of the folder that it is joined to.
func cleanPath(name string) (string, error) {
	clean := path.Clean(name)
	if !isLocal(name) || clean == "." {
		return "", fmt.Errorf("job: %q: %w", name, ErrPath)
	}
	return clean, nil
}
