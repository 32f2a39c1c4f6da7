package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// times is where the time of the runs went.
type times struct {
	runs  []string
	tests []timed // without subtests
}

type timed struct {
	label   string
	seconds float64
}

// add notes a test that has ended.
func (t *times) add(label string, seconds float64) {
	t.tests = append(t.tests, timed{label, seconds})
}

// run notes a run's time on the clock and on the processor. The latter counts the processes that its command has waited for.
func (t *times) run(name string, clock time.Duration, state *os.ProcessState) {
	if state == nil { // the command did not start
		return
	}
	processor := state.UserTime() + state.SystemTime()
	t.runs = append(t.runs, fmt.Sprintf("%7.1f s, %7.1f s of processors  %s", clock.Seconds(), processor.Seconds(), name))
}

const (
	slowestShown = 20
	slow         = 5 // seconds: faster tests are not listed
)

// print lists the runs and the slowest tests.
func (t *times) print(w io.Writer) {
	if len(t.runs) > 0 {
		fmt.Fprintln(w, "== time")
	}
	for _, r := range t.runs {
		fmt.Fprintln(w, r)
	}
	slices.SortStableFunc(t.tests, func(a, b timed) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, x := range t.tests[:min(len(t.tests), slowestShown)] {
		if x.seconds >= slow {
			fmt.Fprintf(w, "%7.1f s  %s\n", x.seconds, x.label)
		}
	}
}
