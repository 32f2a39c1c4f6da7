//go:build soak

package op

import "testing"

// More widths of heads. The widest have shaders of thousands of unrolled lines, and tiles cut short by workgroup memory.
func TestAttentionWidths(t *testing.T) {
	checkAttention(t,
		AttentionShape{B: 2, T: 33, P: 1, Heads: 9, KVHeads: 3, HeadDim: 16},
		AttentionShape{B: 1, T: 40, Heads: 2, KVHeads: 2, HeadDim: 64},
		AttentionShape{B: 1, T: 19, P: 5, Heads: 2, KVHeads: 1, HeadDim: 128},
		AttentionShape{B: 1, T: 9, Heads: 1, KVHeads: 1, HeadDim: 254},
		AttentionShape{B: 1, T: 35, Heads: 3, KVHeads: 1, HeadDim: 256},
	)
}
