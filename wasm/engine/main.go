//go:build js

// Command engine is the program of a worker: it takes jobs, from the page or from the server of a headless run, and
// runs them on WebGPU.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall/js"

	"llamatab/engine/bench"
	"llamatab/engine/device"
	"llamatab/engine/device/webgpu"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// main waits for jobs and runs them: the one job of a headless run, or those that the page posts.
func main() {
	if base := js.Global().Get("llamatab").Get("job"); base.Type() == js.TypeString {
		h := newHTTPHost(base.String())
		run(h, h.fetchJob)
		h.close()
		select {} // the server ends the browser; an engine that ends by itself counts as crashed
	}
	page := newPageHost()
	for {
		run(page, page.nextJob)
	}
}

// run takes the next job and runs it to its end.
func run(h report.Host, next func() (message.Job, report.Files, error)) {
	spec, files, err := next()
	if err != nil {
		h.Emit(message.Envelope{Type: "failed", Failed: report.Failure(err)})
		return
	}
	// An error was sent to the host as an envelope.
	_ = job.Run(context.Background(), &job.Job{Job: spec, Files: files, Host: h, Open: open, Budget: spec.MemoryBudget, Bench: bench.Run, Dial: dial})
}

// open opens the adapter's device with the buffer sizes that the plan wants. Limits that kernel variants depend on, such as
// workgroup memory, are the highest that the adapter has.
func open(want device.Limits) (device.Device, error) {
	d, err := webgpu.Open(context.Background(), webgpu.Options{
		Want:            device.Limits{MaxBuffer: want.MaxBuffer, MaxBinding: want.MaxBinding},
		PowerPreference: "high-performance",
	})
	if err != nil { // d is a nil *Device, which must not become a non-nil interface
		return nil, err
	}
	return d, nil
}

// await blocks until a promise settles. A rejection is an error with the reason's text.
func await(p js.Value) (js.Value, error) {
	type settled struct {
		v   js.Value
		err error
	}
	done := make(chan settled, 1)
	ok := js.FuncOf(func(_ js.Value, args []js.Value) any { done <- settled{v: first(args)}; return nil })
	bad := js.FuncOf(func(_ js.Value, args []js.Value) any {
		done <- settled{err: errors.New(js.Global().Get("String").Invoke(first(args)).String())}
		return nil
	})
	defer ok.Release()
	defer bad.Release()
	p.Call("then", ok, bad)
	s := <-done
	return s.v, s.err
}

func first(args []js.Value) js.Value {
	if len(args) == 0 {
		return js.Undefined()
	}
	return args[0]
}

// bytesOf copies an ArrayBuffer into p and returns its length.
func bytesOf(buffer js.Value, p []byte) int {
	return js.CopyBytesToGo(p, js.Global().Get("Uint8Array").New(buffer))
}

// uint8Array copies p into the JavaScript heap.
func uint8Array(p []byte) js.Value {
	a := js.Global().Get("Uint8Array").New(len(p))
	js.CopyBytesToJS(a, p)
	return a
}

func parseJob(text []byte) (message.Job, error) {
	var j message.Job
	if err := json.Unmarshal(text, &j); err != nil {
		return j, fmt.Errorf("the job cannot be read: %w", err)
	}
	return j, nil
}
