// Package train is the training loop. A Trainer submits optimizer steps, reads their results one step late, and writes and
// restores checkpoints. A Loop runs a Trainer from the first step to the last: it evaluates, samples, saves, follows the
// person's commands, and handles spikes, plateaus, overfitting, steps that are not finite, and a lost device. In a run over
// tabs a Loop only records the steps that the room commits (follow.go).
//
// # When a run goes wrong
//
// watch.go follows the losses: a band for spikes, a plateau, overfitting, patience, and the best held-out loss. Its state is
// part of every checkpoint, so a resumed run reports what an uninterrupted run reports. Findings become events. With the
// policies "rollback" of training.on_spike and training.on_nonfinite a step returns a rollbackRequest.
//
// A rollback (rollback.go) restores trained parameters, moments and the step count from the latest checkpoint before the bad
// steps, or from the start. The learning rate is halved and the data continues after the bad rows. Rows that caused a step that
// was not finite are not trained on again. The state of rollbacks is in trainer_state.json.
//
// A step that is not finite is computed once more with a replay.Inspector (diagnose.go). After each launch of the step it runs
// a launch that checks the values that were written, so the memory plan of the step does not change. The first value that is
// not finite gives the tensor. Then each row is computed alone, which gives the rows.
//
// A lost device is opened again with the same kernels (recover.go), and the run continues from its last checkpoint.
package train
