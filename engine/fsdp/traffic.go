package fsdp

import "llamatab/engine/message"

// Traffic is the bytes that a tab sends (Up) and receives (Down) in a step, without headers.
type Traffic = message.Traffic

// Forecast is the mean traffic of a tab among n of one group, for V slots and P trained parameters:
//
//	sharded    up (V/n)·P·reduce + (P/n)·param    down 4P/n + g·P·param·(n−1)/n
//	NO_SHARD   up (V/n)·P·reduce                  down 4P
//
// reduce and param are the bytes of an element on the wire, g how often a step gathers.
func Forecast(s Strategy, P, V, n, reduce, param int) Traffic {
	p, N := float64(P), float64(n)
	t := Traffic{Up: float64(V) / N * p * float64(reduce), Down: 4 * p}
	if s.Sharded() {
		t.Up += p / N * float64(param)
		t.Down = 4*p/N + float64(s.Gathers())*p*float64(param)*(N-1)/N
	}
	return t
}
