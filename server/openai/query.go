package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"llamatab/engine/message"
)

// defaultTokens is the length of an answer, at most, where a request does not say it.
const defaultTokens = 1024

// query is a request that has been read.
type query struct {
	ask    message.Ask
	stream bool
	usage  bool // of a stream: its last event has the numbers of tokens
}

// parse reads a request.
func parse(body io.Reader) (*query, error) {
	text, err := io.ReadAll(body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &apiError{http.StatusRequestEntityTooLarge, "too_large", "", fmt.Sprintf("a request of more than %d bytes", tooLarge.Limit)}
	} else if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, &apiError{http.StatusBadRequest, "invalid_json", "", "the body is not a JSON object: " + err.Error()}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value, empty := compacted(fields[key]), without[key]
		switch _, refused := without[key]; {
		case value == "null":
			delete(fields, key)
		case refused && !slices.Contains(empty, value):
			return nil, bad(key, "is not available here; leave it out")
		case !refused && !slices.Contains(known, key):
			return nil, bad(key, "is no setting of chat completions that is known here; leave it out")
		}
	}
	if fields["messages"] == nil {
		return nil, bad("messages", "is missing")
	}
	q := &query{}
	conversation := map[string]json.RawMessage{"messages": fields["messages"]}
	if tools := fields["tools"]; tools != nil {
		conversation["tools"] = tools
	}
	if q.ask.Conversation, err = json.Marshal(conversation); err != nil {
		return nil, err
	}
	return q, q.settings(fields)
}

// settings reads how the answer is wanted.
func (q *query) settings(fields map[string]json.RawMessage) error {
	s := &q.ask.Sampling
	s.Temperature, s.TopP, s.MaxNewTokens, s.Seed = 1, 1, defaultTokens, rand.Uint64N(1<<53)
	var options struct {
		IncludeUsage bool `json:"include_usage"`
	}
	for _, f := range []struct {
		key    string
		into   any
		wanted string
	}{
		{"temperature", &s.Temperature, "a number"}, {"top_p", &s.TopP, "a number"}, {"top_k", &s.TopK, "a whole number"},
		{"max_tokens", &s.MaxNewTokens, "a whole number"}, {"max_completion_tokens", &s.MaxNewTokens, "a whole number"}, {"seed", &s.Seed, "a whole number of 0 or more"},
		{"stream", &q.stream, "true or false"}, {"stream_options", &options, "an object"},
	} {
		if raw := fields[f.key]; raw != nil && json.Unmarshal(raw, f.into) != nil {
			return bad(f.key, "wants "+f.wanted)
		}
	}
	q.usage = options.IncludeUsage
	if raw := fields["stop"]; raw != nil {
		var one string
		if json.Unmarshal(raw, &one) == nil {
			q.ask.Stop = []string{one}
		} else if json.Unmarshal(raw, &q.ask.Stop) != nil {
			return bad("stop", "wants a text or a list of texts")
		}
	}
	switch {
	case s.MaxNewTokens < 1:
		return bad("max_tokens", "wants 1 or more")
	case s.Temperature < 0 || s.Temperature > 100:
		return bad("temperature", "wants 0 to 100")
	case !(s.TopP > 0 && s.TopP <= 1):
		return bad("top_p", "wants more than 0 and at most 1")
	case s.TopK < 0:
		return bad("top_k", "wants 0 or more")
	case slices.Contains(q.ask.Stop, ""):
		return bad("stop", "has an empty text")
	}
	return nil
}

func bad(param, text string) error {
	return &apiError{http.StatusBadRequest, "invalid_value", param, param + " " + text}
}

// compacted is a JSON value without white space.
func compacted(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return strings.TrimSpace(string(raw))
	}
	return b.String()
}
