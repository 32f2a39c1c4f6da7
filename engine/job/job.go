package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/fsdp/rank"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/train"
)

// Job is all that a piece of work needs.
type Job struct {
	message.Job
	Files  report.Files
	Host   report.Host
	Open   report.Open
	Budget int64 // bytes of device memory that may be planned, 0 for no limit
	Bench  func(ctx context.Context, j *Job) error
	Dial   rank.Dial // to the job's room
}

// Run does the job and tells the host how it ended: with Done or with Failed, once. The error is what Failed says.
func Run(ctx context.Context, j *Job) error {
	done, err := j.run(ctx)
	if err != nil {
		j.Host.Emit(message.Envelope{Type: "failed", Failed: report.Failure(err)})
		return err
	}
	j.Host.Emit(message.Envelope{Type: "done", Done: done})
	return nil
}

func (j *Job) run(ctx context.Context) (done *message.Done, err error) {
	if j.Files.DataRead == nil {
		j.Files.DataRead = report.DataReading(j.Host)
	}
	switch j.Command {
	case message.Train:
		return j.train(ctx)
	case message.Eval:
		return &message.Done{}, j.eval(ctx)
	case message.Generate:
		return &message.Done{}, j.generate(ctx)
	case message.Chat:
		return &message.Done{}, j.chat(ctx)
	case message.Export:
		return &message.Done{}, j.export(ctx)
	case message.Bench:
		return &message.Done{}, j.Bench(ctx, j)
	case message.Plan, message.Preview, message.Template:
		return &message.Done{}, j.look()
	}
	return nil, report.Fail("job", report.ExitConfig, "Update the page and the program together.", fmt.Errorf("unknown command %q", j.Command))
}

// open opens a device that the setup fits, or says why it does not fit anywhere here. Nothing has been allocated yet.
func (j *Job) open(s *replay.Setup) (device.Device, error) {
	report.NewProgress(j.Host, "open", "", 0)
	if err := forecast.Fit(s, s.Limits, j.Budget); err != nil {
		return nil, err
	}
	dev, err := j.Open(s.Memory.Want())
	if err != nil {
		return nil, report.Fail("no_adapter", report.ExitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	if s.Numbers.Params == tensor.F16 && !dev.Info().F16 {
		dev.Close()
		return nil, report.Fail("no_float16", report.ExitBrowser, `Set precision.param_dtype to "bfloat16", which every adapter can, or choose another adapter.`,
			errors.New(`precision.param_dtype "float16" needs an adapter that offers shader-f16, and this one does not`))
	}
	if err := forecast.Fit(s, dev.Limits(), j.Budget); err != nil {
		dev.Close()
		return nil, err
	}
	s.ReportRemarks(j.Host)
	return dev, nil
}

// parseConfig reads the resolved run.json of a job.
func (j *Job) parseConfig() (*config.Config, error) {
	c, err := config.Parse(j.Config, "run.json")
	if err != nil {
		next := "Correct run.json."
		var ce *config.Error
		if errors.As(err, &ce) && ce.Next != "" {
			next = ce.Next
		}
		return nil, report.Fail("config", report.ExitConfig, next, err)
	}
	return c, nil
}

func (j *Job) train(ctx context.Context) (*message.Done, error) {
	start := time.Now()
	cfg, err := j.parseConfig()
	if err != nil {
		return nil, err
	}
	setup, err := replay.Prepare(cfg, j.Files, device.UnboundedLimits())
	if err != nil {
		return nil, err
	}
	defer setup.Model.Close()
	if j.Files.Resume != nil && cfg.Kernels == nil {
		if err := keepKernels(cfg, j.Files); err != nil {
			return nil, err
		}
	}
	dev, err := j.open(setup)
	if err != nil {
		return nil, err
	}
	r, err := train.NewLoop(setup, cfg, dev, train.Options{Host: j.Host, Open: j.open, Backend: j.AdapterBackend, Samples: j.Job.Samples, Start: start})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if setup.InRoom() {
		return rank.Join(ctx, r, rank.Room{Job: j.Job.Room, Dial: j.Dial, Spans: j.Spans})
	}
	return r.Run(ctx)
}

// keepKernels takes over the table of kernel variants of the run that is resumed: the same bits need the same kernels.
func keepKernels(cfg *config.Config, files report.Files) error {
	raw, err := pretrained.ReadSmall(files.Resume, "run.json")
	if err != nil {
		return report.Fail("resume", report.ExitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	var c struct {
		Kernels map[string]string `json:"kernels"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return report.Fail("resume", report.ExitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: run.json: %w", err))
	}
	cfg.Kernels = c.Kernels
	return nil
}
