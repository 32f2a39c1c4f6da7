package ui

// Join is the form by which a tab takes a seat in a room, on the first screen.
type Join struct{ Room *Room }
