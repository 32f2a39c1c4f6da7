package runner

import (
	"context"
	"fmt"
	"os"
	"time"

	"llamatab/server/headless"
)

// adapterLimit bounds the wait for an adapter, as some drivers never answer.
const adapterLimit = 15 * time.Second

// Browser says which browser to start, and with which adapter.
type Browser struct {
	Chrome  string // the program, "" for $CHROME or the first that is found
	Backend string // "default" or "swiftshader", "" for the GPU where there is one
}

// Adapter is what the browser reports about its WebGPU adapter.
type Adapter struct {
	Backend      string             `json:"backend"` // how the browser was started: "default" or "swiftshader"
	Vendor       string             `json:"vendor"`
	Architecture string             `json:"architecture"`
	Device       string             `json:"device,omitempty"`
	Description  string             `json:"description,omitempty"`
	Software     bool               `json:"software"`
	Features     []string           `json:"features"`
	Limits       map[string]float64 `json:"limits"`
}

// askAdapter is a script that returns the adapter as JSON. It returns null where there is none or it does not come in
// time. The parameter is the limit in milliseconds.
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

// OpenBrowser starts the browser with the adapter that flags name. Without one it starts it with the GPU where there is
// one, and else with the software adapter. The adapter is asked for on page, an address of a secure context.
func OpenBrowser(ctx context.Context, flags Browser, page string) (*headless.Browser, *Adapter, error) {
	if headless.NeedsNoSandbox() {
		fmt.Fprintln(os.Stderr, "running as root: Chromium's sandbox is off")
	}
	backends := []string{"default", "swiftshader"}
	if flags.Backend != "" {
		backends = []string{flags.Backend}
	}
	for _, backend := range backends {
		browser, found, err := tryBackend(ctx, flags.Chrome, backend, page)
		if err != nil {
			return nil, nil, err
		}
		if found != nil && (backend == "swiftshader" || !found.Software || flags.Backend != "") {
			return browser, found, nil
		}
		browser.Close()
		if backend == "default" && flags.Backend == "" {
			fmt.Fprintln(os.Stderr, "no hardware adapter: using SwiftShader (software)")
		}
	}
	return nil, nil, fmt.Errorf("%w: Chromium offers no WebGPU adapter (--adapter-backend %s): `llamatab doctor` reports why", headless.ErrNoBrowser, backends[len(backends)-1])
}

// tryBackend starts a browser with a backend and asks for its adapter, which is nil where there is none.
func tryBackend(ctx context.Context, chrome, backend, page string) (*headless.Browser, *Adapter, error) {
	browser, err := headless.Start(ctx, headless.Options{Chrome: chrome, SwiftShader: backend == "swiftshader"})
	if err != nil {
		return nil, nil, err
	}
	var found *Adapter
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
