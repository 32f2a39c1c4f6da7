package room

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// bucket is a token bucket.
type bucket struct {
	level float64
	last  time.Time
}

// rate is how many tokens a bucket gains a second, and how many it holds.
type rate struct{ perSecond, burst float64 }

// allow takes one token out of the bucket, false if there is none.
func (b *bucket) allow(now time.Time, r rate) bool {
	if b.last.IsZero() {
		b.level = r.burst
	} else {
		b.level = min(r.burst, b.level+r.perSecond*now.Sub(b.last).Seconds())
	}
	b.last = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

// Rates and counts that protect a server. A source is an IPv4 address or an IPv6 network of 64 bits: what one source does uses up
// only its own share, except for wrong codes, of which a source can use up less than a tenth of what all may.
var (
	handshakes   = rate{20, 80}    // sockets of one kind that a source opens
	wrongCodes   = rate{0.1, 5}    // of a source
	allCodes     = rate{1, 50}     // wrong codes of all sources together
	controlRate  = rate{500, 2000} // control frames of a socket
	maxSockets   = 2048
	maxPerSource = 512  // sockets of a source
	maxUnknown   = 64   // sockets of a source whose first frame has not come
	maxSources   = 4096 // that are remembered
)

// limiter counts by source. A wrong token is refused and counted, and no more: tokens have 256 bits and cannot be guessed, so
// trying them must not use up the tries of codes.
type limiter struct {
	mu      sync.Mutex
	open    int
	sockets map[string]*sourceSockets
	opening map[string]*bucket
	wrong   map[string]*bucket
	all     bucket
	dropped map[string]int64 // by reason
}

func newLimiter() *limiter {
	return &limiter{sockets: map[string]*sourceSockets{}, opening: map[string]*bucket{}, wrong: map[string]*bucket{}, dropped: map[string]int64{}}
}

func of(m map[string]*bucket, key string) *bucket {
	b := m[key]
	if b == nil {
		if len(m) >= maxSources {
			for k, old := range m { // forget full buckets, and any other bucket if none is full
				if time.Since(old.last) > time.Minute || len(m) >= maxSources {
					delete(m, k)
				}
			}
		}
		b = &bucket{}
		m[key] = b
	}
	return b
}

// sourceSockets counts the open sockets of a source.
type sourceSockets struct{ open, unknown int }

// enter counts a new socket, false if there are too many. Each of the two kinds has a rate of its own: if they shared one, many tabs of one
// source that open control sockets could keep each other from opening their data sockets.
func (l *limiter) enter(source string, socket Socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sockets[source]
	if s == nil {
		s = &sourceSockets{}
	}
	if l.open >= maxSockets || s.open >= maxPerSource || s.unknown >= maxUnknown || !of(l.opening, source+" "+socket.String()).allow(time.Now(), handshakes) {
		l.dropped["busy"]++
		return false
	}
	l.sockets[source] = s
	l.open++
	s.open++
	s.unknown++
	return true
}

// known notes that the first frame of a socket has said which tab it belongs to.
func (l *limiter) known(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets[source].unknown--
}

// leave counts a socket that has ended; known tells whether its tab was known.
func (l *limiter) leave(source string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sockets[source]
	l.open--
	s.open--
	if !known {
		s.unknown--
	}
	if s.open == 0 {
		delete(l.sockets, source)
	}
}

// mayGuess reports whether a source may try a code; guessed counts a wrong one.
func (l *limiter) mayGuess(source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, now := *of(l.wrong, source), time.Now()
	all := l.all
	return a.allow(now, wrongCodes) && all.allow(now, allCodes)
}

func (l *limiter) guessed(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of(l.wrong, source).allow(time.Now(), wrongCodes)
	l.all.allow(time.Now(), allCodes)
}

// drop counts a socket that was ended for a reason.
func (l *limiter) drop(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped[reason]++
}

// counts is how many sockets and requests were refused or ended, by reason.
func (l *limiter) counts() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := map[string]int64{}
	for k, v := range l.dropped {
		m[k] = v
	}
	return m
}

// addressOf is the IP address that a request comes from.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// sourceOf is the source that a request counts for. A machine has as many IPv6 addresses as it likes in its network.
func sourceOf(r *http.Request) string {
	address := addressOf(r)
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}
