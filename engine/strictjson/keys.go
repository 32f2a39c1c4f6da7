package strictjson

import (
	"bytes"
	"encoding/json"
)

// Keys are the keys of a JSON object in their order, those of objects in it left out. Of an object that is cut off they are those up
// to there.
func Keys(object []byte) (keys []string) {
	d := json.NewDecoder(bytes.NewReader(object))
	for depth, isKey := 0, false; ; {
		token, err := d.Token()
		if err != nil {
			return keys
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			isKey = depth == 1
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			isKey = depth == 1
			continue
		}
		if key, ok := token.(string); ok && depth == 1 && isKey {
			keys, isKey = append(keys, key), false
			continue
		}
		if depth == 1 {
			isKey = true
		}
	}
}
