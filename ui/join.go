package ui

import (
	"strconv"

	"llamatab/engine/message"
)

// Join is the form on the first screen that takes a seat in a room.
type Join struct{ Room *Room }

// CodeLimit and NameLimit are the lengths of the form's texts in characters.
func (r *Room) CodeLimit() string { return strconv.Itoa(codeLimit) }

func (r *Room) NameLimit() string { return strconv.Itoa(message.RoomNameLimit) }
