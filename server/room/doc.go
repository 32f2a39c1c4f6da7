// Package room coordinates tabs that train one model: it hands out slots and shards, folds gradients, decides about
// each step, and remembers what is needed to go on after anything was lost.
//
// Room is a state machine without I/O or clock: Handle takes an event and the time, and returns effects. What runs it
// for real (Host) and what simulates it share every line of it. The host's storage and messages stand behind four
// small interfaces: Log, Blobs, Leases and Bus.
//
// A step, from version s of the parameters to version s+1:
//
//  1. Its V slots are given to tabs. A slot that takes too long gets a copy elsewhere; one whose tab is gone is given
//     to another. The first copy that is ready counts.
//  2. The room pulls the slots' gradients piece by piece and adds each piece up in the order of the slots. Pieces that
//     are not finite, or absurd, are refused before they are added, and their slot is computed elsewhere.
//  3. All is added up: norm, clipping, and the decision. The reduced gradient is stored and the decision logged before
//     anybody hears of it: that is the commit.
//  4. The holders of the shards pull their parts of the reduced gradient and update. Where parameters are sharded, the
//     room pulls the new ones, and the version is sealed once it has all.
//
// Before the step, where the run evaluates version s, the slots of the evaluation are given out in the same way. What comes
// back of each is a sum of losses with its counts, in the tab's status; it is checked, added up in the order of the slots
// and logged before anybody hears of it. Meanwhile the parameters stay as they are.
//
// Every so many steps the room pulls the state of each shard into a checkpoint. A shard that nobody holds any more is
// made again from there by replaying the reduced gradients since, through the same kernels.
package room
