// Package runner runs one job of the engine in a tab of a headless Chromium.
//
// Start serves the job at a free loopback port and opens its page, /job/TOKEN/. The page starts the engine in a worker. The
// worker fetches job.json, reads weights and data by byte ranges, and posts messages in batches, at least once a second. The
// answers carry controls: pause, resume and stop. Results are appended at checked offsets below a hidden folder, and a
// commit renames them into place. The address contains a random token, and requests under foreign host names are refused.
//
// The caller writes metrics.jsonl and the other records as messages arrive (job.Log). A tab whose engine is silent is asked
// whether it is alive. In every case Start ends the browser and removes its profile.
package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/headless"
	"llamatab/server/job"
	"llamatab/server/web"
)

// Limits on an engine that sends nothing. Tests shorten them.
var (
	// QuietLimit is how long the engine may be silent before its tab is asked whether it is alive.
	QuietLimit  = 2 * time.Minute
	aliveLimit  = 30 * time.Second // within which the tab must answer
	silentLimit = 10 * time.Minute // of silence after which the run fails even if its tab answers
)

// Run is one job in a headless browser.
type Run struct {
	Job     *job.Job
	Browser Browser
	// Graceful makes the first signal ask the engine to stop and save. The second signal ends the program.
	Graceful bool
	// Signalled, where it is not nil, is asked at each signal what to do, in place of Graceful: true lets the program go on.
	Signalled func() (goOn bool)
}

// Start serves the job, runs it in a tab of a headless Chromium, and returns when the engine has ended it. It leaves no
// browser process and no browser profile behind.
func Start(ctx context.Context, run Run) error {
	page, err := web.Open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals, ignore := exit.Signals()
	defer ignore()
	go func() {
		for asked := !run.Graceful; ; asked = true {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if run.Signalled != nil && run.Signalled() {
				continue
			}
			if asked || run.Signalled != nil {
				cancel(&exit.Error{Code: exit.Interrupted, Err: errors.New("interrupted")})
				return
			}
			fmt.Fprintln(os.Stderr, "\nstopping: a step that has begun is finished, and what was trained is saved; a second signal ends the program at once")
			run.Job.Send(message.Stop)
		}
	}()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening a port for the tab: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.HandleFunc("GET "+web.BlankPath, web.Blank)
	mux.Handle(run.Job.Path(), run.Job.Handler())
	mux.HandleFunc("GET "+run.Job.Path()+"{$}", web.JobPage)
	gate := web.NewGate(web.OfJobs)
	server := gate.Server(web.Guard(nil, nil, mux))
	go server.Serve(gate.Limit(listener))
	defer server.Close()
	address := "http://" + listener.Addr().String()

	browser, found, err := OpenBrowser(ctx, run.Browser, address+web.BlankPath)
	if err != nil {
		return Interruption(ctx, err)
	}
	defer browser.Close()
	run.Job.Spec.AdapterBackend = found.Backend
	if err := browser.Open(ctx, address+run.Job.Path()); err != nil {
		return Interruption(ctx, err)
	}
	return waitFor(ctx, run.Job, browser)
}

// waitFor returns when the job has ended, its tab is gone or hangs, or ctx is done.
func waitFor(ctx context.Context, j *job.Job, browser *headless.Browser) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	opened, asked := time.Now(), time.Time{} // when the tab was last asked whether it lives
	for {
		select {
		case <-j.Ended():
			return exit.Outcome(j.Outcome())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-browser.Gone():
			j.Fail(message.Failed{Code: "tab_crashed", Message: browser.Err().Error() + ": most often the machine ran out of memory",
				Next: "use a smaller batch or max_length; " + resumeHint, Exit: exit.Failed})
		case <-tick.C:
			last := j.Heard()
			if last.Before(opened) {
				last = opened
			}
			quiet := time.Since(last)
			hung := func(tab string) {
				j.Fail(message.Failed{Code: "tab_hung", Message: fmt.Sprintf("the engine has sent nothing for %v, and %s", quiet.Round(time.Second), tab),
					Next: "check whether the machine is swapping and whether its GPU driver reports errors; " + resumeHint, Exit: exit.Failed})
			}
			if quiet > silentLimit {
				hung("its tab is alive")
				continue
			}
			if quiet < QuietLimit || time.Since(asked) < QuietLimit {
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

// resumeHint ends the advice for a run that failed.
const resumeHint = "a run can resume from its last checkpoint with training.resume_from_checkpoint"

// Interruption is the reason for which ctx ended, or err where it has not.
func Interruption(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// WriteResult writes a result to the file, or to stdout where file is "".
func WriteResult(result json.RawMessage, file string) error {
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

// Finish closes what a run wrote to. It returns the run's error, or else the first error of closing.
func Finish(err error, closers ...func() error) error {
	for _, c := range closers {
		if closing := c(); err == nil {
			err = closing
		}
	}
	return err
}

// ForResult runs a job whose result is one JSON value, and writes that to the file, or to stdout where file is "".
func ForResult(ctx context.Context, j *job.Job, browser Browser, file string) error {
	result, err := Result(ctx, j, browser)
	if err != nil {
		return err
	}
	return WriteResult(result, file)
}

// Result runs a job and returns its result.
func Result(ctx context.Context, j *job.Job, browser Browser) (result json.RawMessage, err error) {
	show := NewProgress()
	j.Observe = func(e message.Envelope) {
		if e.Result != nil {
			result = e.Result
		}
		show.Observe(e)
	}
	err = Start(ctx, Run{Job: j, Browser: browser})
	if err == nil && result == nil {
		err = errors.New("the engine ended without a result")
	}
	return result, err
}

// ReportEarlier says on stderr where checkpoints or results of an earlier run in the same output folder have been moved.
func ReportEarlier(folder string, moved []string) {
	fmt.Fprintf(os.Stderr, "the output folder held %s of an earlier run: kept in %s, which you may remove\n", strings.Join(moved, ", "), folder)
}
