// Package rank is the engine of one tab of a run over several tabs: a rank, as torch.distributed calls it. It computes
// the slots that the room gives it, updates the shards that it owns, gathers parameters and sends gradients. The rules of
// the exchange are in package fsdp and know no device; package rank does the work on one.
//
// A rank has two goroutines, each of which owns a struct. The communicator, on Join's goroutine, uses the sockets and the
// fsdp.Worker, and records the steps. The computer uses the device. The communicator sends the computer tasks, which are done in
// order, and the computer sends back replies. Neither can reach the other's fields (mail.go).
//
// # Shards
//
// Under FULL_SHARD, SHARD_GRAD_OP and HYBRID_SHARD a rank owns row ranges of each parameter (plan.Shared). A shard is a small
// memory with a layout of its own, which the AdamW launches of an unsharded run update. A micro-batch's tape is compiled in
// parts that touch parameters of one unit each. The gatherer brings each unit to the device before the part that needs it,
// while the next unit is already on its way, and reads a unit's gradients as soon as the backward walk leaves it. Under
// NO_SHARD the one shard is the trainer's own memory. The result is written from the room's last checkpoint, unit by unit.
//
// # Bytes on the wire
//
// Numbers do not pass through Go's memory. wire.go rounds a segment on the GPU, device.Pending.Export leaves what was read as
// device.Bytes (a Uint8Array on WebGPU), and wasm/engine/link.go puts a header before it. What arrives goes the same way into
// Device.Import. Frames wait outside the socket, which holds two. Go's collector cannot see how much JavaScript holds for it,
// so webgpu.NewArray starts a collection every 64 MiB.
package rank
