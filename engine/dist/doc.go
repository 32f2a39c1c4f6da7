// Package dist is what a room and its tabs agree on when several tabs train one model: units and shards as a pure
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
// Nothing in here does I/O or looks at a clock: sockets, GPUs and time are the caller's.
package dist
