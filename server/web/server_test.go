package web

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"llamatab/server/servertest"
)

// serving serves a handler with short deadlines and returns its address and its gate, whose bounds change can lower.
func serving(t *testing.T, h http.Handler, change ...func(*Gate)) (string, *Gate) {
	t.Helper()
	gate := NewGate(300 * time.Millisecond)
	for _, f := range change {
		f(gate)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := gate.Server(h)
	go server.Serve(gate.Limit(l))
	t.Cleanup(func() { server.Close() })
	return l.Addr().String(), gate
}

// TestStalledClients: a client that stops in the middle of a request or of an answer is let go, and one that is slow is not.
func TestStalledClients(t *testing.T) {
	ended := make(chan error, 1)
	address, gate := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			_, err = w.Write(make([]byte, 64<<20))
		}
		ended <- err
	}))
	begin := func(head string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, head)
		return c
	}
	wait := func(what string) error {
		t.Helper()
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the request does not end", what)
			return nil
		}
	}
	begin("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
	if err := wait("half a body"); err == nil {
		t.Error("half a body was taken for all of it")
	}
	begin("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := wait("an answer that nobody reads"); err == nil {
		t.Error("64 MiB were written to a client that reads nothing")
	}
	if n := gate.Refused()[tooSlow]; n != 2 {
		t.Errorf("%d requests are counted as stalled, want 2", n)
	}
	c := begin("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	for range 10 { // it takes longer in all than a part may
		time.Sleep(100 * time.Millisecond)
		io.WriteString(c, "x")
	}
	if err := wait("a slow body"); err != nil {
		t.Errorf("a body that comes slowly: %v", err)
	}
}

// TestConnectionLimits: one address holds no more than its share.
func TestConnectionLimits(t *testing.T) {
	address, gate := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), func(g *Gate) { g.each.conns = 5 })
	get := func(c net.Conn) bool {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	var conns []net.Conn
	served := 0
	for range 12 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if get(c) {
			served++
			conns = append(conns, c)
		}
	}
	if served != 5 {
		t.Errorf("%d connections of one address are served, want 5", served)
	}
	if n := gate.Refused()[tooManyConns]; n != 7 {
		t.Errorf("%d connections are counted as refused, want 7", n)
	}
	conns[0].Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if get(c) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no connection is served after one was closed")
		}
	}
}

// TestMemoryBudget: requests of a source hold its share of the memory and no more, and what they held is free after them.
func TestMemoryBudget(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 10)
	address, gate := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-release
	}), func(g *Gate) { g.each.bytes = 3*requestCost + 10*connCost })
	status := make(chan int, 10)
	get := func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + address)
		if err != nil {
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}
	for range 3 {
		go get()
		<-begun
	}
	for n := 4; n <= 10; n++ { // idle connections count as well
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for end := time.Now().Add(time.Minute); gate.Use().Connections < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d connections of %d are counted", gate.Use().Connections, n)
			}
		}
	}
	if use := gate.Use(); use.Requests != 3 || use.Bytes != 3*requestCost+int64(use.Connections)*connCost {
		t.Errorf("in use: %+v", use)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:1"
	gate.Server(http.NotFoundHandler()).Handler.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || gate.Refused()[tooMuchHeld] != 1 {
		t.Errorf("a request beyond the memory: %d, counted %v", w.Code, gate.Refused())
	}
	r.RemoteAddr = "192.168.1.7:1"
	w = httptest.NewRecorder()
	if gate.Server(http.NotFoundHandler()).Handler.ServeHTTP(w, r); w.Code != http.StatusNotFound {
		t.Errorf("another source is answered with %d", w.Code)
	}
	close(release)
	for range 3 {
		if code := <-status; code != http.StatusOK {
			t.Errorf("a request within the memory: %d", code)
		}
	}
	for end := time.Now().Add(time.Minute); gate.Use().Requests > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after all requests: %+v", gate.Use())
		}
	}
}

// TestUnpackedOnce: answers without compression share the unpacked bytes.
func TestUnpackedOnce(t *testing.T) {
	page := &Assets{os.DirFS(servertest.StandIn(t))}
	get := func() []byte {
		r := httptest.NewRequest("GET", "/", nil)
		w := &sharing{header: http.Header{}}
		page.ServeHTTP(w, r)
		if w.status != 0 && w.status != http.StatusOK || len(w.body) == 0 {
			t.Fatalf("%d, %d bytes", w.status, len(w.body))
		}
		return w.body
	}
	first := get()
	if again := get(); &first[0] != &again[0] || !bytes.Equal(first, again) {
		t.Error("a second answer has bytes of its own")
	}
}

// sharing is a http.ResponseWriter that keeps the very bytes that it is given.
type sharing struct {
	header http.Header
	status int
	body   []byte
}

func (s *sharing) Header() http.Header         { return s.header }
func (s *sharing) WriteHeader(status int)      { s.status = status }
func (s *sharing) Write(p []byte) (int, error) { s.body = p; return len(p), nil }
