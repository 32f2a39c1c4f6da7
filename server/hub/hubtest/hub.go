// Package hubtest is a small hub for tests: it answers as the Hugging Face Hub does, and fails as a test wants it to.
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Hub is a hub and the other host to which it redirects requests for large files.
type Hub struct {
	URL     string // the endpoint
	Token   string // that opens private and gated repositories
	hub     *httptest.Server
	storage *httptest.Server

	mu       sync.Mutex
	repos    map[string]*Repo
	faults   []*Fault
	requests []Request
}

// Repo is a repository of the hub.
type Repo struct {
	Private, Gated bool
	// Listed changes what the hub says of the files, for answers that no hub gives; nil for none.
	Listed  func(siblings []map[string]any) any
	commits map[string]map[string][]byte // by commit: the content of each file
	refs    map[string]string            // commits by branch or tag
}

// Request is a request that the hub or its storage has had.
type Request struct {
	Storage       bool // it came to the other host
	Method        string
	Path, Range   string
	Authorization string
	IfRange       string
	Origin        string // of the page that sends it
}

// Fault is something that goes wrong. It happens Times times, to requests whose path contains Path.
type Fault struct {
	Path    string
	Storage bool // at the other host
	Times   int

	Status   int         // answers with a status and no content
	Header   http.Header // of such an answer
	Cut      int         // closes the connection after this many bytes
	Stall    int         // sends nothing any more after this many bytes
	Flip     bool        // changes the first byte
	NoRange  bool        // sends the whole file
	Shift    bool        // sends another range than the one of the request
	Longer   bool        // sends more bytes than the file has
	Page     string      // answers with this page, as the portal of a network does
	Redirect string      // redirects to this address
}

// New starts a hub. Close ends it.
func New() *Hub {
	h := &Hub{repos: map[string]*Repo{}}
	h.hub = httptest.NewServer(http.HandlerFunc(h.serve))
	h.storage = httptest.NewServer(http.HandlerFunc(h.serveStorage))
	h.URL = h.hub.URL
	return h
}

// NamedURL is the endpoint under a name. A hub that is asked under it redirects to a host below that name, which has the same port:
// the policy of a page can allow both. Browsers find such names on their machine, other programs may not.
func (h *Hub) NamedURL() string {
	return "http://" + hubName + h.URL[strings.LastIndex(h.URL, ":"):]
}

const (
	hubName     = "hub.localhost"
	storageName = "storage." + hubName
)

// exposed are the headers that the hub lets pages of other sites read.
const exposed = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash"

// Close ends the hub, also requests that stall.
func (h *Hub) Close() {
	for _, s := range []*httptest.Server{h.hub, h.storage} {
		s.CloseClientConnections()
		s.Close()
	}
}

// Add adds files to a repository, as a commit of its branch main, and returns the commit.
func (h *Hub) Add(repo string, files map[string][]byte) (commit string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.repos[repo]
	if r == nil {
		r = &Repo{commits: map[string]map[string][]byte{}, refs: map[string]string{}}
		h.repos[repo] = r
	}
	sum := sha1.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%s %x\n", name, files[name])
	}
	commit = hex.EncodeToString(sum.Sum(nil))
	r.commits[commit], r.refs["main"] = files, commit
	return commit
}

// Change changes a repository that Add has made.
func (h *Hub) Change(repo string, change func(*Repo)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h.repos[repo])
}

// Tag names a commit.
func (r *Repo) Tag(name, commit string) { r.refs[name] = commit }

// Fail adds a fault. Without Times it happens once.
func (h *Hub) Fail(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Times = max(f.Times, 1)
	h.faults = append(h.faults, &f)
}

// Requests lists the requests so far.
func (h *Hub) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// note records a request and returns the fault that happens to it, or nil.
func (h *Hub) note(r *http.Request, storage bool) *Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, Request{Storage: storage, Method: r.Method, Origin: r.Header.Get("Origin"), Path: r.URL.Path, Range: r.Header.Get("Range"), IfRange: r.Header.Get("If-Range"), Authorization: r.Header.Get("Authorization")})
	for _, f := range h.faults {
		if f.Times > 0 && f.Storage == storage && strings.Contains(r.URL.Path, f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}

// early answers with a fault that needs no file, and reports whether it did.
func (f *Fault) early(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case f == nil:
		return false
	case f.Status != 0:
		maps.Copy(w.Header(), f.Header)
		w.WriteHeader(f.Status)
	case f.Page != "":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, f.Page)
	case f.Redirect != "":
		http.Redirect(w, r, f.Redirect, http.StatusFound)
	default:
		return false
	}
	return true
}

func refuse(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", text)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": text})
}

// repo finds a repository and the files of a revision. It answers a request that may not have them.
func (h *Hub) repo(w http.ResponseWriter, r *http.Request, name, revision string, content bool) (repo *Repo, commit string, files map[string][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	repo = h.repos[name]
	authorization := r.Header.Get("Authorization")
	known := authorization == "Bearer "+h.Token && h.Token != ""
	switch {
	case authorization != "" && !known:
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return nil, "", nil
	case repo == nil || repo.Private && !known: // without a token the hub does not say whether there is one
		status := http.StatusUnauthorized
		if known {
			status = http.StatusNotFound
		}
		refuse(w, status, "RepoNotFound", "Repository not found")
		return nil, "", nil
	case content && repo.Gated && !known:
		refuse(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+name+" is restricted")
		return nil, "", nil
	}
	commit = revision
	if to, ok := repo.refs[revision]; ok {
		commit = to
	}
	if files = repo.commits[commit]; files == nil {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return nil, "", nil
	}
	return repo, commit, files
}

// isLarge reports whether a file is stored by Git LFS.
func isLarge(name string) bool { return strings.HasSuffix(name, ".safetensors") }

// BlobSHA1 is Git's checksum of a file.
func BlobSHA1(content []byte) string {
	sum := sha1.New()
	fmt.Fprintf(sum, "blob %d\x00", len(content))
	sum.Write(content)
	return hex.EncodeToString(sum.Sum(nil))
}

func sha256Of(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// serve answers at the hub's own host.
func (h *Hub) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Host, storageName+":") {
		h.serveStorage(w, r)
		return
	}
	f := h.note(r, false)
	if origin := r.Header.Get("Origin"); origin != "" { // a page of another site
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", exposed)
		w.Header().Set("Vary", "Origin")
	}
	if f.early(w, r) {
		return
	}
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i])
	}
	switch {
	case len(parts) == 6 && parts[0] == "api" && parts[1] == "models" && parts[4] == "revision":
		h.describe(w, r, parts[2]+"/"+parts[3], parts[5])
	case len(parts) >= 5 && parts[2] == "resolve":
		h.resolve(w, r, f, parts[0]+"/"+parts[1], parts[3], strings.Join(parts[4:], "/"))
	case len(parts) >= 6 && parts[0] == "api" && parts[1] == "resolve-cache":
		if _, commit, files := h.repo(w, r, parts[2]+"/"+parts[3], parts[4], true); commit != "" {
			content := files[strings.Join(parts[5:], "/")]
			w.Header().Set("ETag", strconv.Quote(BlobSHA1(content)))
			send(w, r, f, content)
		}
	default:
		refuse(w, http.StatusNotFound, "", "Not found")
	}
}

// describe answers with the files of a revision.
func (h *Hub) describe(w http.ResponseWriter, r *http.Request, name, revision string) {
	repo, commit, files := h.repo(w, r, name, revision, false)
	if commit == "" {
		return
	}
	siblings := []map[string]any{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		s := map[string]any{"rfilename": path}
		if r.URL.Query().Get("blobs") == "true" {
			s["size"], s["blobId"] = len(files[path]), BlobSHA1(files[path])
			if isLarge(path) {
				s["lfs"] = map[string]any{"sha256": sha256Of(files[path]), "size": len(files[path]), "pointerSize": 134}
			}
		}
		siblings = append(siblings, s)
	}
	answer := map[string]any{"id": name, "modelId": name, "sha": commit, "private": repo.Private, "gated": false, "siblings": siblings}
	if repo.Gated {
		answer["gated"] = "manual"
	}
	if repo.Listed != nil {
		answer["siblings"] = repo.Listed(siblings)
	}
	json.NewEncoder(w).Encode(answer)
}

// resolve redirects to the place of a file: large ones are at the other host.
func (h *Hub) resolve(w http.ResponseWriter, r *http.Request, f *Fault, name, revision, path string) {
	_, commit, files := h.repo(w, r, name, revision, true)
	if commit == "" {
		return
	}
	content, found := files[path]
	if !found {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	if !isLarge(path) {
		w.Header().Set("ETag", strconv.Quote(BlobSHA1(content)))
		http.Redirect(w, r, "/api/resolve-cache/"+name+"/"+commit+"/"+path, http.StatusTemporaryRedirect)
		return
	}
	w.Header().Set("X-Linked-Etag", strconv.Quote(sha256Of(content)))
	w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
	storage := h.storage.URL
	if strings.HasPrefix(r.Host, hubName+":") {
		storage = "http://" + storageName + h.URL[strings.LastIndex(h.URL, ":"):]
	}
	http.Redirect(w, r, storage+"/"+name+"/"+sha256Of(content)+"?Expires="+strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)+"&Signature=secret", http.StatusFound)
}

// serveStorage answers at the other host. A request needs the signature of the address, and no token. Pages of other sites may read
// the file, but no headers beside its length, and a browser that asks beforehand whether it may send a request hears no.
func (h *Hub) serveStorage(w http.ResponseWriter, r *http.Request) {
	f := h.note(r, true)
	if f.early(w, r) {
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		http.Error(w, "method not allowed", http.StatusForbidden)
		return
	}
	if r.Header.Get("Authorization") != "" || r.URL.Query().Get("Signature") != "secret" {
		http.Error(w, "only one kind of authorization is allowed", http.StatusBadRequest)
		return
	}
	wanted := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if content := h.bySum(wanted); content != nil {
		w.Header().Set("ETag", strconv.Quote(wanted[:32]))
		send(w, r, f, content)
		return
	}
	http.NotFound(w, r)
}

// bySum is the content of a large file, by its checksum.
func (h *Hub) bySum(sum string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, repo := range h.repos {
		for _, files := range repo.commits {
			for path, content := range files {
				if isLarge(path) && sha256Of(content) == sum {
					return content
				}
			}
		}
	}
	return nil
}

// send sends a file or a range of it, with what goes wrong.
func send(w http.ResponseWriter, r *http.Request, f *Fault, content []byte) {
	if f == nil {
		f = &Fault{}
	}
	if f.Longer {
		w.Header().Set("Transfer-Encoding", "chunked")
		w.Write(content)
		w.(http.Flusher).Flush()
		w.Write([]byte("more"))
		return
	}
	if f.NoRange {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	if f.Shift {
		r = r.Clone(r.Context())
		r.Header.Set("Range", "bytes=1-")
	}
	if f.Flip {
		content = bytes.Clone(content)
		content[0] ^= 1
	}
	if f.Cut > 0 || f.Stall > 0 {
		w = &failing{ResponseWriter: w, fault: f, done: r.Context().Done()}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// failing is an answer that ends too early.
type failing struct {
	http.ResponseWriter
	fault *Fault
	sent  int
	done  <-chan struct{}
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p[:min(len(p), max(f.fault.Cut, f.fault.Stall)-f.sent)])
	if f.sent += n; f.sent >= max(f.fault.Cut, f.fault.Stall) {
		f.ResponseWriter.(http.Flusher).Flush()
		if f.fault.Stall > 0 {
			<-f.done
		}
		panic(http.ErrAbortHandler)
	}
	return n, err
}
