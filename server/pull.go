package main

import (
	"context"
	"errors"
	"fmt"

	"llamatab/server/exit"
	"llamatab/server/hub"
)

// pull is the command pull.
func pull(ctx context.Context, args []string) error {
	f := newFlagSet("pull")
	text := ""
	f.operand = &text
	options := f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if text == "" {
		return exit.Usagef("pull: the name of the model is missing: llamatab pull org/name")
	}
	name, err := options.parseName(text)
	if err != nil {
		return exit.Usagef("pull: %v", err)
	}
	s, err := options.store()
	if err != nil {
		return err
	}
	if s.Client == nil {
		return exit.Usagef("pull: --offline or HF_HUB_OFFLINE is set, and pull fetches")
	}
	got, err := fetch(ctx, s, name, hub.Any)
	if e, ok := errors.AsType[*hub.Error](err); ok && (e.Kind == hub.NotFound || e.Kind == hub.NoRevision || e.Kind == hub.Unsuitable) {
		return &exit.Error{Code: exit.BadUsage, Err: err}
	} else if err != nil {
		return err
	}
	fmt.Printf("%s, commit %.7s: %s in %d files, checked\n%s\n", name, got.Commit, hub.Bytes(got.Size()), len(got.Files), got.Dir)
	if got.Content == hub.Adapter {
		base := got.Base
		if base == "" {
			base = "the base model"
		}
		fmt.Printf("it is an adapter: use it as --model %s --adapter %s\n", base, name)
	}
	return nil
}
