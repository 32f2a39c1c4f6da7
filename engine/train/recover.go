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
func (r *runner) reopen(lost error) error {
	const next = "Close other programs that use the GPU, use a smaller training.per_device_train_batch_size or dataset.max_length, or update the graphics driver; then go on with training.resume_from_checkpoint."
	at := r.trainer.Done()
	again := !r.lost.IsZero() && time.Since(r.lost) < lostTwice
	r.lost = time.Now()
	report.Event(r.trainer.host, "warning", "device_lost", at, nil, "the GPU device was lost after step %d: %v", at, lost)
	if again {
		return report.Fail("device_lost", report.ExitFailed, next, fmt.Errorf("twice within %v: %w", lostTwice, lost))
	}
	before := r.trainer.dev.Info()
	table := r.trainer.stepper.table()
	r.close()
	dev, err := r.patientOpen()
	if err != nil {
		return err
	}
	cfg := *r.trainer.cfg
	if info := dev.Info(); info.Vendor == before.Vendor && info.Architecture == before.Architecture {
		cfg.Kernels = table
	}
	t, err := New(r.trainer.setup, &cfg, dev, r.trainer.host)
	if err != nil {
		dev.Close()
		return err
	}
	t.cfg = r.trainer.cfg
	t.watch, t.offset, t.leftOut, t.factor, t.saved, t.resumed = r.trainer.watch, r.trainer.offset, r.trainer.leftOut, r.trainer.factor, r.trainer.saved, r.trainer.resumed
	r.trainer = t
	from, err := r.trainer.revert(math.MaxInt, r.trainer.setup.Model.Params())
	if err == nil {
		err = r.trainer.Build()
	}
	if err != nil {
		return err
	}
	report.Event(r.trainer.host, "info", "device_recovered", r.trainer.Done(), map[string]any{"from": at, "to": r.trainer.Done()}, "going on from %s, after step %d", from, r.trainer.Done())
	r.trainer.last = time.Now()
	return nil
}

// close gives the device back.
func (r *runner) close() {
	r.trainer.Close()
	r.trainer.dev.Close()
}

// patientOpen opens a device; after a loss the browser may need a while to offer one again.
func (r *runner) patientOpen() (dev device.Device, err error) {
	for wait := time.Second; ; wait *= 2 {
		if dev, err = r.job.open(r.trainer.setup); err == nil || wait > 8*time.Second {
			return dev, err
		}
		time.Sleep(wait)
	}
}
