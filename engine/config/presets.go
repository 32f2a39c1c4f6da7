package config

import (
	"math"

	"llamatab/engine/message"
)

// FromTheHead is the schedule of message.UnfreezeFromTheHead.
func FromTheHead(blocks, every int) (stages []Stage) {
	for _, s := range message.UnfreezeFromTheHead(blocks, every) {
		stage := Stage{Step: s.Step}
		for _, part := range s.Trainable {
			stage.Trainable = append(stage.Trainable, Part{Select: part})
		}
		stages = append(stages, stage)
	}
	return stages
}

// Discriminative is a layer_lr_decay with which the lowest of so many blocks learns at a share of the rate of the top one:
// what lies lower is more general, and should move less. The same paper divides by 2.6 a layer, for models of four.
func Discriminative(blocks int, share float64) float64 {
	if blocks < 2 {
		return 1
	}
	return math.Pow(share, 1/float64(blocks-1))
}
