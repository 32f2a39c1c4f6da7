package room

import (
	"net"
	"net/http"
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

// Rates and counts that protect a server.
var (
	handshakes   = rate{20, 80}    // sockets of one lane that an address opens
	wrongCodes   = rate{0.1, 5}    // of an address
	allCodes     = rate{1, 50}     // wrong codes of all addresses together
	controlRate  = rate{500, 2000} // control frames of a socket
	maxSockets   = 2048
	maxAddresses = 4096 // that are remembered
)

// limiter counts by address.
type limiter struct {
	mu      sync.Mutex
	open    int
	opening map[string]*bucket
	wrong   map[string]*bucket
	all     bucket
	dropped map[string]int64 // by reason
}

func newLimiter() *limiter {
	return &limiter{opening: map[string]*bucket{}, wrong: map[string]*bucket{}, dropped: map[string]int64{}}
}

func of(m map[string]*bucket, key string) *bucket {
	b := m[key]
	if b == nil {
		if len(m) >= maxAddresses {
			for k, old := range m { // forget full buckets, and any other bucket if none is full
				if time.Since(old.last) > time.Minute || len(m) >= maxAddresses {
					delete(m, k)
				}
			}
		}
		b = &bucket{}
		m[key] = b
	}
	return b
}

// enter counts a new socket, false if there are too many. Each lane has a rate of its own: if they shared one, many tabs of one
// address that open control sockets could keep each other from opening their data sockets.
func (l *limiter) enter(address string, lane Lane) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= maxSockets || !of(l.opening, address+" "+lane.String()).allow(time.Now(), handshakes) {
		l.dropped["busy"]++
		return false
	}
	l.open++
	return true
}

func (l *limiter) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// mayGuess tells whether an address may try a code at all; guessed counts a wrong one.
func (l *limiter) mayGuess(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, now := *of(l.wrong, address), time.Now()
	all := l.all
	return a.allow(now, wrongCodes) && all.allow(now, allCodes)
}

func (l *limiter) guessed(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of(l.wrong, address).allow(time.Now(), wrongCodes)
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
