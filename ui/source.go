package ui

import "llamatab/engine/message"

// source says where the files of a mount come from: "chosen" on this visit, the "server", the folder of a "run", results in
// "memory", "kept" copies of files that were chosen earlier, or a model that the browser has "fetched" from a hub.
type source struct {
	From      string               `json:"from"`
	Kind      string               `json:"kind,omitempty"`      // chosen: "model" or "dataset"
	Positions []int                `json:"positions,omitempty"` // chosen: in the list that the browser keeps
	Files     []message.ServerFile `json:"files,omitempty"`     // server
	Run       string               `json:"run,omitempty"`       // run
	Folder    string               `json:"folder,omitempty"`    // run, memory; chosen: of the model, with a slash at its end
	Key       string               `json:"key,omitempty"`       // kept, fetched
}
