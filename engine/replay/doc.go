// Package replay records the work of one micro-batch, one optimizer update or one generated token, and replays it.
//
// A Setup is a job without a device: the model, the data and the plan of its memory. It records tapes. A Stepper is a
// Setup on a device: it compiles those tapes once and replays them for every step. Text continues a text token by token,
// an Inspector finds the first value of a micro-batch that is not finite.
package replay
