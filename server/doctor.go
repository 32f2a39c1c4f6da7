package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"llamatab/server/exit"
	"llamatab/server/headless"
	"llamatab/server/runner"
	"llamatab/server/web"
)

// diagnosis is the report of doctor.
type diagnosis struct {
	System  string          `json:"system"`
	Assets  bool            `json:"assets"` // the program contains the page and the engine
	Browser string          `json:"browser,omitempty"`
	Version string          `json:"version,omitempty"`
	Sandbox bool            `json:"sandbox"`
	Adapter *runner.Adapter `json:"adapter"` // nil: none
	// Problems prevent a run and Notes do not. Each says what to do.
	Problems []string `json:"problems"`
	Notes    []string `json:"notes"`
}

// doctor is the command doctor.
func doctor(ctx context.Context, args []string) error {
	f := newFlagSet("doctor")
	asJSON := f.Bool("json", false, "print the report as JSON")
	flags := f.browser()
	if err := f.parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := diagnose(ctx, flags)
	if ctx.Err() != nil {
		return &exit.Error{Code: exit.Interrupted, Err: errors.New("interrupted")}
	}
	if *asJSON {
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return err
		}
		fmt.Println(string(text))
	} else {
		d.print()
	}
	if len(d.Problems) > 0 {
		return &exit.Error{Code: exit.NoBrowser, Err: nil}
	}
	return nil
}

func diagnose(ctx context.Context, flags *runner.Browser) *diagnosis {
	d := &diagnosis{System: runtime.GOOS + "/" + runtime.GOARCH, Sandbox: !headless.NeedsNoSandbox(), Problems: []string{}, Notes: []string{}}
	if _, err := web.Open(); err != nil {
		d.Problems = append(d.Problems, err.Error())
	} else {
		d.Assets = true
	}
	if !d.Sandbox {
		d.Notes = append(d.Notes, "running as root: Chromium's sandbox will be off; run as another user to keep it")
	}
	path, err := headless.Find(flags.Chrome)
	if err != nil {
		d.Problems = append(d.Problems, err.Error())
		return d
	}
	d.Browser = path

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.Problems = append(d.Problems, "no port can be opened on the loopback address: "+err.Error())
		return d
	}
	server := &http.Server{Handler: web.Guard(nil, nil, http.HandlerFunc(web.Blank))}
	go server.Serve(listener)
	defer server.Close()
	browser, found, err := runner.OpenBrowser(ctx, *flags, "http://"+listener.Addr().String()+web.BlankPath)
	if err != nil {
		d.Problems = append(d.Problems, err.Error(),
			"what helps: Chromium 128 or newer that starts as `"+path+" --headless`; in a container, its package of shared libraries and fonts; for the software adapter, the file libvk_swiftshader beside the program")
		return d
	}
	defer browser.Close()
	d.Adapter = found
	if d.Version, err = browser.Version(ctx); err != nil {
		d.Problems = append(d.Problems, err.Error())
	}
	if found.Software {
		d.Notes = append(d.Notes, "the adapter is software: everything works, but slowly; for a GPU, install its driver (on Linux the Vulkan one, as `vulkaninfo --summary` should show) and run llamatab as a user who may open /dev/dri")
	}
	const needed = 128 << 20 // bytes; WebGPU's guaranteed minimum
	if binding := found.Limits["maxStorageBufferBindingSize"]; binding < needed {
		d.Problems = append(d.Problems, fmt.Sprintf("the adapter binds %.0f bytes at most, %d are needed: use another adapter (--adapter-backend swiftshader)", binding, needed))
	}
	return d
}

func (d *diagnosis) print() {
	row := func(name, format string, args ...any) { fmt.Printf("%-10s%s\n", name, fmt.Sprintf(format, args...)) }
	row("system", "%s", d.System)
	if d.Browser != "" {
		row("browser", "%s", d.Browser)
	}
	if d.Version != "" {
		row("version", "%s", d.Version)
	}
	if a := d.Adapter; a != nil {
		kind := "hardware"
		if a.Software {
			kind = "software"
		}
		row("adapter", "%s", strings.Join(strings.Fields(strings.Join([]string{a.Vendor, a.Architecture, a.Device, a.Description}, " ")), " "))
		row("kind", "%s (--adapter-backend %s)", kind, a.Backend)
		row("features", "%s", strings.Join(a.Features, " "))
		fmt.Println("limits")
		for _, name := range slices.Sorted(maps.Keys(a.Limits)) {
			fmt.Printf("  %-50s%.0f\n", name, a.Limits[name])
		}
	}
	for _, note := range d.Notes {
		row("note", "%s", note)
	}
	for _, problem := range d.Problems {
		row("problem", "%s", problem)
	}
	if len(d.Problems) == 0 {
		fmt.Println("nothing is missing")
	}
}
