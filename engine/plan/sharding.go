package plan

import (
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
)

// State is what AdamW keeps of each parameter that trains, in bytes a parameter.
type State struct {
	Weight   float64 // as the model computes with it
	Gradient float64 // as the backward pass leaves it
	Master   float64 // a float32 copy that the update changes; 0 where it changes Weight itself
	Moments  float64 // both
}

// Total is all of it, on one device that shards nothing.
func (s State) Total() float64 { return s.Weight + s.Gradient + s.Master + s.Moments }

// owned is the weight as its owner keeps it from step to step.
func (s State) owned() float64 {
	if s.Master > 0 {
		return s.Master
	}
	return s.Weight
}

// What AdamW costs in the usual precisions. The 16 bytes of mixed precision are those of Rajbhandari et al. 2020,
// arXiv:1910.02054, section 3.1.
var (
	Float32  = State{Weight: 4, Gradient: 4, Moments: 8}            // 16
	Mixed    = State{Weight: 2, Gradient: 2, Master: 4, Moments: 8} // 16
	BFloat16 = State{Weight: 2, Gradient: 2, Moments: 8}            // 12, with stochastic rounding
	EightBit = State{Weight: 2, Gradient: 2, Moments: 2}            // 6, Dettmers et al. 2021, arXiv:2110.02861; not in this program
)

// Strategies lists the ways to share the state of what trains, from the one that shards least.
var Strategies = []fsdp.Strategy{fsdp.NoShard, fsdp.ShardGradOp, fsdp.HybridShard, fsdp.FullShard}

// reduced is the size of an element of the sum of all ranks' gradients: float32 whatever travels.
const reduced = 4

// Sharding is a run whose micro-batches are shared out to ranks that own shards of what trains.
type Sharding struct {
	Ranks int // N
	Group int // ranks that hold one whole set of shards, of HYBRID_SHARD; the others take all
	Slots int // V: micro-batches of a step, of all ranks together
	// SumFirst has a rank that shards nothing add its micro-batches' gradients up and send the sum.
	SumFirst bool

	Trained int64 // P: parameters that train
	Unit    int64 // B: those of the largest unit that is gathered at a time
	Units   int   // how many there are, 0 for many
	Param   int   // bytes of a parameter that is gathered
	Reduce  int   // bytes of a gradient on the wire
	State
	// Local is what every rank holds whatever the strategy: frozen weights, activations, staging.
	Local device.Usage
}

// Memory is what one rank holds, in bytes by class, with c, g, m, v the bytes of weight, gradient, owned weight and
// moments, S ranks to a set of shards:
//
//	NO_SHARD       c·P (+ the master's) weights,  g·P gradients,                v·P optimizer
//	SHARD_GRAD_OP  c·P + m·P/N weights,           4·P/N + g·B gradients,        v·P/N optimizer
//	FULL_SHARD     m·P/N + 2·c·B weights,         4·P/N + g·B gradients,        v·P/N optimizer
//	HYBRID_SHARD   as FULL_SHARD with N = S
//
// FULL_SHARD has two units gathered at a time, the one in use and the next; sharded gradients are those of the unit
// that is being reduced and the owned part of the sum. In mixed precision this is 16P, 2P + 12P/N + 4P/N + 2B and
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

// Traffic is what one rank sends to the room and receives from it in a step, in bytes: fsdp.Forecast among the S ranks
// that hold one set of shards, with the gradients of the rank's part of the V slots,
//
//	(V/N)·P·b_reduce
//
// Every slot's gradient travels alone, so that the sum does not depend on N, unless SumFirst gives that up.
func (s Sharding) Traffic(by fsdp.Strategy) (up, down float64) {
	t := fsdp.Forecast(by, int(s.Trained), 0, s.Shards(by), s.Reduce, s.Param)
	sent := s.Slots
	if s.SumFirst && by == fsdp.NoShard {
		sent = min(sent, s.Ranks)
	}
	return t.Up + float64(sent)/float64(s.Ranks)*float64(s.Trained)*float64(s.Reduce), t.Down
}

// Link is the network between the ranks and the room, in bytes a second. All traffic passes the room's end of it.
type Link struct {
	Rate   float64
	Shared bool // both directions share the rate, as on one radio channel
}

// NamedLink is a kind of network and what it carries.
type NamedLink struct {
	Name string
	Link
}

// Links are networks as one meets them: the loopback of one machine, as far as a relay through it was measured; a wire
// of 1 Gbit/s; one wireless access point, which carries some 300 Mbit/s for all of its clients together.
var Links = []NamedLink{
	{"local", Link{Rate: 330e6}}, {"1gbit", Link{Rate: 125e6}}, {"wifi", Link{Rate: 37.5e6, Shared: true}},
}

// Seconds is how long the traffic of a step takes.
func (s Sharding) Seconds(by fsdp.Strategy, over Link) float64 {
	up, down := s.Traffic(by)
	up, down = up*float64(s.Ranks), down*float64(s.Ranks)
	if over.Shared {
		return (up + down) / over.Rate
	}
	return max(up, down) / over.Rate
}

// Largest is how many parameters a model may have for AdamW to train all of it in devices with that many bytes each,
// of which a fraction is kept for activations, gathered units beyond those counted and the rest of the program; the
// model's largest unit is one of units of about the same size.
func Largest(memory, kept float64, state State, by fsdp.Strategy, ranks, units int) int64 {
	const P = 1 << 30
	m := Sharding{Ranks: ranks, Trained: P, Unit: P / int64(units), State: state}.Memory(by)
	return int64(memory * (1 - kept) * P / float64(m.Total()))
}
