package turns

import "encoding/json"

// Kind is the kind of a JSON value that is no string and not null, as message.DataColumn names it: a list is "messages" where its
// first object has a role, "sharegpt" where that has from, else "list".
func Kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "object"
	case 't', 'f':
		return "boolean"
	case '[':
		var turns []map[string]json.RawMessage
		if json.Unmarshal(raw, &turns) != nil || len(turns) == 0 {
			return "list"
		}
		if _, ok := turns[0]["from"]; ok {
			return "sharegpt"
		}
		if _, ok := turns[0]["role"]; ok {
			return "messages"
		}
		return "list"
	}
	return "number"
}
