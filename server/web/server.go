package web

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Deadlines that protect a server from clients that keep connections without using them.
const (
	headerWithin = 10 * time.Second
	idleWithin   = 2 * time.Minute // between two requests of a connection
)

// How long a client may take for a part of a body, in either direction; a body may have any number of parts.
const (
	// OfPeople is for browsers on other machines.
	OfPeople = 30 * time.Second
	// OfJobs is for the headless browser of a job, whose tab may compute for minutes between two parts.
	OfJobs = 10 * time.Minute
)

// maxHeader bounds the bytes of a request's headers.
const maxHeader = 64 << 10

// part is how many bytes of an answer have a deadline of their own.
const part = 64 << 10

// Gate bounds what the clients of a server hold at the same time: connections, requests, and the memory of both. Each bound
// holds in all and for a source, which is an IPv4 address or an IPv6 network of 64 bits, so that one source cannot use up what
// others need. What is beyond a bound is refused and counted by the name of the bound.
type Gate struct {
	within time.Duration // for a part of a body
	most   bounds
	each   bounds // of one source

	mu      sync.Mutex
	all     held
	source  map[netip.Addr]*held
	refused map[string]int64
}

type bounds struct {
	conns int
	bytes int64
}

// held is what clients hold.
type held struct{ conns, requests int }

// Memory that a connection and a request are taken to hold at most: buffers, TLS or HTTP/2 state, stacks, and the part of an
// answer that is being sent.
const (
	connCost    = 48 << 10
	requestCost = 96 << 10
)

func (h held) bytes() int64 { return int64(h.conns)*connCost + int64(h.requests)*requestCost }

// Names of the bounds, under which refusals are counted.
const (
	tooManyConns = "connections"
	tooMuchHeld  = "memory"
	tooSlow      = "stalled"
)

// NewGate makes a gate with the bounds of a server. within is OfPeople or OfJobs.
func NewGate(within time.Duration) *Gate {
	return &Gate{within: within, most: bounds{4096, 256 << 20}, each: bounds{1024, 64 << 20}, source: map[netip.Addr]*held{}, refused: map[string]int64{}}
}

// Use is what the clients of a server hold.
type Use struct {
	Connections, Requests int
	Bytes                 int64 // of memory, estimated
}

// Use tells what clients hold now.
func (g *Gate) Use() Use {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Use{g.all.conns, g.all.requests, g.all.bytes()}
}

// Refused counts what was refused or ended, by the bound.
func (g *Gate) Refused() map[string]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts := map[string]int64{tooManyConns: 0, tooMuchHeld: 0, tooSlow: 0}
	for name, n := range g.refused {
		counts[name] = n
	}
	return counts
}

func (g *Gate) count(bound string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused[bound]++
}

// enter adds to what a source holds. It reports false, and adds nothing, where that is beyond a bound.
func (g *Gate) enter(source netip.Addr, add held) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.source[source]
	if own == nil {
		own = &held{}
	}
	all, each := g.all.plus(add), own.plus(add)
	switch {
	case add.conns > 0 && (all.conns > g.most.conns || each.conns > g.each.conns):
		g.refused[tooManyConns]++
		return false
	case all.bytes() > g.most.bytes || each.bytes() > g.each.bytes:
		g.refused[tooMuchHeld]++
		return false
	}
	*own = each
	g.all, g.source[source] = all, own
	return true
}

func (g *Gate) leave(source netip.Addr, what held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	less := held{-what.conns, -what.requests}
	g.all = g.all.plus(less)
	if own := g.source[source]; own.plus(less) == (held{}) {
		delete(g.source, source)
	} else {
		*own = own.plus(less)
	}
}

func (h held) plus(o held) held { return held{h.conns + o.conns, h.requests + o.requests} }

// Server makes an HTTP server that ends a request whose client neither sends nor takes bytes for a while, and refuses requests
// beyond the bounds. Sockets that a handler takes over have no deadline.
func (g *Gate) Server(h http.Handler) *http.Server {
	return &http.Server{Handler: g.guarded(h), ReadHeaderTimeout: headerWithin, IdleTimeout: idleWithin, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100, MaxReceiveBufferPerStream: 256 << 10}}
}

func (g *Gate) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source := sourceOf(r.RemoteAddr)
		if !g.enter(source, held{requests: 1}) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the server has too many requests: wait a little", http.StatusServiceUnavailable)
			return
		}
		defer g.leave(source, held{requests: 1})
		conn := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &steadyBody{r.Body, conn, g}
		}
		if r.Context().Err() != nil { // the client has reset the stream already
			return
		}
		h.ServeHTTP(&steadyWriter{w, conn, g}, r)
		if r.ProtoMajor == 1 { // what the server itself reads and writes at the end of the request
			conn.SetReadDeadline(time.Now().Add(g.within))
			conn.SetWriteDeadline(time.Now().Add(g.within))
			return
		}
		// A deadline of HTTP/2 that is set after the client has reset its stream would hold the stream's memory until it is
		// over. So none is left: what the server still buffers is sent under one, and then there is nothing to wait for.
		conn.SetWriteDeadline(time.Now().Add(g.within))
		conn.Flush()
		conn.SetWriteDeadline(time.Time{})
		conn.SetReadDeadline(time.Time{})
	})
}

// ended counts an error that says that the client was too slow.
func (g *Gate) ended(err error) {
	if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() {
		g.count(tooSlow)
	}
}

// steadyBody gives each read of a request's body a deadline.
type steadyBody struct {
	io.ReadCloser
	conn *http.ResponseController
	gate *Gate
}

func (b *steadyBody) Read(p []byte) (int, error) {
	b.conn.SetReadDeadline(time.Now().Add(b.gate.within)) // an error means that there are no deadlines here: in tests
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.gate.ended(err)
		b.conn.SetReadDeadline(time.Time{}) // the server reads on in the background, to notice that the client is gone
	}
	return n, err
}

// steadyWriter gives each part of an answer a deadline.
type steadyWriter struct {
	http.ResponseWriter
	conn *http.ResponseController
	gate *Gate
}

// Unwrap lets a http.ResponseController reach the connection, for sockets.
func (w *steadyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *steadyWriter) Write(p []byte) (n int, err error) {
	for {
		w.conn.SetWriteDeadline(time.Now().Add(w.gate.within))
		k, err := w.ResponseWriter.Write(p[:min(part, len(p))])
		n, p = n+k, p[k:]
		if err != nil || len(p) == 0 {
			if err != nil {
				w.gate.ended(err)
			}
			return n, err
		}
	}
}

// Limit bounds the connections of a listener: those beyond the gate's bounds are closed at once.
func (g *Gate) Limit(l net.Listener) net.Listener { return &limited{l, g} }

type limited struct {
	net.Listener
	gate *Gate
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if source := sourceOf(c.RemoteAddr().String()); l.gate.enter(source, held{conns: 1}) {
			return &counted{Conn: c, end: sync.OnceFunc(func() { l.gate.leave(source, held{conns: 1}) })}, nil
		}
		c.Close()
	}
}

// sourceOf is the address of a client; of an IPv6 address the network of 64 bits.
func sourceOf(address string) netip.Addr {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	ip := at.Addr().Unmap().WithZone("")
	if network, err := ip.Prefix(64); ip.Is6() && err == nil {
		return network.Addr()
	}
	return ip
}

// counted is a connection that counts as open until it is closed.
type counted struct {
	net.Conn
	end func()
}

func (c *counted) Close() error {
	c.end()
	return c.Conn.Close()
}
