package main

import (
	"context"

	"llamatab/engine/message"
	"llamatab/server/check"
	"llamatab/server/inputs"
	"llamatab/server/runner"
)

// precheck returns the mistakes in a job's config, model and data, so that no browser starts for them.
func precheck(ctx context.Context, spec message.Job, m *inputs.Mounts) error {
	files, err := m.Open()
	if err != nil {
		return err
	}
	p := runner.NewProgress()
	defer p.Clear()
	return check.Job(ctx, spec, files, p.Observe)
}
