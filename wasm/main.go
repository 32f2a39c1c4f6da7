//go:build js

// Command wasm is the program of the browser. One binary serves both sides: where there is a document it is the page,
// elsewhere it is the engine in its worker.
package main

import (
	"syscall/js"

	"llamatab/ui"
)

func main() {
	if js.Global().Get("document").IsUndefined() {
		engine()
		return
	}
	ui.Main()
}
