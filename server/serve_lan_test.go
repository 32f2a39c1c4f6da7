package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestServeLAN trusts the server's certificate, and opens the page and a room over TLS.
func TestServeLAN(t *testing.T) {
	c, _ := program(t, "serve", "--lan", "--listen", "127.0.0.1:0", "--state", t.TempDir(), "--room-code", "pine-owl")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	address, fingerprint := "", ""
	for lines := bufio.NewScanner(out); address == "" && lines.Scan(); {
		_, print, ok := strings.Cut(lines.Text(), "SHA-256 of the certificate: ")
		if ok {
			fingerprint = print
		}
		_, address, _ = strings.Cut(lines.Text(), "llamatab is ready: open https://")
	}
	get := func(client *http.Client, url string) string {
		t.Helper()
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if help := get(http.DefaultClient, "http://"+address); fingerprint == "" || !strings.Contains(help, fingerprint) {
		t.Errorf("the page of help does not show the fingerprint %q", fingerprint)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(get(http.DefaultClient, "http://"+address+"ca.crt")))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	if page := get(client, "https://"+address); !strings.Contains(page, "<!doctype html>") {
		t.Errorf("by TLS comes %.100q", page)
	}
	const room = `{"id": "lesson", "config": {"max_tabs": 3, "run": {"id": "r", "strategy": "NO_SHARD", "wrap": "none", "slots": 1, "steps": 1,
		"reduce_dtype": "float32", "param_dtype": "float32", "params": [{"name": "p", "shape": [4], "unit": "u"}]}}}`
	res, err := client.Post("https://"+address+"api/rooms", "application/json", strings.NewReader(room))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusCreated || !strings.Contains(string(body), `"code":"pine-owl"`) {
		t.Errorf("opening a room: %d %s", res.StatusCode, body)
	}
	if rooms := get(client, "https://"+address+"api/rooms"); !strings.Contains(rooms, `"id":"lesson"`) || strings.Contains(rooms, "pine-owl") {
		t.Errorf("the rooms are %s", rooms)
	}
	c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
