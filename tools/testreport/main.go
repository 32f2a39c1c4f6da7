// Command testreport runs test commands one after the other and reports on all of them together:
//
//	testreport [-skips FILE] [-strict] NAME COMMAND [ARGUMENT ...] [-- NAME COMMAND ...]
//
// A command prints either the events of go test -json or TAP, as node --test --test-reporter=tap does. testreport prints
// a line for each package, the whole output of each test that fails, the names of the tests that were skipped with their
// reasons, what each command took and the slowest tests, and as the last line
//
//	N passed, N failed, N skipped
//
// A test with subtests is counted by its subtests. The exit status is 1 where something failed.
//
// FILE lists the tests that may be skipped, one a line: package, test, reason. The package is written without the name of
// the module. In the test's name * stands for anything but a slash. With -strict a skipped test that is not on the list
// is a failure, and so is a line that names no test.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"time"
)

func main() {
	file := flag.String("skips", "", "the list of tests that may be skipped")
	strict := flag.Bool("strict", false, "fail where a test is skipped that is not on the list")
	flag.Parse()
	r := newReport(os.Stdout)
	if *file != "" {
		data, err := os.ReadFile(*file)
		if err == nil {
			r.skips, err = parseSkips(string(data))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "testreport:", err)
			os.Exit(2)
		}
	}
	runs := split(flag.Args())
	if len(runs) == 0 {
		fmt.Fprintln(os.Stderr, "usage: testreport [-skips FILE] [-strict] NAME COMMAND [ARGUMENT ...] [-- NAME COMMAND ...]")
		os.Exit(2)
	}
	// The commands get the interrupt too. Their end is waited for, so that what they did until then is reported.
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	for _, run := range runs {
		select {
		case <-interrupt:
			r.fail(run[0], "was not started: interrupted")
			continue
		default:
		}
		fmt.Printf("== %s\n", run[0])
		r.begin(run[0])
		began := time.Now()
		r.end(execute(run[1:], r))
		r.times.run(run[0], time.Since(began))
	}
	if !r.summary(*strict) {
		os.Exit(1)
	}
}

// split cuts arguments at "--" into runs of a name and a command each. It returns nil where one has no command.
func split(args []string) (runs [][]string) {
	for len(args) > 0 {
		n := slices.Index(args, "--")
		if n < 0 {
			n = len(args)
		}
		if n < 2 {
			return nil
		}
		runs = append(runs, args[:n])
		args = args[min(n+1, len(args)):]
	}
	return runs
}

// execute runs a command with its standard output going into the report.
func execute(command []string, into io.Writer) error {
	c := exec.Command(command[0], command[1:]...)
	c.Stdout, c.Stderr = into, os.Stderr
	err := c.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("ended with %v", exit)
	}
	return err
}
