package ui

// Join is the form on the first screen that takes a seat in a room.
type Join struct{ Room *Room }
