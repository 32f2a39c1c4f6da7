package lan

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAuthority(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenAuthority(dir)
	if err != nil || again.Fingerprint() != a.Fingerprint() {
		t.Fatalf("opened again it is another one: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	verify := func(names []string, addresses []net.IP, host string) error {
		leaf, err := a.Leaf(names, addresses)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(leaf.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		return err
	}
	lan := net.IPv4(192, 168, 7, 9)
	if err := verify([]string{"localhost"}, []net.IP{lan}, "192.168.7.9"); err != nil {
		t.Error(err)
	}
	if err := verify([]string{"room.local"}, nil, "room.local"); err != nil {
		t.Error(err)
	}
	for _, foreign := range []string{"bank.example", "example.com"} {
		if verify([]string{foreign}, nil, foreign) == nil {
			t.Errorf("the authority vouches for %s", foreign)
		}
	}
	if verify([]string{"localhost"}, []net.IP{net.IPv4(8, 8, 8, 8)}, "8.8.8.8") == nil {
		t.Error("the authority vouches for a public address")
	}
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir); err == nil || !strings.Contains(err.Error(), "remove both") {
		t.Errorf("a damaged key: %v", err)
	}
}

// TestSplit fetches the authority over plain HTTP, trusts it, and reaches the page over TLS on the same port.
func TestSplit(t *testing.T) {
	a, err := OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Leaf(Names())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, plain := Split(l)
	page := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the page") }),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{leaf}}}
	help := &http.Server{Handler: a.Help()}
	go page.ServeTLS(secure, "", "")
	go help.Serve(plain)
	defer page.Close()
	defer help.Close()
	get := func(c *http.Client, url string) string {
		t.Helper()
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return string(b)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	text := get(client, "http://"+l.Addr().String()+"/any/path")
	if !strings.Contains(text, a.Fingerprint()) || !strings.Contains(text, "https://"+l.Addr().String()+"/") {
		t.Errorf("the help page: %s", text)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(get(client, "http://"+l.Addr().String()+"/ca.crt"))) {
		t.Fatal("no certificate is handed out")
	}
	trusting := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	if got := get(trusting, "https://"+l.Addr().String()+"/"); got != "the page" {
		t.Errorf("by TLS: %q", got)
	}
	if _, err := client.Get("https://" + l.Addr().String() + "/"); err == nil {
		t.Error("a client that does not trust the authority is satisfied")
	}
}
