package main

import (
	"context"

	"llamatab/engine/message"
)

// bench is the command bench.
func bench(ctx context.Context, args []string) error {
	f := newFlagSet("bench")
	f.Bool("json", false, "print the report as JSON (it always is in this version)")
	out := f.String("out", "", "`FILE` for the report instead of stdout")
	var browser browserFlags
	browser.register(f)
	if err := f.parse(args); err != nil {
		return err
	}
	if *out != "" {
		if err := outputFile("out", out); err != nil {
			return err
		}
	}
	return runForResult(ctx, newMounts("").into(message.Job{Command: message.Bench}), browser, *out)
}
