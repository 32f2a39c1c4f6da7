// Package rank is the engine of one tab of a run over several tabs: a rank, as torch.distributed calls it. It computes
// the slots that the room gives it, updates the shards that it owns, gathers parameters and sends gradients. The rules of
// the exchange are in package fsdp and know no device; package rank does the work on one.
//
// Two goroutines share a member. The talker, Join's own, drives the socket and the fsdp.Worker. The worker goroutine
// drives the device and does what the talker queues, one job after the other.
package rank
