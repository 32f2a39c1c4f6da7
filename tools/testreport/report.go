package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

const module = "llamatab/"

// outcome is the end of a test.
type outcome string

const (
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip"
)

// test is one test or subtest of a run. Its package is "" in a run that prints TAP.
type test struct {
	run, pkg, name string
	outcome        outcome // "" while it runs
	output         strings.Builder
	parent         bool // it has subtests
	childFailed    bool
}

// label names the test in the report.
func (t *test) label() string {
	return strings.TrimSpace(t.pkg+" "+t.name) + " (" + t.run + ")"
}

// key is what a line of the list of skips names.
type key struct{ pkg, name string }

// report collects the results of runs. It is an io.Writer for the output of the run under way.
type report struct {
	out   io.Writer
	skips []skip

	run      string
	line     []byte                      // what has come of an unfinished line
	tests    map[key]*test               // of the run under way
	builds   map[string]*bytes.Buffer    // output of builds, by import path
	packages map[string]*strings.Builder // output of packages outside of tests
	tap      tapReader

	names    map[key]bool // of all tests of all runs
	passes   int
	skipped  []*test
	failures []string
	problems int // of the run under way
	times    times
}

func newReport(out io.Writer) *report { return &report{out: out, names: map[key]bool{}} }

// begin starts the results of a run.
func (r *report) begin(run string) {
	r.run, r.problems, r.line = run, len(r.failures), nil
	r.tests, r.builds, r.packages, r.tap = map[key]*test{}, map[string]*bytes.Buffer{}, map[string]*strings.Builder{}, tapReader{}
}

// Write takes output of the run's command.
func (r *report) Write(p []byte) (int, error) {
	r.line = append(r.line, p...)
	for {
		i := bytes.IndexByte(r.line, '\n')
		if i < 0 {
			return len(p), nil
		}
		r.take(r.line[:i])
		r.line = r.line[i+1:]
	}
}

// event is a line of go test -json; see go doc test2json and go help buildjson.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

func (r *report) take(line []byte) {
	var e event
	if len(line) > 0 && line[0] == '{' && json.Unmarshal(line, &e) == nil && e.Action != "" {
		r.event(e)
		return
	}
	r.tapLine(string(line))
}

func (r *report) event(e event) {
	pkg := strings.TrimPrefix(e.Package, module)
	switch {
	case e.Action == "build-output":
		if r.builds[e.ImportPath] == nil {
			r.builds[e.ImportPath] = &bytes.Buffer{}
		}
		r.builds[e.ImportPath].WriteString(e.Output)
	case e.Action == "build-fail":
	case e.Test == "":
		r.packageEvent(pkg, e)
	default:
		r.testEvent(r.test(pkg, e.Test), e)
	}
}

// test finds a test of the run, or adds it and marks those that it is a subtest of.
func (r *report) test(pkg, name string) *test {
	k := key{pkg, name}
	if r.tests[k] == nil {
		r.tests[k] = &test{run: r.run, pkg: pkg, name: name}
		r.names[k] = true
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			if parent := r.tests[key{pkg, name[:i]}]; parent != nil {
				parent.parent = true
			}
		}
	}
	return r.tests[k]
}

func (r *report) testEvent(t *test, e event) {
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		if !strings.Contains(t.name, "/") {
			r.times.add(t.label(), e.Elapsed)
		}
		r.finish(t, outcome(e.Action))
	}
}

// finish counts a test that has ended. One whose subtests failed is not a further failure, but its output belongs to
// theirs.
func (r *report) finish(t *test, o outcome) {
	t.outcome = o
	switch {
	case o == failed:
		for i := strings.LastIndexByte(t.name, '/'); i > 0; i = strings.LastIndexByte(t.name[:i], '/') {
			if parent := r.tests[key{t.pkg, t.name[:i]}]; parent != nil {
				parent.childFailed = true
			}
		}
		if t.childFailed {
			r.show(t.output.String())
		} else {
			r.fail(t.label(), t.output.String())
		}
	case o == skipped:
		r.skipped = append(r.skipped, t)
		return // its output is the reason
	case !t.parent:
		r.passes++
	}
	t.output.Reset()
}

func (r *report) packageEvent(pkg string, e event) {
	switch e.Action {
	case "output":
		if r.packages[pkg] == nil {
			r.packages[pkg] = &strings.Builder{}
		}
		r.packages[pkg].WriteString(e.Output)
	case "pass":
		fmt.Fprintf(r.out, "ok    %-28s %7.1f s   %s\n", pkg, e.Elapsed, r.counts(pkg))
	case "fail":
		r.packageFailed(pkg, e)
		fmt.Fprintf(r.out, "FAIL  %-28s %7.1f s   %s\n", pkg, e.Elapsed, r.counts(pkg))
	}
	if e.Action == "pass" || e.Action == "fail" {
		maps.DeleteFunc(r.tests, func(k key, t *test) bool { return k.pkg == pkg && t.outcome != "" })
	}
}

// packageFailed reports a package whose failure no test explains: its build failed, or its program ended in the middle
// of tests.
func (r *report) packageFailed(pkg string, e event) {
	explained := false
	for _, k := range slices.SortedFunc(maps.Keys(r.tests), func(a, b key) int { return cmp.Compare(a.name, b.name) }) {
		switch t := r.tests[k]; {
		case k.pkg != pkg:
		case t.outcome == "" && !t.parent:
			r.fail(t.label(), t.output.String()+"the program ended while this test ran\n")
			explained = true
		case t.outcome == failed:
			explained = true
		}
	}
	maps.DeleteFunc(r.tests, func(k key, t *test) bool { return k.pkg == pkg && t.outcome == "" })
	text := ""
	if b := r.packages[pkg]; b != nil {
		text = b.String()
	}
	if b := r.builds[e.FailedBuild]; b != nil {
		text = b.String() + text
	}
	if explained {
		r.show(text)
	} else {
		r.fail(pkg+" ("+r.run+")", text)
	}
}

// counts says how the tests of a package ended.
func (r *report) counts(pkg string) string {
	n := map[outcome]int{}
	for k, t := range r.tests {
		if k.pkg == pkg && (!t.parent || t.outcome == failed && !t.childFailed) {
			n[t.outcome]++
		}
	}
	text := fmt.Sprintf("%d passed", n[passed])
	if n[failed] > 0 {
		text += fmt.Sprintf(", %d failed", n[failed])
	}
	if n[skipped] > 0 {
		text += fmt.Sprintf(", %d skipped", n[skipped])
	}
	return text
}

// fail adds a failure and shows its output.
func (r *report) fail(name, output string) {
	r.failures = append(r.failures, name)
	fmt.Fprintf(r.out, "--- failed: %s\n", name)
	r.show(output)
}

func (r *report) show(output string) {
	if output != "" {
		fmt.Fprintln(r.out, strings.TrimRight(output, "\n"))
	}
}

// end takes the end of the run's command.
func (r *report) end(err error) {
	if len(r.line) > 0 {
		r.take(r.line)
		r.line = nil
	}
	if !r.tap.empty() {
		fmt.Fprintf(r.out, "      %s\n", r.tap.counts())
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.tests), func(a, b key) int { return cmp.Compare(a.pkg+a.name, b.pkg+b.name) }) {
		if t := r.tests[k]; t.outcome == "" && !t.parent {
			r.fail(t.label(), t.output.String()+"the run ended while this test ran\n")
		}
	}
	if err != nil && len(r.failures) == r.problems {
		r.fail(r.run, err.Error())
	}
}

// summary prints what was skipped and what failed, and as the last line the counts. It reports whether all is well.
func (r *report) summary(strict bool) bool {
	r.times.print(r.out)
	if len(r.skipped) > 0 {
		fmt.Fprintln(r.out, "== skipped")
	}
	for _, t := range r.skipped {
		note := ""
		if !slices.ContainsFunc(r.skips, func(s skip) bool { return s.matches(key{t.pkg, t.name}) }) {
			note = "   [not on the list of skips]"
			if strict {
				r.failures = append(r.failures, t.label()+" was skipped and is not on the list of skips")
			}
		}
		fmt.Fprintf(r.out, "%s: %s%s\n", t.label(), reason(t.output.String()), note)
	}
	if strict {
		for _, s := range r.skips {
			named := false
			for k := range r.names {
				named = named || s.matches(k)
			}
			if !named {
				r.failures = append(r.failures, fmt.Sprintf("the list of skips names %s %s, which is no test", s.pkg, s.name))
			}
		}
	}
	if len(r.failures) > 0 {
		fmt.Fprintln(r.out, "== failed")
		for _, f := range r.failures {
			fmt.Fprintln(r.out, f)
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passes, len(r.failures), len(r.skipped))
	return len(r.failures) == 0
}

// reason is the message of a skipped test, from its output: the last line that go test does not write itself.
func reason(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for _, l := range slices.Backward(lines) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "--- ") && !strings.HasPrefix(l, "=== ") {
			return l
		}
	}
	return "no reason given"
}

// skip is a line of the list of tests that may be skipped.
type skip struct{ pkg, name, reason string }

func (s skip) matches(k key) bool {
	ok, _ := path.Match(s.name, k.name)
	return ok && s.pkg == k.pkg
}

// parseSkips reads the list. Empty lines and those that begin with # say nothing.
func parseSkips(text string) (all []skip, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 {
			return nil, fmt.Errorf("line %d of the list of skips: want package, test and reason in %q", n, line)
		}
		if _, err := path.Match(f[1], ""); err != nil {
			return nil, fmt.Errorf("line %d of the list of skips: %q: %w", n, f[1], err)
		}
		all = append(all, skip{f[0], f[1], strings.Join(f[2:], " ")})
	}
	return all, nil
}
