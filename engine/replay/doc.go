// Package replay records the work of one micro-batch, one optimizer update or one generated token, and replays it.
//
// A Setup holds the model, the data and the memory plan of a job. It records tapes and needs no device. A Stepper is a Setup on
// a device: it compiles the tapes once and replays them for every step. A Text is continued token by token. An Inspector finds
// the first value of a micro-batch that is not finite.
package replay
