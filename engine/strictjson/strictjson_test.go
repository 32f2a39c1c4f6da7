package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRepeatedKey(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "", `[]`: "", `"a"`: "", `{"a": 1, "b": 2}`: "", `{"a": 1, "b": {"a": 2}}`: "", `[{"a": 1}, {"a": 1}]`: "",
		`{"a": "a", "b": ["a", "a"], "c": "b"}`: "", `{"a\"": 1, "a": 2, "b": "{\"a\": 1, \"a\": 2}"}`: "",
		`{"a": 1, "b": 2, "a": 1}`: "a", `{"x": [{"a": 1, "a": 2}]}`: "a", `{"a": {"b": 1}, "c": {"b": 1, "b": 2}}`: "b",
		`{"a": 1, "\u0061": 2}`: "a", `{"": 1, "a": 2, "b": [1, {}], "a": 3}`: "a",
	} {
		if !json.Valid([]byte(text)) {
			t.Fatal(text)
		}
		if got, found := RepeatedKey([]byte(text)); got != want || found != (want != "") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestLoneSurrogate(t *testing.T) {
	for text, want := range map[string]string{
		`"a"`: "", `"\n\u00e9\\"`: "", `"\ud83d\ude00"`: "", `"\uD83D\uDE00x"`: "", `"\\ud83d"`: "", `"\\\\ud83d"`: "", `"d83d"`: "", `"\ud7ff\ue000"`: "",
		`"\ud83d"`: `\ud83d`, `"\ude00"`: `\ude00`, `"\ude00\ud83d"`: `\ude00`, `"\ud83dx\ude00"`: `\ud83d`, `"\ud83d\ud83d\ude00"`: `\ud83d`, `"\\\ud83d"`: `\ud83d`,
		`"\ud83d\ude00\uDC00"`: `\uDC00`, `{"\ud83d": 1}`: `\ud83d`,
	} {
		if !json.Valid([]byte(text)) {
			t.Fatal(text)
		}
		if got := LoneSurrogate([]byte(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzStrict compares with what encoding/json does: it writes U+FFFD for a lone surrogate, and its decoder names each key.
func FuzzStrict(f *testing.F) {
	for _, text := range []string{`{"a": 1, "a": 2}`, `{"a": [{"b": "\ud83d"}], "c": "\ud83d\ude00"}`, `[1, "x", {"": null}]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || !utf8.ValidString(text) {
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		_, found := RepeatedKey([]byte(text))
		if want := repeats(d); found != want {
			t.Errorf("%q: a repeated key %v, want %v", text, found, want)
		}
		var v any
		if LoneSurrogate([]byte(text)) != "" && json.Unmarshal([]byte(text), &v) == nil {
			if out, _ := json.Marshal(v); !strings.Contains(string(out), "\ufffd") && !found {
				t.Errorf("%q has no lone surrogate: %s", text, out)
			}
		}
	})
}

// repeats reads one value and reports whether an object in it has a key twice.
func repeats(d *json.Decoder) (found bool) {
	token, err := d.Token()
	if err != nil {
		return false
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			key, _ := d.Token()
			found = found || seen[key.(string)]
			seen[key.(string)] = true
			found = repeats(d) || found
		}
	case json.Delim('['):
		for d.More() {
			found = repeats(d) || found
		}
	default:
		return false
	}
	d.Token()
	return found
}
