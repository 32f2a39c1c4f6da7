package main

import (
	"cmp"
	"fmt"
	"io"
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

// run notes the time of a run.
func (t *times) run(name string, took time.Duration) {
	t.runs = append(t.runs, fmt.Sprintf("%7.1f s  %s", took.Seconds(), name))
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
