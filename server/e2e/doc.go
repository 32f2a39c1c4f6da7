// Package e2e holds tests of the whole program. They run bin/llamatab, so `make build` comes first, and use its commands or,
// in a headless Chromium, its page.
package e2e
