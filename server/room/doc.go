// Package room coordinates tabs that train one model: it gives slots and shards to tabs, sums gradients, decides each step, and
// stores what a run needs to continue after a crash. docs/room-protocol.md shows the protocol on one page.
//
// Room is a state machine without I/O or clock: Handle takes an event and the time, and returns effects. Host runs it with
// disk and sockets; the simulator in the tests runs the same code on a clock of its own. The host's storage and messages
// stand behind four small interfaces: Log, Blobs, Leases and Bus.
//
// A step, from version s of the parameters to version s+1:
//
//  1. Its V slots are given to tabs. A slot that takes too long gets a copy elsewhere; one whose tab is gone is given
//     to another. The first copy that is ready counts.
//  2. The room pulls the slots' gradients piece by piece and adds each piece in the order of the slots. A piece with an
//     infinity, a NaN or a number of 2^62 or more is not added, and another tab computes its slot.
//  3. When all pieces are added the room computes the norm and the clip factor and decides the step. It stores the reduced
//     gradient and logs the decision before it tells any tab: that is the commit.
//  4. The holders of the shards pull their parts of the reduced gradient and update. Where parameters are sharded, the
//     room pulls the new parameters; once it has all, the version is sealed and tabs may gather it.
//
// If version s is to be evaluated, that happens before step s. The slots of the evaluation are given out in the same way. The
// result of a slot is a sum of losses with its counts and travels in the tab's status. The room checks the results, adds them
// in the order of the slots and logs the sum before it tells any tab.
//
// Every run.Checkpoint steps the room pulls the state of each shard into a checkpoint. A shard that no tab holds is made again
// from the checkpoint by replaying the reduced gradients since, through the same kernels.
package room
