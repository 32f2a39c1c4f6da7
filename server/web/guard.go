package web

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Guard refuses requests whose host is a name other than localhost and the server's own names. It protects against DNS
// rebinding, where another site lets its name point to this address. It also sets the security headers of every answer. connect
// are the origins, besides this server, that the page's scripts may connect to.
func Guard(own, connect []string, h http.Handler) http.Handler {
	return secured(contentPolicy(connect), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		named := slices.ContainsFunc(own, func(name string) bool { return name != "" && strings.EqualFold(name, host) })
		if host != "localhost" && !strings.HasSuffix(host, ".localhost") && !named && net.ParseIP(host) == nil {
			http.Error(w, "this server does not answer under this name", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

// contentPolicy allows the page its own scripts, styles and wasm, and connections to its own server and some other origins.
func contentPolicy(connect []string) string {
	return "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src " + strings.Join(append([]string{"'self'"}, connect...), " ") + "; " +
		"style-src 'self'; img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// secured sets the security headers of every answer. Cross-origin isolation also makes the page's timers finer.
func secured(policy string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy":      policy,
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Embedder-Policy": "require-corp",
			"Cross-Origin-Resource-Policy": "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
		} {
			w.Header().Set(name, value)
		}
		h.ServeHTTP(w, r)
	})
}

// FromHere reports whether a request comes from this machine.
func FromHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
