package data

import (
	"slices"

	"llamatab/engine/chat"
	"llamatab/engine/message"
)

// outlines tells whether the outline of the row at hand is kept.
func (e *Encoder) outlines() bool { return e.d.Stats.Rows < e.opt.Outlines }

// outlinePair keeps where prompt and completion begin in a row of tokens, of which the first are added and the others have offsets
// in the text. border is the length of the prompt in bytes. A token over the border belongs to the completion.
func (e *Encoder) outlinePair(offsets [][2]int, added, border int) {
	if e.outlines() {
		e.outline = []message.PreviewTurn{{Role: "prompt"}, {Role: "completion", From: added + tokenAt(offsets, border)}}
	}
}

// outlineTurns keeps where the turns of a conversation begin in a row of tokens with these offsets.
func (e *Encoder) outlineTurns(turns func() []chat.Turn, offsets [][2]int) {
	if !e.outlines() {
		return
	}
	e.outline = nil
	for _, t := range turns() {
		e.outline = append(e.outline, message.PreviewTurn{Role: t.Role, From: tokenAt(offsets, t.From)})
	}
}

// tokenAt is the first token that reaches behind a byte of the text, or the number of tokens.
func tokenAt(offsets [][2]int, at int) int {
	if n := slices.IndexFunc(offsets, func(o [2]int) bool { return o[1] > at }); n >= 0 && at > 0 {
		return n
	} else if at > 0 {
		return len(offsets)
	}
	return 0
}
