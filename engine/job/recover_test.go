package job_test

import (
	"fmt"
	"slices"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/job"
	"llamatab/engine/report"
)

// mortal is a device that is lost at the steps in die, counted from 1 over all devices of a run.
type mortal struct {
	device.Device
	steps *int
	die   func(step int) bool
}

func (m *mortal) Submit(work ...device.Work) error {
	if len(work) > 0 && work[0].Buf != nil && work[0].Buf.Spec().Label == "step scalars" {
		if *m.steps++; m.die(*m.steps) {
			m.Device.Close() // destroys a WebGPU device; the reference device just lives on
			m.Device = dead{m.Device}
		}
	}
	return m.Device.Submit(work...)
}

var errDead = fmt.Errorf("struck by a test: %w", device.ErrLost)

// dead is a device that is lost.
type dead struct{ device.Device }

func (dead) Alloc(device.Spec) (device.Buffer, error)                    { return nil, errDead }
func (dead) Write(device.Buffer, int, []byte) error                      { return errDead }
func (dead) Read(device.Buffer, int, int) ([]byte, error)                { return nil, errDead }
func (dead) Fetch(device.Buffer, int, int) (device.Pending, error)       { return nil, errDead }
func (dead) Import(device.Buffer, int, device.Bytes) error               { return errDead }
func (dead) Compile(string, []device.Command) (device.Executable, error) { return nil, errDead }
func (dead) Submit(...device.Work) error                                 { return errDead }
func (dead) Sync() error                                                 { return errDead }

// A lost device is opened again, and the run goes on from its last checkpoint with the bits of a run without the loss. A second
// loss soon after ends the run.
func TestDeviceLost(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8, 8, 8)}
	run := func(die func(int) bool, sets ...string) (*job.Job, *int) {
		j := newJob(t, files, append(sets, "training.per_device_train_batch_size=1", steps(6))...)
		opened, count := 0, 0
		j.Open = func(device.Limits) (device.Device, error) {
			opened++
			d := enginetest.Open(t)
			if d.Info().Backend == "cpu" {
				d = newSingle()
			}
			return &mortal{d, &count, die}, nil
		}
		return j, &opened
	}
	never := func(int) bool { return false }
	at := func(steps ...int) func(int) bool { return func(n int) bool { return slices.Contains(steps, n) } }
	for _, c := range []struct {
		name string
		sets []string
		back int // step that the run goes on from
	}{
		{"full with checkpoints", []string{full, "training.save_steps=2"}, 4},
		{"lora with checkpoints", []string{lora, dropout, "training.save_steps=3"}, 3},
		{"from the start", []string{lora}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, _ := run(never, c.sets...)
			want := must(t, j)
			j, opened := run(at(6), c.sets...)
			got := must(t, j)
			lost, back := got.events("device_lost"), got.events("device_recovered")
			if *opened != 2 || len(lost) != 1 || len(back) != 1 || back[0].Data["to"] != c.back {
				t.Fatalf("opened %d devices; lost %+v, recovered %+v", *opened, lost, back)
			}
			dir := "adapter/"
			if c.sets[0] == full {
				dir = "model/"
			}
			sameFiles(t, got, want, dir)
			if n := len(recorded(got)); n != 6 {
				t.Errorf("%d steps in the end", n)
			}
		})
	}
	j, opened := run(at(2, 4), full)
	f := mustFail(t, j, "device_lost", 1, "twice")
	if *opened != 2 || f.Next == "" {
		t.Errorf("opened %d devices", *opened)
	}
}
