package config

import (
	"fmt"
	"math"
)

// FromTheHead unfreezes from the top down: first the output head and the final norm, then one more block every so many
// steps, up to so many blocks. Howard & Ruder 2018, arXiv:1801.06146, call it gradual unfreezing.
func FromTheHead(blocks, every int) []Stage {
	var stages []Stage
	for k := range blocks + 1 {
		parts := []Part{{Select: LMHead}, {Select: Norm}}
		if k > 0 {
			parts = append(parts, Part{Select: fmt.Sprintf("%slast:%d", layersPrefix, k)})
		}
		stages = append(stages, Stage{Step: k * every, Trainable: parts})
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
