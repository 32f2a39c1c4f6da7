package train

import (
	"fmt"
	"math"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/report"
)

// lostTwice is how soon after a loss of the device another one ends the run: it would go on like that.
const lostTwice = 5 * time.Minute

// reopen goes on after the loss of the device, whose memory is gone: it opens the device again and puts the run back to
// its last checkpoint, or to its start.
func (r *Loop) reopen(lost error) error {
	const next = "Close other programs that use the GPU, use a smaller training.per_device_train_batch_size or dataset.max_length, or update the graphics driver; then go on with training.resume_from_checkpoint."
	at := r.Trainer.Done()
	again := !r.lost.IsZero() && time.Since(r.lost) < lostTwice
	r.lost = time.Now()
	report.Event(r.Trainer.Host, "warning", "device_lost", at, nil, "the GPU device was lost after step %d: %v", at, lost)
	if again {
		return report.Fail("device_lost", report.ExitFailed, next, fmt.Errorf("twice within %v: %w", lostTwice, lost))
	}
	before := r.Trainer.Dev.Info()
	table := r.Trainer.Stepper.Table()
	r.Close()
	dev, err := r.patientOpen()
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
	t.Watch, t.offset, t.leftOut, t.factor, t.saved, t.resumed = r.Trainer.Watch, r.Trainer.offset, r.Trainer.leftOut, r.Trainer.factor, r.Trainer.saved, r.Trainer.resumed
	r.Trainer = t
	from, err := r.Trainer.revert(math.MaxInt, r.Trainer.Setup.Model.Params())
	if err == nil {
		err = r.Trainer.Build()
	}
	if err != nil {
		return err
	}
	report.Event(r.Trainer.Host, "info", "device_recovered", r.Trainer.Done(), map[string]any{"from": at, "to": r.Trainer.Done()}, "going on from %s, after step %d", from, r.Trainer.Done())
	r.Trainer.Last = time.Now()
	return nil
}

// Close gives the device back.
func (r *Loop) Close() {
	r.Trainer.Close()
	r.Trainer.Dev.Close()
}

// patientOpen opens a device; after a loss the browser may need a while to offer one again.
func (r *Loop) patientOpen() (dev device.Device, err error) {
	for wait := time.Second; ; wait *= 2 {
		if dev, err = r.Options.Open(r.Trainer.Setup); err == nil || wait > 8*time.Second {
			return dev, err
		}
		time.Sleep(wait)
	}
}
