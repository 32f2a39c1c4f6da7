package web

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Guard refuses requests under names other than localhost and its own, as a page of another site would make them by
// letting its name point here (DNS rebinding). Addresses in figures are nobody's name.
func Guard(own []string, h http.Handler) http.Handler {
	return secured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// contentPolicy lets the page run its own scripts and wasm, talk to its own server, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
	"style-src 'self'; img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secured adds the headers of every answer: the policy, and cross-origin isolation, which gives finer timers.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy":      contentPolicy,
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
