package hub

import "fmt"

// Kind says what kind of problem an Error is. The kinds are stable: the page has its words for each.
type Kind string

// Kinds of problems.
const (
	NotFound    Kind = "hub_not_found"   // no such repository, or a private one that the token does not open
	NoRevision  Kind = "hub_no_revision" // no such branch, tag or commit
	NeedsToken  Kind = "hub_token"       // the token is missing or not valid
	Gated       Kind = "hub_gated"       // the model's conditions are not accepted
	Busy        Kind = "hub_busy"        // the hub asks to wait
	Broken      Kind = "hub_broken"      // the hub answers with an error, or with what makes no sense
	Unreachable Kind = "hub_unreachable" // no connection
	Stalled     Kind = "hub_stalled"     // no bytes came for a while, again and again
	Damaged     Kind = "hub_damaged"     // the bytes that came are not those of the file
	DiskFull    Kind = "hub_disk"        // too little room
	Unsuitable  Kind = "hub_unsuitable"  // the repository holds nothing that can be used
	Offline     Kind = "hub_offline"     // fetching is switched off
	InUse       Kind = "hub_in_use"      // a model that somebody works with is to be removed
)

// Error says what is wrong and what to do.
type Error struct {
	Kind Kind
	Text string
	Next string // what the person can do, or ""
	Err  error  // the cause, or nil
}

// Error implements error. The cause is part of Text.
func (e *Error) Error() string {
	if e.Next == "" {
		return e.Text
	}
	return e.Text + "\n  what to do: " + e.Next
}

func (e *Error) Unwrap() error { return e.Err }

func fail(kind Kind, next, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...), Next: next}
}
