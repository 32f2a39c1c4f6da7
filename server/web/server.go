package web

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Deadlines and counts that protect a server from clients that keep connections without using them.
var (
	headerWithin   = 10 * time.Second
	idleWithin     = 2 * time.Minute  // between two requests of a connection
	progressWithin = 30 * time.Second // for a part of a body, in either direction; a body may have any number of parts
	mostConns      = 4096
	mostPerSource  = 1024 // connections of one address
)

// maxHeader bounds the bytes of a request's headers.
const maxHeader = 64 << 10

// part is how many bytes of an answer have a deadline of their own.
const part = 64 << 10

// NewServer makes an HTTP server that ends a request whose client neither sends nor takes bytes for a while. Sockets that a
// handler takes over have no deadline.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{Handler: withDeadlines(h), ReadHeaderTimeout: headerWithin, IdleTimeout: idleWithin, MaxHeaderBytes: maxHeader}
}

func withDeadlines(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &steadyBody{r.Body, conn}
		}
		h.ServeHTTP(&steadyWriter{w, conn}, r)
		if r.ProtoMajor == 1 { // what the server itself reads and writes at the end of the request
			conn.SetReadDeadline(time.Now().Add(progressWithin))
			conn.SetWriteDeadline(time.Now().Add(progressWithin))
		}
	})
}

// steadyBody gives each read of a request's body a deadline.
type steadyBody struct {
	io.ReadCloser
	conn *http.ResponseController
}

func (b *steadyBody) Read(p []byte) (int, error) {
	b.conn.SetReadDeadline(time.Now().Add(progressWithin)) // an error means that there are no deadlines here: in tests
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.conn.SetReadDeadline(time.Time{}) // the server reads on in the background, to notice that the client is gone
	}
	return n, err
}

// steadyWriter gives each part of an answer a deadline.
type steadyWriter struct {
	http.ResponseWriter
	conn *http.ResponseController
}

// Unwrap lets a http.ResponseController reach the connection, for sockets.
func (w *steadyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *steadyWriter) Write(p []byte) (n int, err error) {
	for {
		w.conn.SetWriteDeadline(time.Now().Add(progressWithin))
		k, err := w.ResponseWriter.Write(p[:min(part, len(p))])
		n, p = n+k, p[k:]
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// Limit bounds the connections of a listener, in all and by address: those beyond are closed at once.
func Limit(l net.Listener) net.Listener {
	return &limited{Listener: l, open: map[netip.Addr]int{}}
}

type limited struct {
	net.Listener
	mu   sync.Mutex
	all  int
	open map[netip.Addr]int
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(c)
		l.mu.Lock()
		fits := l.all < mostConns && l.open[source] < mostPerSource
		if fits {
			l.all++
			l.open[source]++
		}
		l.mu.Unlock()
		if fits {
			return &counted{Conn: c, end: sync.OnceFunc(func() { l.closed(source) })}, nil
		}
		c.Close()
	}
}

func (l *limited) closed(source netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[source]--; l.open[source] == 0 {
		delete(l.open, source)
	}
}

// sourceOf is the address of a connection's client; of an IPv6 address the network of 64 bits.
func sourceOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
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
