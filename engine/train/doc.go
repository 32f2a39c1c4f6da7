// Package train is the training loop. A Trainer submits optimizer steps, reads their results one step late, and writes and
// restores checkpoints. A Loop drives a Trainer through a run: it evaluates, samples, saves, obeys the person's controls,
// and reacts to what the losses show: spikes, plateaus, overfitting, steps that are not finite, a lost device.
package train
