package plan

import (
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
)

// State is the memory of training with AdamW, in bytes for each trained parameter.
type State struct {
	Weight   float64 // that programs read
	Gradient float64
	Master   float64 // float32 copy that the update changes, 0 if it changes Weight
	Moments  float64 // both moments together
}

// Total is the sum, on a device without sharding.
func (s State) Total() float64 { return s.Weight + s.Gradient + s.Master + s.Moments }

// owned is the size of the weight that its owner keeps from step to step.
func (s State) owned() float64 {
	if s.Master > 0 {
		return s.Master
	}
	return s.Weight
}

// States in the usual precisions. The 16 bytes of mixed precision are those of Rajbhandari et al. 2020, arXiv:1910.02054,
// section 3.1.
var (
	Float32  = State{Weight: 4, Gradient: 4, Moments: 8}            // 16
	Mixed    = State{Weight: 2, Gradient: 2, Master: 4, Moments: 8} // 16
	BFloat16 = State{Weight: 2, Gradient: 2, Moments: 8}            // 12, with stochastic rounding
	EightBit = State{Weight: 2, Gradient: 2, Moments: 2}            // 6, Dettmers et al. 2021, arXiv:2110.02861; not in this program
)

// Strategies lists the sharding strategies, from the one that shards least.
var Strategies = []fsdp.Strategy{fsdp.NoShard, fsdp.ShardGradOp, fsdp.HybridShard, fsdp.FullShard}

// reduced is the size of an element of the reduced gradient, which is float32 also if gradients are sent as bfloat16.
const reduced = 4

// Sharding describes a run over ranks, which compute the micro-batches of a step and own shards of the trained parameters.
type Sharding struct {
	Ranks int // N
	Group int // ranks that together hold one set of shards under HYBRID_SHARD; under the other strategies all ranks do
	Slots int // V: micro-batches of a step, for all ranks together
	// SumFirst says that under NO_SHARD a rank adds the gradients of its micro-batches and sends the sum.
	SumFirst bool

	Trained int64 // P: trained parameters
	Unit    int64 // B: trained parameters of the largest unit
	Units   int   // number of units, 0 for many
	Param   int   // bytes of a gathered parameter
	Reduce  int   // bytes of a gradient on the wire
	State
	// Local is the memory that every rank needs under any strategy: frozen weights, activations, staging.
	Local device.Usage
}

// Memory is the memory of one rank in bytes, by kind. c, g, m and v are the bytes of weight, gradient, owned weight and moments,
// and S ranks hold one set of shards:
//
//	NO_SHARD       c·P (+ the master's) weights,  g·P gradients,                v·P optimizer
//	SHARD_GRAD_OP  c·P + m·P/N weights,           4·P/N + g·B gradients,        v·P/N optimizer
//	FULL_SHARD     m·P/N + 2·c·B weights,         4·P/N + g·B gradients,        v·P/N optimizer
//	HYBRID_SHARD   as FULL_SHARD with N = S
//
// FULL_SHARD has two units gathered at a time, the one in use and the next. Under sharding, gradients are those of the unit that
// is being reduced and the owned part of the sum. In mixed precision this is 16P, 2P + 12P/N + 4P/N + 2B and
// (12P + 4P)/N + 4B + 2B.
func (s Sharding) Memory(by fsdp.Strategy) device.Usage {
	P, B, N := float64(s.Trained), float64(s.Unit), float64(s.Shards(by))
	var weights, gradients, optimizer float64
	switch by {
	case fsdp.NoShard:
		weights, gradients, optimizer = (s.Weight+s.Master)*P, s.Gradient*P, s.Moments*P
	case fsdp.ShardGradOp:
		weights = s.Weight*P + s.owned()*P/N
	default:
		live := 2.0 // the unit in use and the next
		if s.Units == 1 {
			live = 1
		}
		weights = s.owned()*P/N + live*s.Weight*B
	}
	if by.Sharded() {
		gradients, optimizer = reduced*P/N+s.Gradient*B, s.Moments*P/N
	}
	u := s.Local
	u[device.Weights] += int64(weights)
	u[device.Gradients] += int64(gradients)
	u[device.Optimizer] += int64(optimizer)
	return u
}

// Shards is the number of ranks that P is divided by.
func (s Sharding) Shards(by fsdp.Strategy) int {
	if by == fsdp.HybridShard && s.Group > 0 {
		return min(s.Group, s.Ranks)
	}
	return s.Ranks
}

// Traffic is the bytes that one rank sends to the room and receives from it in a step: fsdp.Forecast for the S ranks that hold
// one set of shards, with the gradients of the rank's part of the V slots,
//
//	(V/N)·P·b_reduce
//
// The gradient of each slot is sent by itself, so that the sum does not depend on N, unless SumFirst is set.
func (s Sharding) Traffic(by fsdp.Strategy) (up, down float64) {
	t := fsdp.Forecast(by, int(s.Trained), 0, s.Shards(by), s.Reduce, s.Param)
	sent := s.Slots
	if s.SumFirst && by == fsdp.NoShard {
		sent = min(sent, s.Ranks)
	}
	return t.Up + float64(sent)/float64(s.Ranks)*float64(s.Trained)*float64(s.Reduce), t.Down
}

// Link is the network between the ranks and the room, in bytes a second. All traffic passes the room's connection.
type Link struct {
	Rate   float64
	Shared bool // both directions share the rate, as on one radio channel
}

// NamedLink is a kind of network with its rates.
type NamedLink struct {
	Name string
	Link
}

// Links are usual networks: the loopback of one machine, at the measured rate of a relay; a wire of 1 Gbit/s; one wireless access
// point, which carries about 300 Mbit/s for all of its clients together.
var Links = []NamedLink{
	{"local", Link{Rate: 330e6}}, {"1gbit", Link{Rate: 125e6}}, {"wifi", Link{Rate: 37.5e6, Shared: true}},
}

// Seconds is the time of a step's traffic.
func (s Sharding) Seconds(by fsdp.Strategy, over Link) float64 {
	up, down := s.Traffic(by)
	up, down = up*float64(s.Ranks), down*float64(s.Ranks)
	if over.Shared {
		return (up + down) / over.Rate
	}
	return max(up, down) / over.Rate
}

// Largest is the number of parameters of the largest model that AdamW can train as a whole on devices with so many bytes each. A
// fraction of the bytes is reserved for activations and the rest of the program. The model has units of about the same size.
func Largest(memory, kept float64, state State, by fsdp.Strategy, ranks, units int) int64 {
	const P = 1 << 30
	m := Sharding{Ranks: ranks, Trained: P, Unit: P / int64(units), State: state}.Memory(by)
	return int64(memory * (1 - kept) * P / float64(m.Total()))
}
