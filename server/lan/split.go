package lan

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// peekWithin is how long a new connection may take to send its first byte.
const peekWithin = 5 * time.Second

// Split divides the connections of one port into TLS and plain HTTP by their first byte, which is 22 for TLS. It accepts
// connections until l is closed.
func Split(l net.Listener) (secure, plain net.Listener) {
	s, p := newSide(l), newSide(l)
	go func() {
		defer s.Close()
		defer p.Close()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				const handshake = 22
				r := bufio.NewReaderSize(c, 1)
				c.SetReadDeadline(time.Now().Add(peekWithin))
				b, err := r.Peek(1)
				c.SetReadDeadline(time.Time{})
				to := p
				switch {
				case err != nil:
					c.Close()
					return
				case b[0] == handshake:
					to = s
				}
				select {
				case to.conns <- &peeked{c, r}:
				case <-to.closed:
					c.Close()
				}
			}()
		}
	}()
	return s, p
}

// peeked is a connection whose first byte has been read ahead.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// side is one of the two listeners that Split returns.
type side struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newSide(l net.Listener) *side {
	return &side{Listener: l, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (s *side) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *side) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}
