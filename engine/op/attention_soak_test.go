//go:build soak

package op

import "testing"

// The widest heads: shaders of thousands of unrolled lines, and tiles cut short by workgroup memory.
func TestAttentionWideHeads(t *testing.T) {
	checkAttention(t,
		AttentionShape{B: 1, T: 19, P: 5, Heads: 2, KVHeads: 1, HeadDim: 128},
		AttentionShape{B: 1, T: 9, Heads: 1, KVHeads: 1, HeadDim: 254},
		AttentionShape{B: 1, T: 35, Heads: 3, KVHeads: 1, HeadDim: 256},
	)
}
