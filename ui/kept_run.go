package ui

import (
	"encoding/json"

	"llamatab/engine/message"
)

// tryout are the first prompts and the first temperature for trying the result of a run.
type tryout struct {
	Prompts     []string `json:"prompts,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
}

// keptRun is a run that the browser keeps.
type keptRun struct {
	ID    string    `json:"id"`
	Meta  runMeta   `json:"meta"`
	State *struct { // nil while it runs, and after an interruption
		Stage   string `json:"stage"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Next    string `json:"next"`
	} `json:"state"`
	Live       bool           `json:"live"` // a tab is training it
	Step       int            `json:"step"`
	Loss       *message.Float `json:"loss"`
	Checkpoint int            `json:"checkpoint"` // step of the newest, 0 for none
	Bytes      int64          `json:"bytes"`
	Files      []string       `json:"files"` // files and folders of the run's folder
}

// runMeta is what the page records about a run before it starts.
type runMeta struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Created string          `json:"created"`
	Config  json.RawMessage `json:"config"` // run.json as given
	Steps   int             `json:"steps"`
	tryout
	// Conversations: the rows of the data are conversations. Nil where the page did not know when the run began.
	Conversations *bool             `json:"conversations,omitempty"`
	Inputs        map[string]source `json:"inputs,omitempty"`
	Room          *roomMeta         `json:"room,omitempty"` // the room that the run belongs to
}
