package data

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
)

// Formats that are known and not read in this version: a file that looks like one of them is refused by its name.
func init() {
	const conversations = "conversations are not available in this version: use prompt and completion, or instruction and output"
	Register(Format{
		Config: config.Format{Name: "sharegpt", Place: 40, Title: message.Both("ShareGPT conversations", "ShareGPT 对话")},
		Turn:   70, Detect: has("conversations"), Refusal: conversations,
	})
	Register(Format{
		Config: config.Format{Name: "messages", Place: 50, Title: message.Both("messages of a chat", "messages 对话")},
		Turn:   60, Detect: has("messages"), Refusal: conversations,
	})
}
