// Package train is the training loop. A Trainer submits optimizer steps, reads their results one step late, and writes and
// restores checkpoints. A Loop drives a Trainer through a run: it evaluates, samples, saves, obeys the person's controls,
// and reacts to what the losses show: spikes, plateaus, overfitting, steps that are not finite, a lost device.
//
// # When a run goes wrong
//
// watch.go follows the losses: a band for spikes, a plateau, overfitting, patience, and the best held-out loss. Its state is
// part of every checkpoint, so a resumed run judges as an uninterrupted one does. What it finds becomes events. A policy
// that asks for more returns a setback, which makes the loop go back.
//
// Going back (rollback.go) restores trained parameters, moments and the step count from the latest checkpoint whose weights
// have given a good loss, or from the start. The learning rate is halved and the data continues after the bad rows. Rows
// that are known to be at fault stay out. All of this is in trainer_state.json.
//
// A step that is not finite is computed once more with a replay.Inspector (diagnose.go). It adds a launch after every
// launch, on the memory that was written, so the plan of the memory stays that of the step. The first value that is not
// finite names the tensor, and computing each row alone names the row.
//
// A lost device is opened again with the same kernels (recover.go), and the run continues from its last checkpoint.
package train
