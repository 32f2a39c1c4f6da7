package openai

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"llamatab/engine/message"
	"llamatab/server/exit"
)

// standIn is a model that says the words of its list, one piece each, with spaces between.
type standIn struct {
	asked []message.Ask
	words []string
	err   error
}

func (m *standIn) Ask(ctx context.Context, a message.Ask, each func(string)) (*message.Reply, error) {
	m.asked = append(m.asked, a)
	r := &message.Reply{Finish: "stop", PromptTokens: 7, CachedTokens: 3}
	for _, w := range m.words {
		if ctx.Err() != nil {
			r.Finish = "cancelled"
			break
		}
		each(w)
		r.Text += w
		r.Tokens++
	}
	return r, m.err
}

func post(t *testing.T, address, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.Post(address+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(text)
}

const hello = `"messages": [{"role": "user", "content": "Hi"}]`

func start(t *testing.T, m *standIn) string {
	s := httptest.NewServer(New("tales", m).Handler())
	t.Cleanup(s.Close)
	return s.URL
}

func TestCompletion(t *testing.T) {
	m := &standIn{words: []string{"Good", " day"}}
	address := start(t, m)
	status, _, body := post(t, address, `{"model": "any", `+hello+`, "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 12, "seed": 3, "stop": ["\n"], "n": 1, "user": "me", "logprobs": null}`)
	var got struct {
		Object, Model string
		Choices       []struct {
			Index   int
			Message struct{ Role, Content string }
			Finish  string `json:"finish_reason"`
		}
		Usage struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
			Total      int `json:"total_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	c := got.Choices[0]
	if got.Object != "chat.completion" || got.Model != "tales" || c.Message.Role != "assistant" || c.Message.Content != "Good day" || c.Finish != "stop" ||
		got.Usage.Prompt != 7 || got.Usage.Completion != 2 || got.Usage.Total != 9 {
		t.Errorf("answers %s", body)
	}
	a := m.asked[0]
	if !reflect.DeepEqual(a.Sampling, message.GenerateJob{Temperature: 0.5, TopP: 0.9, MaxNewTokens: 12, Seed: 3}) || len(a.Stop) != 1 || string(a.Conversation) != `{"messages":[{"role":"user","content":"Hi"}]}` {
		t.Errorf("asked %+v, %s", a, a.Conversation)
	}
}

func TestStream(t *testing.T) {
	address := start(t, &standIn{words: []string{"Good", " day"}})
	status, header, body := post(t, address, `{`+hello+`, "stream": true, "stream_options": {"include_usage": true}}`)
	if status != 200 || header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %v", status, header)
	}
	var text, finish string
	var usage, events int
	lines := bufio.NewScanner(strings.NewReader(body))
	var last string
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		last = data
		if events++; data == "[DONE]" {
			continue
		}
		var e struct {
			Object  string
			Choices []struct {
				Delta  struct{ Role, Content string }
				Finish string `json:"finish_reason"`
			}
			Usage *struct {
				Total int `json:"total_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Object != "chat.completion.chunk" {
			t.Fatalf("%v: %s", err, data)
		}
		for _, c := range e.Choices {
			text, finish = text+c.Delta.Content, finish+c.Finish
		}
		if e.Usage != nil {
			usage = e.Usage.Total
		}
	}
	if text != "Good day" || finish != "stop" || usage != 9 || last != "[DONE]" || events != 6 {
		t.Errorf("streams %q, finish %q, usage %d, %d events:\n%s", text, finish, usage, events, body)
	}
}

// slow is a model that is silent until it is told to answer.
type slow struct {
	standIn
	answer chan struct{}
}

func (m *slow) Ask(ctx context.Context, a message.Ask, each func(string)) (*message.Reply, error) {
	<-m.answer
	return m.standIn.Ask(ctx, a, each)
}

// A stream in which nothing is said for a while has comments, which no client takes for an event, also while it waits for its turn.
// An answer that is not streamed has none.
func TestKeepAlive(t *testing.T) {
	m := &slow{standIn{words: []string{"Good"}}, make(chan struct{})}
	s := New("tales", m)
	s.silence = 2 * time.Millisecond
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	r, err := http.Post(server.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{`+hello+`, "stream": true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	comments, text := 0, ""
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, ":") {
			if comments++; comments == 2 {
				close(m.answer)
			}
		} else {
			text += line
		}
	}
	if comments < 2 || !strings.Contains(text, `"content":"Good"`) || !strings.HasSuffix(text, "data: [DONE]") || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("%d comments, %s", comments, text)
	}
	if _, _, body := post(t, server.URL, `{`+hello+`}`); strings.Contains(body, ": still") || !json.Valid([]byte(body)) {
		t.Errorf("an answer that is not streamed: %s", body)
	}
}

// A browser that asks first what it may do is told.
func TestPreflight(t *testing.T) {
	request, err := http.NewRequest("OPTIONS", start(t, &standIn{})+"/v1/chat/completions", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusNoContent || r.Header.Get("Allow") == "" || r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("status %d, %v", r.StatusCode, r.Header)
	}
}

// Requests as clients write them are answered: content in parts, the role developer, all of what openai-python, openai-node,
// LangChain and Open WebUI send that asks for nothing.
func TestClients(t *testing.T) {
	m := &standIn{}
	address := start(t, m)
	for name, body := range map[string]string{
		"openai-python": `{"model": "tales", "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "max_completion_tokens": 9, "stop": ["\n", "END"], "stream": true, "stream_options": {"include_usage": true}}`,
		"LangChain":     `{"model": "tales", ` + hello + `, "n": 1, "temperature": 0.7, "max_tokens": 9, "logprobs": false, "frequency_penalty": 0, "presence_penalty": 0.0, "top_p": 1, "stream": false, "stop": ["\n", "END"]}`,
		"Open WebUI":    `{"stream": true, "model": "tales", ` + hello + `, "max_tokens": 9, "metadata": {}, "user": "x", "stop": ["\n", "END"], "stream_options": {"include_usage": true}}`,
	} {
		m.asked = nil
		if status, _, answer := post(t, address, body); status != 200 || len(m.asked) != 1 {
			t.Errorf("%s: status %d, %s", name, status, answer)
		} else if a := m.asked[0]; a.Sampling.MaxNewTokens != 9 || len(a.Stop) != 2 {
			t.Errorf("%s: asked %+v", name, a)
		}
	}
}

// What the engine does not do is refused by name, and what asks for nothing is let pass.
func TestRefusals(t *testing.T) {
	address := start(t, &standIn{})
	for body, want := range map[string]string{
		`{`:                                 "not a JSON object",
		`{"temperature": 1}`:                "messages is missing",
		`{` + hello + `, "n": 2}`:           "n is not available",
		`{` + hello + `, "logprobs": true}`: "logprobs is not available",
		`{` + hello + `, "tool_choice": "required"}`:                  "tool_choice is not available",
		`{` + hello + `, "response_format": {"type": "json_object"}}`: "response_format is not available",
		`{` + hello + `, "temprature": 1}`:                            "temprature is no setting",
		`{` + hello + `, "temperature": "hot"}`:                       "temperature wants a number",
		`{` + hello + `, "temperature": -1}`:                          "temperature wants 0",
		`{` + hello + `, "top_p": 0}`:                                 "top_p wants more than 0",
		`{` + hello + `, "max_tokens": 0}`:                            "max_tokens wants 1",
		`{` + hello + `, "stop": 1}`:                                  "stop wants a text",
		`{` + hello + `, "stop": [""]}`:                               "empty text",
		`{` + hello + `, "seed": -1}`:                                 "seed wants",
	} {
		status, _, answer := post(t, address, body)
		var e struct {
			Error struct{ Message, Type string }
		}
		if json.Unmarshal([]byte(answer), &e) != nil || status != 400 || e.Error.Type != "invalid_request_error" || !strings.Contains(e.Error.Message, want) {
			t.Errorf("%s: status %d, %s; want %q", body, status, answer, want)
		}
	}
	for _, pass := range []string{`"n": 1`, `"frequency_penalty": 0`, `"response_format": {"type": "text"}`, `"tool_choice": "auto"`, `"stop": null`, `"metadata": {"a": "b"}`} {
		if status, _, answer := post(t, address, `{`+hello+`, `+pass+`}`); status != 200 {
			t.Errorf("%s: status %d, %s", pass, status, answer)
		}
	}
}

// The model's own errors keep their kind: one of the conversation is the client's, one of the engine is the server's.
func TestModelErrors(t *testing.T) {
	m := &standIn{err: &exit.Error{Code: exit.BadUsage, Err: errors.New("message 1: the role is unknown")}}
	address := start(t, m)
	if status, _, body := post(t, address, `{`+hello+`}`); status != 400 || !strings.Contains(body, "the role is unknown") {
		t.Errorf("status %d, %s", status, body)
	}
	m.err = errors.New("the device is lost")
	if status, _, body := post(t, address, `{`+hello+`}`); status != 500 || !strings.Contains(body, "server_error") {
		t.Errorf("status %d, %s", status, body)
	}
	m.words = []string{"Go"} // the error comes in the middle of a stream
	if status, _, body := post(t, address, `{`+hello+`, "stream": true}`); status != 200 || !strings.Contains(body, "the device is lost") || strings.Contains(body, "[DONE]") {
		t.Errorf("status %d, %s", status, body)
	}
}

// Requests beyond those that may wait are refused; one that has gone away while it waited is not put to the model.
func TestQueue(t *testing.T) {
	m := &standIn{words: []string{"a"}}
	s := New("tales", m)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	for range maxWaiting + 1 {
		s.waiting <- struct{}{}
	}
	if status, header, body := post(t, server.URL, `{`+hello+`}`); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v, %s", status, header, body)
	}
	<-s.waiting
	s.turn <- struct{}{} // another request is answered
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(`{`+hello+`}`))
	s.Handler().ServeHTTP(httptest.NewRecorder(), r)
	<-s.turn
	if len(m.asked) != 0 || len(s.waiting) != maxWaiting {
		t.Errorf("asked %d times, %d requests wait", len(m.asked), len(s.waiting))
	}
	if status, _, body := post(t, server.URL, `{`+hello+`}`); status != 200 || len(m.asked) != 1 {
		t.Errorf("status %d, %s", status, body)
	}
}

func TestModels(t *testing.T) {
	address := start(t, &standIn{})
	for path, want := range map[string]int{"/v1/models": 200, "/v1/models/tales": 200, "/v1/models/other": 404, "/v1/embeddings": 404} {
		r, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != want || want == 200 && !strings.Contains(string(text), `"id":"tales"`) {
			t.Errorf("%s: status %d, %s", path, r.StatusCode, text)
		}
	}
}
