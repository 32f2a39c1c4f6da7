//go:build soak && linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llamatab/server/servertest"
)

var siegeLasts = flag.Duration("siege", 10*time.Minute, "how long TestSiege attacks the server")

// siegeMemory is the resident memory, in bytes, that a server under attack may hold.
const siegeMemory = 300_000_000

// siege is a running `serve --lan` and the hosts that attack it, which are addresses of the loopback network.
type siege struct {
	*testing.T
	address string // host:port
	pid     int
	asset   string // a large file of the page
	ctx     context.Context
}

// TestSiege attacks `serve --lan` in three ways at once: 1,000 clients ask for the engine unpacked and read nothing,
// connections of HTTP/2 reset each of their requests at once, and others guess codes and tokens. Thirty pupils with the right
// code join all the same, honest requests are answered, and the server's memory stays bounded.
func TestSiege(t *testing.T) {
	s := startSiege(t)
	var attack sync.WaitGroup
	ctx, stop := context.WithTimeout(t.Context(), *siegeLasts)
	defer stop()
	s.ctx = ctx
	for i := range 1000 {
		attack.Go(func() { s.keep(func() error { return s.neverRead(host(1, i%100)) }) })
	}
	var resets, guesses atomic.Int64
	for i := range 4 {
		attack.Go(func() { s.keep(func() error { return s.resetStreams(host(2, i), &resets) }) })
	}
	for i := range 8 {
		attack.Go(func() { s.guess(host(3, i), &guesses) })
	}
	time.Sleep(min(30*time.Second, *siegeLasts/4)) // until the attack stands
	joined := s.join(30)
	latency, failed := s.honest()
	attack.Wait()
	peak := s.memory("VmHWM")
	slices.Sort(latency)
	t.Logf("%v: peak memory %d MB, now %d MB; %d streams reset, %d codes and tokens guessed; %d of 30 joined in %v at most; of %d honest requests %d failed, the median took %v, the 99th percentile %v, the longest %v",
		*siegeLasts, peak/1e6, s.memory("VmRSS")/1e6, resets.Load(), guesses.Load(), len(joined), slices.Max(append(joined, 0)), len(latency)+failed, failed,
		latency[len(latency)/2], latency[len(latency)*99/100], latency[len(latency)-1])
	if peak > siegeMemory {
		t.Errorf("the server held %d MB", peak/1e6)
	}
	if failed > 0 || len(joined) != 30 {
		t.Errorf("%d honest requests failed, %d of 30 pupils joined", failed, len(joined))
	}
	if resets.Load() < 10_000 || guesses.Load() < 100 {
		t.Errorf("only %d streams were reset, and %d codes guessed", resets.Load(), guesses.Load())
	}
}

// host is an address of the loopback network.
func host(net, i int) string { return fmt.Sprintf("127.1.%d.%d", net, i+1) }

// startSiege starts the server with an open room.
func startSiege(t *testing.T) *siege {
	c := exec.Command(servertest.Binary(t), "serve", "--lan", "--listen", "127.0.0.1:0", "--state", t.TempDir(), "--room-code", "pine-owl")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	s := &siege{T: t, pid: c.Process.Pid, asset: "/llamatab.wasm", ctx: t.Context()}
	lines := bufio.NewScanner(out)
	for s.address == "" && lines.Scan() {
		_, url, _ := strings.Cut(lines.Text(), "llamatab is ready: open https://")
		s.address = strings.TrimSuffix(url, "/")
	}
	go io.Copy(io.Discard, out)
	const room = `{"id": "lesson", "config": {"run": {"job": {"model": "builtin:tales", "dataset": {"path": "builtin:pirate", "max_length": 64},
		"peft": {"peft_type": "LORA"}, "training": {"max_steps": 3}, "fsdp": {"sharding_strategy": "NO_SHARD", "slots": 4}}}}}`
	if status, body, err := s.post("127.0.0.1", "/api/rooms", room); err != nil || status != http.StatusCreated {
		t.Fatalf("opening a room: %d %s %v", status, body, err)
	}
	return s
}

// dial connects from a host, by TLS with the protocols.
func (s *siege) dial(from string, protocols ...string) (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, Config: &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}}
	c, err := d.DialContext(s.ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// keep repeats an attack until the siege ends.
func (s *siege) keep(attack func() error) {
	for s.ctx.Err() == nil {
		if err := attack(); err != nil {
			select {
			case <-s.ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// neverRead asks for a large file unpacked and reads nothing of it, until the server ends the connection.
func (s *siege) neverRead(from string) error {
	c, err := s.dial(from)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(s.ctx, func() { c.Close() })()
	c.NetConn().(*net.TCPConn).SetReadBuffer(4096)
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: identity\r\n\r\n", s.asset, s.address); err != nil {
		return err
	}
	for s.ctx.Err() == nil { // writing notices the end of the connection
		time.Sleep(time.Second)
		if _, err := io.WriteString(c, "\r\n"); err != nil {
			return err
		}
	}
	return nil
}

// resetStreams sends requests of HTTP/2 and resets each at once (RFC 9113), until the server ends the connection.
func (s *siege) resetStreams(from string, count *atomic.Int64) error {
	c, err := s.dial(from, "h2")
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(s.ctx, func() { c.Close() })()
	go io.Copy(io.Discard, c)
	const settings, headers, reset = 4, 1, 3
	frame := func(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
		n := len(payload)
		b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
		return append(binary.BigEndian.AppendUint32(b, stream), payload...)
	}
	// HPACK: GET and https from the static table, path and authority as literals.
	request := []byte{0x82, 0x87, 0x04, byte(len(s.asset))}
	request = append(request, s.asset...)
	request = append(append(request, 0x01, byte(len(s.address))), s.address...)
	if _, err := c.Write(frame([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings, 0, 0, nil)); err != nil {
		return err
	}
	for stream := uint32(1); s.ctx.Err() == nil && stream < 1<<30; {
		var burst []byte
		for range 50 {
			burst = frame(burst, headers, 0x5, stream, request) // the end of the headers and of the stream
			burst = frame(burst, reset, 0, stream, []byte{0, 0, 0, 8})
			stream += 2
		}
		if _, err := c.Write(burst); err != nil {
			return err
		}
		count.Add(50)
	}
	return nil
}

// guess sends wrong codes and wrong tokens of seats as fast as it is answered.
func (s *siege) guess(from string, count *atomic.Int64) {
	for i := 0; s.ctx.Err() == nil; i++ {
		body := fmt.Sprintf(`{"code": "wrong-%d", "name": "x"}`, i)
		if i%2 == 1 {
			body = fmt.Sprintf(`{"id": "lesson", "tab": %d, "token": "wrong%d", "name": "x"}`, 1+i%30, i)
		}
		if status, answer, err := s.post(from, "/api/rooms/join", body); err == nil {
			count.Add(1)
			if status == http.StatusOK || status == http.StatusCreated {
				s.Errorf("%s let it in: %s", body, answer)
				return
			}
		}
	}
}

// join lets pupils in one after another, each from a host of its own, and returns how long each took.
func (s *siege) join(pupils int) (took []time.Duration) {
	for i := range pupils {
		began := time.Now()
		status, body, err := s.post(host(4, i), "/api/rooms/join", fmt.Sprintf(`{"code": "pine-owl", "name": "pupil %d"}`, i))
		var seat struct{ Token string }
		if err != nil || status >= 300 || json.Unmarshal([]byte(body), &seat) != nil || seat.Token == "" {
			s.Errorf("pupil %d: %d %s %v", i, status, body, err)
			continue
		}
		took = append(took, time.Since(began))
	}
	return took
}

// honest asks for the page and for the list of rooms until the siege ends, and returns how long each answer took.
func (s *siege) honest() (took []time.Duration, failed int) {
	for i := 0; s.ctx.Err() == nil; i++ {
		began := time.Now()
		path := []string{"/", "/api/rooms"}[i%2]
		status, body, err := s.ask(host(5, 0), http.MethodGet, path, "")
		if s.ctx.Err() != nil {
			break
		}
		if err != nil || status != http.StatusOK {
			s.Logf("%s: %d %.100s %v", path, status, body, err)
			failed++
		} else {
			took = append(took, time.Since(began))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return took, failed
}

func (s *siege) post(from, path, body string) (int, string, error) {
	return s.ask(from, http.MethodPost, path, body)
}

// ask makes one request from a host, over a connection of its own.
func (s *siege) ask(from, method, path, body string) (status int, answer string, err error) {
	t := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return s.dial(from) }, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(s.ctx, method, "https://"+s.address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: t, Timeout: 30 * time.Second}).Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return res.StatusCode, string(all), err
}

// memory is a figure of the server's process in bytes: VmRSS now, VmHWM at most.
func (s *siege) memory(name string) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		s.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			kB, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			if err != nil {
				s.Fatal(err)
			}
			return kB * 1024
		}
	}
	s.Fatalf("no %s in\n%s", name, data)
	return 0
}
