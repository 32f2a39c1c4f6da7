package tokenizer

import "math/bits"

// merge is the token that a pair becomes. Pairs of lower rank are merged first.
type merge struct{ rank, id int32 }

// noMerge is in the place of a pair that becomes nothing.
var noMerge = merge{rank: 1<<31 - 1, id: missing}

// mergeTable finds the merge of a pair of ids. It is a hash table with open addressing: at twice the speed of a Go map, as
// a pair that becomes nothing, the frequent case, costs one place in memory.
type mergeTable struct {
	slots []mergeSlot // their number is a power of two
	shift int         // 64 less its binary logarithm
}

type mergeSlot struct {
	left, right int32 // left is missing where the slot is free
	merge
}

// newMergeTable makes a table for n merges.
func newMergeTable(n int) mergeTable {
	width := bits.Len(uint(n)) + 1 // at most half full
	t := mergeTable{slots: make([]mergeSlot, 1<<width), shift: 64 - width}
	for i := range t.slots {
		t.slots[i] = mergeSlot{left: missing, right: missing, merge: noMerge}
	}
	return t
}

// slot returns the slot of a pair: its own, or the free one where it belongs. The factor is 2⁶⁴ divided by the golden ratio
// (Knuth, The Art of Computer Programming 3, section 6.4).
func (t *mergeTable) slot(left, right int32) *mergeSlot {
	pair := uint64(uint32(left))<<32 | uint64(uint32(right))
	for i := int(pair * 0x9E3779B97F4A7C15 >> t.shift); ; i++ {
		s := &t.slots[i&(len(t.slots)-1)]
		if s.left == left && s.right == right || s.left == missing {
			return s
		}
	}
}

// set states what a pair becomes; the last statement counts.
func (t *mergeTable) set(left, right int32, to merge) {
	*t.slot(left, right) = mergeSlot{left, right, to}
}

// get returns what a pair becomes, or noMerge.
func (t *mergeTable) get(left, right int32) merge { return t.slot(left, right).merge }
