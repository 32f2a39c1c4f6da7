package web

import (
	"encoding/json"
	"io"
	"net/http"
)

// BlankPath is the address of an empty page. Scripts that need a secure context run there.
const BlankPath = "/blank"

// Blank answers the empty page.
func Blank(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", contentTypes[".html"])
	io.WriteString(w, "<!doctype html><title>llamatab</title><link rel=\"icon\" href=\"data:,\">\n")
}

// jobPage is the page of a headless job. Its script is wasm/engine/job.js.
const jobPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>llamatab job</title><link rel="icon" href="data:,"><script type="module" src="/job.js"></script></html>
`

// JobPage answers the page of a headless job.
func JobPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", contentTypes[".html"])
	io.WriteString(w, jobPage)
}

// WriteJSON answers a value as JSON that no cache keeps.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}
