// Package openai answers POST /v1/chat/completions as OpenAI's API does, from one model on this machine, so that scripts and
// front ends that know the API can talk with it.
//
// What a request asks for and the engine does not do is refused by name. Requests are answered one after another; some may
// wait, more are refused with status 429.
package openai

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"llamatab/engine/message"
	"llamatab/server/exit"
)

// Model answers one conversation at a time.
type Model interface {
	// Ask answers a conversation. each is told each piece of the text as it comes. When ctx is done the answer ends early.
	Ask(ctx context.Context, a message.Ask, each func(text string)) (*message.Reply, error)
}

const (
	maxBody    = 8 << 20 // bytes of a request
	maxWaiting = 32      // requests
)

// Server answers for a model.
type Server struct {
	name    string
	model   Model
	started time.Time
	silence time.Duration // after which a stream says that it goes on
	turn    chan struct{} // holds one token: who has it may ask
	waiting chan struct{} // holds one token for each request that waits or is answered
}

// New makes a server for a model with a name.
func New(name string, model Model) *Server {
	return &Server{name: name, model: model, started: time.Now(), silence: silence, turn: make(chan struct{}, 1), waiting: make(chan struct{}, maxWaiting+1)}
}

// Handler serves /v1/.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []any{s.describe()}})
	})
	mux.HandleFunc("GET /v1/models/{name...}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != s.name {
			refuse(w, &apiError{http.StatusNotFound, "model_not_found", "model", fmt.Sprintf("the model here is %q", s.name)})
			return
		}
		writeJSON(w, http.StatusOK, s.describe())
	})
	mux.HandleFunc("POST /v1/chat/completions", s.complete)
	mux.HandleFunc("OPTIONS /v1/", func(w http.ResponseWriter, r *http.Request) { // before it asks, a browser may ask whether it may
		w.Header().Set("Allow", "GET, POST, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &apiError{http.StatusNotFound, "not_found", "", "there is GET /v1/models and POST /v1/chat/completions"})
	})
	return mux
}

func (s *Server) describe() map[string]any {
	return map[string]any{"id": s.name, "object": "model", "created": s.started.Unix(), "owned_by": "llamatab"}
}

// complete answers one request.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	q, err := parse(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, err)
		return
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		w.Header().Set("Retry-After", "10")
		refuse(w, &apiError{http.StatusTooManyRequests, "queue_full", "", fmt.Sprintf("%d requests are waiting: try again later", maxWaiting)})
		return
	}
	a := &answer{w: w, server: s, query: q, id: newID(), created: time.Now().Unix()}
	w.Header().Set("X-Request-Id", a.id) // clients show it beside errors
	stop := sync.OnceFunc(a.keepAlive(s.silence))
	defer stop() // also where the model panics: nothing may be written after this handler has returned
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-r.Context().Done():
		return
	}
	reply, err := s.model.Ask(r.Context(), q.ask, a.piece)
	stop()
	a.end(reply, err)
}

// answer is the answer to one request.
type answer struct {
	w       http.ResponseWriter
	server  *Server
	query   *query
	id      string
	created int64
	mu      sync.Mutex // guards what follows, and w while keepAlive runs
	begun   bool
	wrote   time.Time // when something was sent last
}

// silence is the longest time in which nothing is sent in a stream. Clients and proxies between give up after half a minute or more.
const silence = 10 * time.Second

// keepAlive sends comments, which clients skip, in a stream that has nothing to say: a long conversation is read for minutes before
// the first token. It returns the function that ends that.
func (a *answer) keepAlive(every time.Duration) (stop func()) {
	if !a.query.stream {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	a.wrote = time.Now()
	go func() {
		defer close(ended)
		for tick := time.NewTicker(every); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				a.comment(every)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// comment sends a comment where nothing was sent for so long.
func (a *answer) comment(every time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.wrote) < every/2 {
		return
	}
	a.begin()
	fmt.Fprint(a.w, ": still working\n\n")
	http.NewResponseController(a.w).Flush()
	a.wrote = time.Now()
}

func newID() string {
	b := make([]byte, 12)
	rand.Read(b)
	return "chatcmpl-" + hex.EncodeToString(b)
}

// piece sends a piece of the text where the request wants it as it comes.
func (a *answer) piece(text string) {
	if !a.query.stream {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begin()
	a.event(map[string]any{"content": text}, nil, nil)
	a.wrote = time.Now()
}

// begin sends the head of a stream of events.
func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	a.w.Header().Set("Content-Type", "text/event-stream")
	a.w.Header().Set("Cache-Control", "no-store")
	a.event(map[string]any{"role": "assistant", "content": ""}, nil, nil)
}

// event sends one event. A finish or a usage of nil is left open.
func (a *answer) event(delta map[string]any, finish any, usage map[string]any) {
	choices := []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": nil}}
	if usage != nil {
		choices = []any{}
	}
	chunk := a.object("chat.completion.chunk", choices)
	if a.query.usage {
		chunk["usage"] = usage
	}
	text, err := json.Marshal(chunk)
	if err != nil {
		panic(err) // plain values
	}
	fmt.Fprintf(a.w, "data: %s\n\n", text)
	http.NewResponseController(a.w).Flush()
}

func (a *answer) object(kind string, choices []any) map[string]any {
	return map[string]any{"id": a.id, "object": kind, "created": a.created, "model": a.server.name, "choices": choices}
}

// end sends what is left when the model has answered.
func (a *answer) end(reply *message.Reply, err error) {
	if err != nil {
		if !a.begun {
			refuse(a.w, modelError(err))
			return
		}
		text, _ := json.Marshal(modelError(err).body())
		fmt.Fprintf(a.w, "data: %s\n\n", text)
		return
	}
	finish := reply.Finish
	if finish == "cancelled" {
		finish = "stop"
	}
	usage := map[string]any{
		"prompt_tokens": reply.PromptTokens, "completion_tokens": reply.Tokens, "total_tokens": reply.PromptTokens + reply.Tokens,
		"prompt_tokens_details": map[string]any{"cached_tokens": reply.CachedTokens},
	}
	if !a.query.stream {
		done := a.object("chat.completion", []any{map[string]any{
			"index": 0, "message": map[string]any{"role": "assistant", "content": reply.Text, "refusal": nil}, "finish_reason": finish, "logprobs": nil}})
		done["usage"] = usage
		writeJSON(a.w, http.StatusOK, done)
		return
	}
	a.begin()
	a.event(map[string]any{}, finish, nil)
	if a.query.usage {
		a.event(nil, nil, usage)
	}
	fmt.Fprint(a.w, "data: [DONE]\n\n")
}

// apiError is an error in the form of the API.
type apiError struct {
	status            int
	code, param, text string
}

func (e *apiError) Error() string { return e.text }

func (e *apiError) body() map[string]any {
	kind := "invalid_request_error"
	if e.status >= http.StatusInternalServerError {
		kind = "server_error"
	}
	var param any
	if e.param != "" {
		param = e.param
	}
	return map[string]any{"error": map[string]any{"message": e.text, "type": kind, "param": param, "code": e.code}}
}

// modelError is an error of the model: of the conversation, or of the engine.
func modelError(err error) *apiError {
	if exit.Code(err) == exit.BadUsage {
		return &apiError{http.StatusBadRequest, "invalid_conversation", "messages", err.Error()}
	}
	return &apiError{http.StatusInternalServerError, "engine_failed", "", err.Error()}
}

// Forbid answers that the request may not ask.
func Forbid(w http.ResponseWriter, why string) {
	refuse(w, &apiError{http.StatusForbidden, "forbidden", "", why})
}

func refuse(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = &apiError{http.StatusBadRequest, "invalid_request", "", err.Error()}
	}
	writeJSON(w, e.status, e.body())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// without are settings that the engine does not have, with the values that ask for nothing.
var without = map[string][]string{
	"n": {"1"}, "presence_penalty": {"0", "0.0"}, "frequency_penalty": {"0", "0.0"}, "logit_bias": {"{}"}, "logprobs": {"false"}, "top_logprobs": {"0"},
	"response_format": {`{"type":"text"}`}, "tool_choice": {`"none"`, `"auto"`}, "functions": {"[]"}, "function_call": {`"none"`}, "modalities": {`["text"]`},
	"audio": nil, "prediction": nil, "web_search_options": nil, "best_of": {"1"}, "min_p": {"0", "0.0"}, "repetition_penalty": {"1", "1.0"},
	"reasoning_effort": {`"none"`}, "verbosity": {`"medium"`},
}

// known are the other settings of the API: those that are read here, and those that change no answer.
var known = []string{
	"model", "messages", "tools", "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "seed", "stream", "stream_options",
	"user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
}
