package train

import (
	"fmt"
	"math"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/report"
)

// lostTwice is the time in which a second loss of the device ends the run, because more would follow.
const lostTwice = 5 * time.Minute

// reopen continues after the loss of the device, whose memory is gone. It opens the device again and restores the run from its
// last checkpoint, or from its start.
func (r *Loop) reopen(lost error) error {
	const next = "Close other programs that use the GPU, use a smaller training.per_device_train_batch_size or dataset.max_length, or update the graphics driver; then go on with training.resume_from_checkpoint."
	at := r.Trainer.Done()
	again := !r.lostAt.IsZero() && time.Since(r.lostAt) < lostTwice
	r.lostAt = time.Now()
	report.Event(r.Trainer.Host, "warning", "device_lost", at, nil, "the GPU device was lost after step %d: %v", at, lost)
	if again {
		return report.Fail("device_lost", report.ExitFailed, next, fmt.Errorf("twice within %v: %w", lostTwice, lost))
	}
	before := r.Trainer.Dev.Info()
	table := r.Trainer.Stepper.Table()
	r.Close()
	dev, err := r.openAgain()
	if err != nil {
		return err
	}
	cfg := *r.Trainer.Cfg
	if info := dev.Info(); info.Vendor == before.Vendor && info.Architecture == before.Architecture {
		cfg.Kernels = table
	}
	t, err := New(r.Trainer.Setup, &cfg, dev, r.Trainer.Host)
	if err != nil {
		dev.Close()
		return err
	}
	t.Cfg = r.Trainer.Cfg
	t.watch, t.dataOffset, t.leftOut, t.lrFactor, t.checkpoints, t.resumedStep = r.Trainer.watch, r.Trainer.dataOffset, r.Trainer.leftOut, r.Trainer.lrFactor, r.Trainer.checkpoints, r.Trainer.resumedStep
	r.Trainer = t
	from, err := r.Trainer.restoreBefore(math.MaxInt, r.Trainer.Setup.Model.Params())
	if err == nil {
		err = r.Trainer.Build()
	}
	if err != nil {
		return err
	}
	report.Event(r.Trainer.Host, "info", "device_recovered", r.Trainer.Done(), map[string]any{"from": at, "to": r.Trainer.Done()}, "going on from %s, after step %d", from, r.Trainer.Done())
	r.Trainer.lastResult = time.Now()
	return nil
}

// Close frees all memory and closes the device.
func (r *Loop) Close() {
	r.Trainer.Close()
	r.Trainer.Dev.Close()
}

// openAgain opens a device. After a loss the browser may need some seconds until it offers one again.
func (r *Loop) openAgain() (dev device.Device, err error) {
	for wait := time.Second; ; wait *= 2 {
		if dev, err = r.Options.Open(r.Trainer.Setup); err == nil || wait > 8*time.Second {
			return dev, err
		}
		time.Sleep(wait)
	}
}
