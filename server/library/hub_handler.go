package library

import (
	"encoding/json"
	"errors"
	"net/http"

	"llamatab/server/hub"
	"llamatab/server/web"
)

// maxNameRequest bounds a request that names a model, in bytes.
const maxNameRequest = 8 << 10

// HubHandler answers below /hub/ the pages of this machine, which fetch models of the hub through the server:
//
//	GET    /hub/fetches            the hub and the fetches
//	POST   /hub/fetches            {"name"}: begins one, or goes on with it
//	POST   /hub/pause              {"name"}: ends one and keeps what has come
//	POST   /hub/cancel             {"name"}: ends one and removes what has come
//	POST   /hub/remove             {"name"}: removes a model from the cache, by its name in the list of models
//
// Each answers with a HubState, or with a Problem. sameOrigin reports whether a request comes from a page of this server.
func (l Library) HubHandler(sameOrigin func(*http.Request) bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hub/fetches", func(w http.ResponseWriter, r *http.Request) { web.WriteJSON(w, l.Hub.State()) })
	for path, act := range map[string]func(name string) (began string, problem *Problem){
		"/hub/fetches": l.Hub.Begin,
		"/hub/pause":   func(name string) (string, *Problem) { l.Hub.Pause(name); return "", nil },
		"/hub/cancel":  func(name string) (string, *Problem) { return "", stored(l.Hub.Cancel(name)) },
		"/hub/remove":  func(name string) (string, *Problem) { return "", stored(l.Hub.Remove(name)) },
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var request struct{ Name string }
			if !sameOrigin(r) {
				http.Error(w, "send this from a page of this server", http.StatusForbidden)
				return
			}
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNameRequest)).Decode(&request); err != nil {
				http.Error(w, "want {\"name\"}", http.StatusBadRequest)
				return
			}
			began, problem := act(request.Name)
			if problem != nil {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusConflict)
				web.WriteJSON(w, problem)
				return
			}
			state := l.Hub.State()
			state.Began = began
			web.WriteJSON(w, state)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.Hub == nil || !web.FromHere(r) { // the same answer in both cases
			http.NotFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func stored(err error) *Problem {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*hub.Error](err); ok {
		return &Problem{string(e.Kind), e.Text, e.Next}
	}
	return &Problem{Code: "storage", Message: err.Error()}
}
