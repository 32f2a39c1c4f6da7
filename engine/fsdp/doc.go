// Package fsdp is what a room and its tabs agree on when several tabs train one model: units and shards as a pure
// function of the parameters, the frames on the wire, how gradients are added up, and the tab's side of the protocol.
//
// FSDP merges two roles that are kept apart here. A step consists of V slots (micro-batches); whoever computes slot k
// keeps nothing afterwards. The parameters that train consist of S shards; whoever holds shard i keeps its float32
// masters and AdamW's moments, and updates them. V and S belong to the run, not to its tabs: which tab does what
// changes nothing in the result, so a lost tab's slots are computed again and its shards are brought back from the
// last checkpoint by replaying the reduced gradients since.
//
// Two rules make the protocol small:
//
//   - Control messages say states, not changes. A tab says in its Status all that it has, the room says in its Orders
//     all that it wants from that tab, each whenever something changed and again after a while. A message that was
//     lost, doubled or overtaken costs time and nothing else.
//   - Every bulk byte is pulled by its receiver, piece by piece and a bounded number at a time: gradients, parameters
//     and checkpoints by the room; reduced gradients, parameters and states by the tabs. A browser's socket cannot
//     push back, so nobody sends what was not asked for.
//
// Numbers travel as they are. Byte planes, with and without the zigzag of the difference to the step before, under zstd at
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
// Only the delta of gathered parameters is worth having, and it does not pay here. Its decoder puts every byte through Go's
// memory, at less than half of what the socket of one machine carries, and takes 110 kB of the 2 MB that the page may have
// on the wire; the encoder does not fit at all. Its base, the version before, is what FULL_SHARD lets go of. Over the air
// gradients weigh most, and they do not shrink: for those the answer is to train fewer parameters. On the room's disk float32
// would save a sixth.
//
// Nothing in here does I/O or looks at a clock: sockets, GPUs and time are the caller's.
package fsdp
