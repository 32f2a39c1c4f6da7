//go:build !js

package job_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// The reading of a large file is told with the time left, and a preview of it ends after the bytes that it may read.
func TestReadingOfLargeFiles(t *testing.T) {
	const size = 6 << 20
	var text strings.Builder
	rows := 0
	for ; text.Len() < size; rows++ {
		fmt.Fprintf(&text, "{\"input_ids\": [%d, %d, 3, 4]}%s\n", rows%30, rows/30%30, strings.Repeat(" ", 1000))
	}
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: lines(text.String())}
	preview := func(bytes int) (*host, message.DataPreview) {
		j := newJob(t, files, full)
		j.Command, j.Open, j.Job.Preview = message.Preview, nil, &message.PreviewJob{Rows: 2, Tokens: 3, Bytes: bytes}
		var p message.DataPreview
		answer(t, j, &p)
		return j.Host.(*host), p
	}
	h, whole := preview(0)
	if whole.Total != rows || whole.Share != 0 {
		t.Errorf("%d rows of %d, share %v", whole.Total, rows, whole.Share)
	}
	var told []message.Progress
	for _, e := range h.sent {
		if e.Progress != nil && e.Progress.Phase == "data" {
			told = append(told, *e.Progress)
		}
	}
	if n := len(told); n < 2 || told[n-1].Done != told[n-1].Total || told[n-1].Total != int64(text.Len()) || told[0].Unit != "bytes" {
		t.Errorf("%+v", told)
	}
	_, part := preview(1 << 20)
	if part.Total < 900 || part.Total > 1200 || part.Share < 0.1 || part.Share > 0.2 || len(part.Rows) != 2 {
		t.Errorf("%d rows read, share %v, %d rows shown", part.Total, part.Share, len(part.Rows))
	}
	if all := float64(part.Total) / part.Share; all < 0.9*float64(rows) || all > 1.1*float64(rows) {
		t.Errorf("%v rows are estimated, there are %d", all, rows)
	}
	// A small file is read without a word.
	small := newJob(t, report.Files{Model: files.Model, Dataset: lines(untrained("TT"))}, full, steps(1))
	for _, e := range must(t, small).sent {
		if e.Progress != nil && e.Progress.Phase == "data" {
			t.Error("the reading of a small file is told")
		}
	}
	// Whoever calls the engine may watch instead of the host.
	var watched int
	files.DataRead = func(done, total int64) { watched++ }
	j := newJob(t, files, full)
	j.Command, j.Open, j.Job.Preview = message.Preview, nil, &message.PreviewJob{Rows: 1, Tokens: 3}
	if err := job.Run(context.Background(), j); err != nil || watched == 0 {
		t.Errorf("%v, told %d times", err, watched)
	}
}
