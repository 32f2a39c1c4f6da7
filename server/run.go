package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"llamatab/engine/message"
	"llamatab/server/headless"
	"llamatab/server/job"
)

// The limits of patience; shorter in tests.
var (
	quietLimit  = 2 * time.Minute  // without a word from the engine, before its tab is asked whether it lives
	aliveLimit  = 30 * time.Second // for the tab to answer that
	silentLimit = 10 * time.Minute // without a word from the engine, even if its tab lives
)

// headlessRun is one job in a headless browser.
type headlessRun struct {
	job     *job.Job
	browser browserFlags
	// graceful makes the first signal ask the engine to stop and save, and only the second end the program.
	graceful bool
}

// runHeadless serves the job, runs it in a tab of a headless Chromium, and returns when the engine has ended it.
// Whatever happens, no browser and no profile of it is left.
func runHeadless(ctx context.Context, run headlessRun) error {
	page, err := newAssets()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		for asked := !run.graceful; ; asked = true {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if asked {
				cancel(&exitError{exitInterrupted, errors.New("interrupted")})
				return
			}
			fmt.Fprintln(os.Stderr, "\nstopping after this step and saving a checkpoint; once more ends at once")
			run.job.Send(message.Stop)
		}
	}()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening a port for the tab: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.HandleFunc("GET "+blankPath, blank)
	mux.Handle(run.job.Path(), run.job.Handler())
	mux.HandleFunc("GET "+run.job.Path()+"{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentTypes[".html"])
		io.WriteString(w, jobPage)
	})
	server := &http.Server{Handler: guarded(nil, mux), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	defer server.Close()
	address := "http://" + listener.Addr().String()

	browser, found, err := openBrowser(ctx, run.browser, address+blankPath)
	if err != nil {
		return interruption(ctx, err)
	}
	defer browser.Close()
	run.job.Spec.AdapterBackend = found.Backend
	if err := browser.Open(ctx, address+run.job.Path()); err != nil {
		return interruption(ctx, err)
	}
	return waitFor(ctx, run.job, browser)
}

// jobPage is the page of a headless job; what it does is in loader.js.
const jobPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>llamatab job</title><link rel="icon" href="data:,"><script type="module" src="/loader.js"></script></html>
`

// waitFor returns when the job has ended, one way or another.
func waitFor(ctx context.Context, j *job.Job, browser *headless.Browser) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	opened, asked := time.Now(), time.Time{} // when the tab was last asked whether it lives
	for {
		select {
		case <-j.Ended():
			return outcome(j.Outcome())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-browser.Gone():
			j.Fail(message.Failed{Code: "tab_crashed", Message: browser.Err().Error() + ": most often the machine ran out of memory",
				Next: "use a smaller batch or max_length; " + goOn, Exit: exitFailed})
		case <-tick.C:
			last := j.Heard()
			if last.Before(opened) {
				last = opened
			}
			quiet := time.Since(last)
			hung := func(tab string) {
				j.Fail(message.Failed{Code: "tab_hung", Message: fmt.Sprintf("the engine has said nothing for %v, and %s", quiet.Round(time.Second), tab),
					Next: "look whether the machine is swapping or its GPU driver reports errors; " + goOn, Exit: exitFailed})
			}
			if quiet > silentLimit {
				hung("its tab lives")
				continue
			}
			if quiet < quietLimit || time.Since(asked) < quietLimit {
				continue
			}
			asked = time.Now()
			probe, cancel := context.WithTimeout(ctx, aliveLimit)
			var answer int
			err := browser.Evaluate(probe, "1", &answer)
			cancel()
			if err != nil && errors.Is(err, context.DeadlineExceeded) {
				hung("its tab does not answer")
			}
		}
	}
}

const goOn = "a run can go on from its last checkpoint with training.resume_from_checkpoint"

// outcome turns the message that ended a job into the program's end.
func outcome(e message.Envelope) error {
	f := e.Failed
	if f == nil {
		return nil
	}
	text := f.Code + ": " + f.Message
	if f.Next != "" {
		text += "\n  what to do: " + f.Next
	}
	code := f.Exit
	if code == 0 {
		code = exitFailed
	}
	return &exitError{code, errors.New(text)}
}

// interruption prefers the reason for which ctx ended to the error that this caused.
func interruption(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// report writes a result to the file, or to stdout when the file is "".
func report(result json.RawMessage, file string) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("the engine's result: %w", err)
	}
	text = append(text, '\n')
	if file == "" {
		_, err := os.Stdout.Write(text)
		return err
	}
	return job.WriteFile(file, text)
}

// finish closes what a run wrote to. The run's own error counts more than one of closing.
func finish(err error, closers ...func() error) error {
	for _, c := range closers {
		if closing := c(); err == nil {
			err = closing
		}
	}
	return err
}

// runForResult runs a job whose result is one JSON value, and writes that to the file, or to stdout for "".
func runForResult(ctx context.Context, j *job.Job, browser browserFlags, file string) error {
	result, err := resultOf(ctx, j, browser)
	if err != nil {
		return err
	}
	return report(result, file)
}

// resultOf runs a job and returns its result.
func resultOf(ctx context.Context, j *job.Job, browser browserFlags) (result json.RawMessage, err error) {
	show := newProgress()
	j.Observe = func(e message.Envelope) {
		if e.Result != nil {
			result = e.Result
		}
		show.observe(e)
	}
	err = runHeadless(ctx, headlessRun{job: j, browser: browser})
	if err == nil && result == nil {
		err = errors.New("the engine ended without a result")
	}
	return result, err
}
