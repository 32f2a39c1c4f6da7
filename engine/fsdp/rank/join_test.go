package rank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/train"
)

// failing is a device that fails once the tab has been welcomed.
type failing struct {
	device.Device
	err *error
}

func (f failing) Alloc(s device.Spec) (device.Buffer, error) {
	if *f.err != nil {
		return nil, fmt.Errorf("buffer %q: %w", s.Label, *f.err)
	}
	return f.Device.Alloc(s)
}

// silent is a link on which nothing comes.
type silent struct{}

func (silent) Send(Socket, []byte, ...device.Bytes) error { return nil }
func (silent) Frames() <-chan Arrival                     { return nil }
func (silent) Close()                                     {}

// A device that fails while the tab joins is no mistake in run.json, which would end the run: the tab fails, and the program that
// runs it opens another. A room of another run is such a mistake.
func TestDeviceFailsWhileJoining(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		sets []string // of the room's run
		code string
		exit int
	}{
		"lost":        {err: device.ErrLost, code: "device_lost", exit: report.ExitFailed},
		"full":        {err: device.ErrOutOfMemory, code: "out_of_memory", exit: report.ExitFailed},
		"another run": {sets: []string{"training.max_steps=7"}, code: "room", exit: report.ExitConfig},
	} {
		cfg, files := prepare(t)
		other, _ := prepare(t, c.sets...)
		described, _, err := NewRun("run", other, files)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(described)
		if err != nil {
			t.Fatal(err)
		}
		var fault error
		dev := failing{cpu.New(), &fault}
		setup, err := replay.Prepare(cfg, files, dev.Limits())
		if err != nil {
			t.Fatal(err)
		}
		loop, err := train.NewLoop(setup, cfg, dev, train.Options{Host: quietHost{}})
		if err != nil {
			t.Fatal(err)
		}
		dial := func(context.Context, *message.RoomJob, fsdp.Hello) (Link, fsdp.Welcome, error) {
			fault = c.err
			return silent{}, fsdp.Welcome{Run: raw}, nil
		}
		_, err = Join(t.Context(), loop, Room{Job: &message.RoomJob{}, Dial: dial})
		if f := report.Failure(err); f.Code != c.code || f.Exit != c.exit || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: the tab fails with %s, exit code %d, %v; want %s, %d", name, f.Code, f.Exit, err, c.code, c.exit)
		}
		loop.Close()
		setup.Model.Close()
	}
}
