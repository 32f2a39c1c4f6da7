package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"llamatab/server/headless"
)

// adapterLimit bounds the wait for an adapter; some drivers never answer.
const adapterLimit = 15 * time.Second

// blankPath is an empty page: where scripts of the server run that need a page browsers trust.
const blankPath = "/blank"

func blank(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", contentTypes[".html"])
	w.Write([]byte("<!doctype html><title>llamatab</title><link rel=\"icon\" href=\"data:,\">\n"))
}

// adapter is what the browser tells of its WebGPU adapter.
type adapter struct {
	Backend      string             `json:"backend"` // "default" or "swiftshader": how the browser was started
	Vendor       string             `json:"vendor"`
	Architecture string             `json:"architecture"`
	Device       string             `json:"device,omitempty"`
	Description  string             `json:"description,omitempty"`
	Software     bool               `json:"software"`
	Features     []string           `json:"features"`
	Limits       map[string]float64 `json:"limits"`
}

// askAdapter answers the adapter as JSON, or null where there is none or it does not come in time.
const askAdapter = `Promise.race([
	new Promise(resolve => setTimeout(resolve, %d, null)),
	navigator.gpu ? navigator.gpu.requestAdapter({powerPreference: "high-performance"}) : null,
]).then(a => {
	if (!a) return null;
	const limits = {};
	for (const name in a.limits) if (typeof a.limits[name] === "number") limits[name] = a.limits[name];
	const { vendor, architecture, device, description } = a.info;
	return { vendor, architecture, device, description, limits, features: [...a.features].sort(),
		software: a.info.isFallbackAdapter || a.isFallbackAdapter || architecture === "swiftshader" };
})`

// openBrowser starts the browser with the adapter asked for, or else with the GPU where there is one and with the
// software adapter where there is none. page is a page of ours that the browser may use to ask.
func openBrowser(ctx context.Context, flags browserFlags, page string) (*headless.Browser, *adapter, error) {
	if headless.NeedsNoSandbox() {
		fmt.Fprintln(os.Stderr, "running as root: Chromium's sandbox is off")
	}
	backends := []string{"default", "swiftshader"}
	if flags.backend != "" {
		backends = []string{flags.backend}
	}
	for _, backend := range backends {
		browser, found, err := tryBackend(ctx, flags.chrome, backend, page)
		if err != nil {
			return nil, nil, err
		}
		if found != nil && (backend == "swiftshader" || !found.Software || flags.backend != "") {
			return browser, found, nil
		}
		browser.Close()
		if backend == "default" && flags.backend == "" {
			fmt.Fprintln(os.Stderr, "no hardware adapter: using SwiftShader (software)")
		}
	}
	return nil, nil, fmt.Errorf("%w: Chromium offers no WebGPU adapter (--adapter-backend %s): `llamatab doctor` tells more", headless.ErrNoBrowser, backends[len(backends)-1])
}

// tryBackend starts a browser and asks for its adapter, nil where it has none.
func tryBackend(ctx context.Context, chrome, backend, page string) (*headless.Browser, *adapter, error) {
	browser, err := headless.Start(ctx, headless.Options{Chrome: chrome, SwiftShader: backend == "swiftshader"})
	if err != nil {
		return nil, nil, err
	}
	var found *adapter
	err = browser.Open(ctx, page)
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, 2*adapterLimit)
		err = browser.Evaluate(limited, fmt.Sprintf(askAdapter, adapterLimit.Milliseconds()), &found)
		cancel()
	}
	if err != nil {
		browser.Close()
		return nil, nil, err
	}
	if found != nil {
		found.Backend = backend
	}
	return browser, found, nil
}
