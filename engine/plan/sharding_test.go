package plan

import (
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
)

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol*math.Abs(want)) {
		t.Errorf("%s: %.4g, want %.4g within %v", what, got, want, tol)
	}
}

// What one parameter costs on one device, and what of it remains on each of N.
func TestBytesAParameter(t *testing.T) {
	for _, c := range []struct {
		name  string
		state State
		want  float64
	}{{"float32", Float32, 16}, {"mixed", Mixed, 16}, {"bfloat16", BFloat16, 12}, {"8 bit", EightBit, 6}} {
		if got := c.state.Total(); got != c.want {
			t.Errorf("%s: %v bytes a parameter, want %v", c.name, got, c.want)
		}
	}
	const P, B = 1 << 30, 1 << 24
	s := Sharding{Ranks: 4, Group: 2, Trained: P, Unit: B, State: Mixed}
	for _, c := range []struct {
		by   fsdp.Strategy
		want int64
	}{
		{fsdp.NoShard, 16 * P},
		{fsdp.ShardGradOp, 2*P + 12*P/4 + 4*P/4 + 2*B},
		{fsdp.FullShard, (12*P+4*P)/4 + 4*B + 2*B},
		{fsdp.HybridShard, (12*P+4*P)/2 + 4*B + 2*B},
	} {
		if got := s.Memory(c.by).Total(); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.by, got, c.want)
		}
	}
	// What does not train, and what is not state, is there whatever the strategy.
	s.Local = device.Usage{device.Weights: 5, device.Activations: 7, device.Staging: 9}
	for _, by := range Strategies {
		if u := s.Memory(by); u[device.Activations] != 7 || u[device.Staging] != 9 || u[device.Weights]%8 != 5 {
			t.Errorf("%s: %v", by, u)
		}
	}
	// One rank that shards nothing is a run of its own.
	s = Sharding{Ranks: 1, Slots: 1, Trained: P, State: Float32}
	if u := s.Memory(fsdp.NoShard); u != (device.Usage{device.Weights: 4 * P, device.Gradients: 4 * P, device.Optimizer: 8 * P}) {
		t.Errorf("alone: %v", u)
	}
}

// What one GPU has, in bytes: a data-centre card and four of the usual ones.
const (
	bigCard   = 80e9
	smallCard = 16e9
)

// Full fine-tuning of 8B fits no GPU in any precision of AdamW's states that this program knows, before there is a
// single activation; with 8-bit states it would.
func TestEightBillionFitNoGPU(t *testing.T) {
	m, _ := FindModel("Llama-3.1-8B")
	P := float64(m.Parameters)
	near(t, "mixed", Mixed.Total()*P, 128.5e9, 1e-3)
	for _, s := range []State{Float32, Mixed, BFloat16} {
		if need := s.Total() * P; need <= bigCard {
			t.Errorf("%.3g bytes fit", need)
		}
	}
	if need := EightBit.Total() * P; need >= bigCard {
		t.Errorf("%.3g bytes do not fit", need)
	}
	// Four cards of 80 GB hold the shards of it.
	if got := Largest(bigCard, 0.3, Mixed, fsdp.FullShard, 4, 32); got < m.Parameters {
		t.Errorf("four cards train %d parameters", got)
	}
}

// Four devices of 16 GB: DDP stops near 700 million parameters, FSDP reaches about 3 billion. This counts 16 bytes a
// parameter (mixed precision or float32) and keeps 30 % of each device for activations, the logits, the batch and the
// system; of FULL_SHARD also two gathered units and one unit's gradients, with the model cut into 28 units as
// Llama-3.2-3B's blocks are.
func TestFourDevices(t *testing.T) {
	const kept, units = 0.3, 28
	for _, state := range []State{Mixed, Float32} {
		near(t, "DDP", float64(Largest(smallCard, kept, state, fsdp.NoShard, 4, units)), 700e6, 0.01)
		near(t, "alone", float64(Largest(smallCard, kept, state, fsdp.NoShard, 1, units)), 700e6, 0.01)
		near(t, "FSDP", float64(Largest(smallCard, kept, state, fsdp.FullShard, 4, units)), 2.8e9, 0.1)
	}
	// The gradients and moments alone, sharded, get half the way.
	near(t, "SHARD_GRAD_OP", float64(Largest(smallCard, kept, Mixed, fsdp.ShardGradOp, 4, units)), 1.85e9, 0.02)
}

// The traffic of a step, and how long networks take for it: the figures of the bandwidth table.
func TestTraffic(t *testing.T) {
	const P = 134515008 // SmolLM2-135M
	W := 2.0 * P
	s := Sharding{Ranks: 4, Group: 2, Slots: 8, Trained: P, Param: 2, Reduce: 2}
	for _, c := range []struct {
		by       fsdp.Strategy
		up, down float64
	}{
		{fsdp.NoShard, 2 * W, 4 * P},
		{fsdp.ShardGradOp, 2*W + W/4, P + W*3/4},
		{fsdp.FullShard, 2*W + W/4, P + 2*W*3/4},
		{fsdp.HybridShard, 2*W + W/2, 2*P + 2*W/2},
	} {
		up, down := s.Traffic(c.by)
		near(t, string(c.by)+" up", up, c.up, 1e-9)
		near(t, string(c.by)+" down", down, c.down, 1e-9)
	}
	s.SumFirst = true
	if up, _ := s.Traffic(fsdp.NoShard); up != W {
		t.Errorf("sums: %v bytes up, want %v", up, W)
	}
	s.SumFirst = false
	// A wired star of four: 2NW/rate.
	s.Slots = 4
	near(t, "four on 1 GbE", s.Seconds(fsdp.FullShard, Link{Rate: 125e6}), 17.2, 0.01)
	// A class of 30 on one access point, in seconds a step.
	for _, c := range []struct {
		trained int64
		by      fsdp.Strategy
		want    float64
	}{
		{15e6, fsdp.ShardGradOp, 49}, {15e6, fsdp.FullShard, 73}, {P, fsdp.ShardGradOp, 7.2 * 60}, {P, fsdp.FullShard, 11 * 60},
		{460800, fsdp.ShardGradOp, 1.5}, // LoRA on q and v, r 8
	} {
		class := Sharding{Ranks: 30, Slots: 30, Trained: c.trained, Param: 2, Reduce: 2}
		near(t, "class", class.Seconds(c.by, Link{Rate: 37.5e6, Shared: true}), c.want, 0.06)
	}
}
