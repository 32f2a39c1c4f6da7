package tabs

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/tensor"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/room"
	"llamatab/server/runner"
)

// TestOpenBesideOldRoom: the room of a run with another config is refused and kept if it has done steps, and replaced if it has
// done none. The same config resumes.
func TestOpenBesideOldRoom(t *testing.T) {
	config := func(steps int) room.Config {
		return room.Config{MinTabs: 2, Run: fsdp.Run{ID: roomID, Strategy: fsdp.NoShard, Wrap: "none", Slots: 1, Steps: steps, ReduceDType: "float32", ParamDType: "float32",
			Params: []fsdp.Param{{Name: "p", Shape: tensor.Of(4), Unit: "u"}}}}
	}
	// begin opens a run in an output folder, as the command train does.
	begin := func(out string, cfg room.Config) (*tabsRun, error) {
		run := &tabsRun{out: out, mounts: inputs.New("", nil), progress: runner.NewProgress(), log: job.NewLog(out, true), roomLog: slog.DiscardHandler, cancel: func(error) {}}
		run.recoverSteps = func([]fsdp.Commit, []fsdp.Evaluated) ([]message.Step, error) {
			return []message.Step{{Step: 1}}, nil
		}
		err := run.open(cfg, filepath.Join(out, roomDir))
		if err == nil {
			t.Cleanup(func() { run.rooms.Close(); run.log.Close() })
		}
		return run, err
	}
	// interrupted leaves the room of a run of 9 steps, and commits one of them if asked to.
	interrupted := func(commit bool) (out string) {
		out = t.TempDir()
		run, err := begin(out, config(9))
		if err != nil {
			t.Fatal(err)
		}
		if err := run.rooms.Close(); err != nil {
			t.Fatal(err)
		}
		if !commit {
			return out
		}
		local, err := room.OpenLocal(filepath.Join(out, roomDir))
		if err != nil {
			t.Fatal(err)
		}
		entries, tail, err := local.Read(roomID)
		if err != nil {
			t.Fatal(err)
		}
		records, err := room.ParseLog(entries, tail)
		if err != nil {
			t.Fatal(err)
		}
		last := records[len(records)-1]
		for i, rec := range []room.Record{{Kind: room.Started}, {Kind: room.Committed, Slots: [][]uint32{{1}}}} {
			if err := local.Append(roomID, len(entries)+i, room.Chain(&rec, last.Hash, last.Fence)); err != nil {
				t.Fatal(err)
			}
			last.Hash = rec.Hash
		}
		return out
	}

	out := interrupted(true)
	log := filepath.Join(out, roomDir, roomID, "log")
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	_, err = begin(out, config(8))
	var refused *exit.Error
	if !errors.As(err, &refused) || refused.Code != exit.BadUsage || !strings.Contains(err.Error(), "after step 1") || !strings.Contains(err.Error(), out) {
		t.Errorf("another config beside a room with a step: %v", err)
	}
	if after, err := os.ReadFile(log); err != nil || !strings.HasPrefix(string(after), string(before)) {
		t.Errorf("the room that was refused has changed: %v", err)
	}
	if run, err := begin(out, config(9)); err != nil || run.resumedAt != 0 || run.step != 1 {
		t.Errorf("the same config: %v", err)
	}

	run, err := begin(interrupted(false), config(8))
	if err != nil || !run.host.Describes(config(8).Run) {
		t.Errorf("another config beside a room without a step: %v", err)
	}
}
