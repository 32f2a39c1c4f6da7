//go:build js

// Command page is the program of the page: the user interface. The engine, which trains, is a program of its own
// (wasm/engine) and runs in a worker.
package main

import "llamatab/ui"

func main() { ui.Main() }
