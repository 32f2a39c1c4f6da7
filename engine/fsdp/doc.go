// Package fsdp is the protocol of several tabs that train one model (fully sharded data parallel): units and shards as a pure
// function of the parameters, the frames on the wire, the sum of the gradients, and the tab's side of the protocol. The
// room's side is server/room; docs/room-protocol.md shows both on one page.
//
// FSDP gives each rank two roles, which are separate here. A step consists of V slots (micro-batches); a tab that has computed
// slot k keeps nothing of it. What trains consists of S shards; the tab that holds shard i keeps its float32 masters and
// AdamW's moments, and updates them. V and S belong to the run, not to its tabs: which tab does what changes nothing in the
// result. The slots of a lost tab are computed again, and its shards are made again from the last checkpoint by replaying the
// reduced gradients since.
//
// Two rules make the protocol small:
//
//   - Control messages say states, not changes. A tab's Status says all that it has, the room's Orders say all that it wants of
//     that tab. Either is sent when something changed, and again after a while. A message that is lost, doubled or late costs
//     time and nothing else.
//   - Every bulk byte is pulled by its receiver, piece by piece and a bounded number at a time: gradients, parameters
//     and checkpoints by the room; reduced gradients, parameters and states by the tabs. A browser's socket cannot
//     push back, so nobody sends what was not asked for.
//
// Numbers travel uncompressed. Byte planes, with and without the zigzag of the difference to the step before, under zstd at
// its fastest (klauspost/compress 1.20.3) were measured on consecutive steps of a full fine-tuning of stories260k; ratio,
// and MB/s of plain numbers encoded and decoded by one thread, natively and in Chromium:
//
//	                                ratio        native      wasm
//	parameters, bfloat16, delta     0.10–0.24    225 / 404   89 / 92     learning rates 1e-4 and 1e-3
//	parameters, bfloat16            0.68         230 / 628   93 / 127
//	parameters, float32, delta      0.49–0.60    323 / 528   127 / 157
//	parameters, float32             0.85         360 / 749   150 / 195
//	moments, float32                0.82–0.85    399 / 737
//
// Only the delta of gathered parameters would save much, and its cost is too high. Its decoder copies every byte through Go's
// memory at less than half of the speed of a local socket, and adds 110 kB to the page; the encoder is larger still. It needs
// the version before, which FULL_SHARD does not keep. Over a network gradients are the largest part, and they do not shrink:
// there training fewer parameters helps. On the room's disk compression of float32 would save a sixth.
//
// The package does no I/O and reads no clock: sockets, GPUs and time are the caller's.
package fsdp
