// Package e2e holds tests of the whole program. They run bin/llamatab, so `make build` comes first, and use its commands or,
// in a headless Chromium, its page. Runs of the command line, which wait for a browser to start most of the time, run in parallel.
// The tests of the page and of rooms run one after another.
package e2e
