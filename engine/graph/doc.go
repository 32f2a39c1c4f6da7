// Package graph records a computation once and compiles it to a Program that a device replays.
//
// Model code runs forward on a Tape. Each op launches kernels on Vars and registers, with OnBackward, the launches for its
// gradients. Backward walks those records in reverse. Nothing is computed while recording. Mistakes in shapes panic, and
// Record turns such a panic into an error.
//
// The memory of a recording is known before anything is allocated: Plan puts temporaries with disjoint lifetimes into the
// same slot. A slot is a whole buffer, because WebGPU forbids one launch to read and write parts of one buffer. Extern
// brings in memory that outlives the tape, such as weights and batches, under a key that a Binder resolves. The shapes of a
// recording are fixed, so rows are padded to a few lengths, and each length is a program of its own.
//
// # Gradients
//
// The gradient of a trained parameter lies outside the tape and is always added to. The program that begins a step clears
// it. That is all that gradient accumulation and tied embeddings need.
//
// The gradient of a temporary is made when it is first written. The first launch replaces its content, and later launches
// get the parameter ACCUMULATE. A kernel that writes several gradients has one rule for all of them: new ones are cleared
// first, and then all are added to. A kernel that updates in place starts from zero.
//
// Tape.Alias passes a gradient on without a copy, as for the terms of a sum. The tape counts the holders of a gradient. It
// makes a copy before one of several holders adds to it. A value whose records are done gives up its hold, so that the last
// holder may write in place.
//
// An op that changes a value in place registers it again with OnBackward. Records run in reverse, so each one sees the
// gradient of its own place. Such an op is allowed only where no record before it needs the old value. Views (Tape.Rows)
// have no gradient of their own, and recording one fails.
//
// # Checkpointing
//
// Tape.Checkpoint records a block whose activations are not kept. When the backward walk reaches the block's last record,
// its commands are appended again with new temporaries, which replace the old ones in all later launches. Commands whose
// results nobody reads are dropped at the end. Ops, methods and models do not know about checkpointing, and the bits of the
// result do not change. A decoder checkpoints its first blocks: when the walk reaches them, the later blocks have given up
// their memory.
//
// # Two-byte numbers
//
// With param_dtype bfloat16 or float16 no op changes. Tape.Store sets the type of activations. Before the commands are
// planned, the tape rounds in place what an op returns, once it is complete and before it is read. Activations that a later
// phase needs (the backward walk, or a checkpoint that is computed again) are packed by the same launch, and their float32
// temporary ends there. A binding that is declared Either reads packed numbers, chosen by a shader parameter. For other
// bindings the tape unpacks the numbers once in a phase. Numbers are rounded once, so packing loses nothing, and
// checkpointing changes no bit here either. Statistics that ops save for themselves, sums and the loss stay float32. So do
// gradients between ops, except in float16.
package graph
