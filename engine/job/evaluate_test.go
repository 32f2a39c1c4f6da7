//go:build !js

package job_test

import (
	"encoding/json"
	"io/fs"
	"testing"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// evaluate is the mean loss over a dataset.
func evaluate(t testing.TB, model, adapter, dataset fs.FS) float64 {
	t.Helper()
	return evaluation(t, report.Files{Model: model, Adapter: adapter, Dataset: dataset}, open(t)).Loss
}

// evaluation is what eval.json holds.
func evaluation(t testing.TB, files report.Files, open report.Open) (r struct{ Loss float64 }) {
	t.Helper()
	h := must(t, &job.Job{
		Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto"}}, Files: files, Host: newHost(), Open: open,
	})
	for _, m := range h.sent {
		if m.Result != nil {
			if err := json.Unmarshal(m.Result, &r); err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	t.Fatal("no result")
	return r
}
