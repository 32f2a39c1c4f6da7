package ui

import (
	"encoding/json"

	"llamatab/engine/message"
)

// tryout is how the result of a run is tried, at first.
type tryout struct {
	Prompts     []string `json:"prompts,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
}

// keptRun is a run that the browser keeps.
type keptRun struct {
	ID    string    `json:"id"`
	Meta  runMeta   `json:"meta"`
	State *struct { // nil: it runs, or was cut off
		Stage   string `json:"stage"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Next    string `json:"next"`
	} `json:"state"`
	Live       bool           `json:"live"` // in some tab
	Step       int            `json:"step"`
	Loss       *message.Float `json:"loss"`
	Checkpoint int            `json:"checkpoint"` // step of the newest, 0 for none
	Bytes      int64          `json:"bytes"`
	Files      []string       `json:"files"` // names on the first level
}

// runMeta is what the page notes of a run before it begins.
type runMeta struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Created string          `json:"created"`
	Config  json.RawMessage `json:"config"` // run.json as given
	Steps   int             `json:"steps"`
	tryout
	Inputs map[string]source `json:"inputs,omitempty"`
	Room   *roomMeta         `json:"room,omitempty"` // that it is a part of
}
