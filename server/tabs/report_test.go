package tabs

import (
	"testing"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/server/room"
)

// TestUsage: what two tabs did that had one rank in a step, one after the other, counts for the rank, and a replica
// group gathers among itself.
func TestUsage(t *testing.T) {
	u := usage{ranks: make([]room.TabUse, 2)}
	var line message.Step
	u.add(room.StepUse{Seconds: 4, Reduce: 1, Reduced: 2e9, Tabs: []room.TabUse{
		{Tab: 1, Name: rankName(1), Up: 100, Sent: 110, Received: 50, Spent: fsdp.Spent{Clock: 4, Busy: 3, Compute: 2}},
		{Tab: 2, Name: rankName(0), Up: 10, Sent: 20, Received: 30, Spent: fsdp.Spent{Clock: 2, Busy: 1}},
		{Tab: 3, Name: rankName(0), Up: 30, Sent: 40, Received: 50, Spent: fsdp.Spent{Clock: 1, Busy: 1}},
		{Tab: 4, Name: "a guest", Sent: 1000},
	}}, &line)
	if line.BytesSent[0] != 60 || line.BytesSent[1] != 110 || line.BytesReceived[0] != 80 || line.WaitSeconds[0] != 1 || line.WaitSeconds[1] != 1 {
		t.Errorf("the line says %+v", line)
	}
	run := &fsdp.Run{Strategy: fsdp.HybridShard, Slots: 4, Shards: 1, ReduceDType: "bfloat16", ParamDType: "float32"}
	r := u.report(run, 1000)
	if r.Mean.Up != 70 || r.Ranks[0].Framing != 100 || r.Ranks[1].Fractions["compute"] != 0.5 || r.Room.ReduceRate != 2 || r.Room.MemoryRate != 10 || r.Room.ReduceFraction != 0.25 {
		t.Errorf("the report is %+v", r)
	}
	if r.Forecast.Down != 4000 || r.Forecast.Up != 6000 || r.DDP.Up != 4000 || r.DDP.Down != 4000 {
		t.Errorf("the forecasts are %+v and %+v", r.Forecast, r.DDP)
	}
}
