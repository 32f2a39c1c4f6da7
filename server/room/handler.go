package room

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/server/web"
)

// Handler is the HTTP interface of the rooms:
//
//	GET    /api/rooms                the rooms: [View], without tabs
//	POST   /api/rooms                {"id","code","config"} opens one; answers [message.RoomOpening]; from this machine only
//	POST   /api/rooms/join           a [message.SeatRequest]; answers a [message.Seat], and a file pass as a cookie
//	GET    /api/rooms/ID             the View; with the owner's token, tabs and diary as well
//	POST   /api/rooms/ID/look        a page's [message.SeatReport]; answers the View; needs the token of a seat or the owner's
//	POST   /api/rooms/ID/plan        {"tabs"}; answers what a tab holds and moves by strategy; needs a token as well
//	POST   /api/rooms/ID/OP?tab=N    start, pause, resume, remove, lock, unlock; needs the owner's token
//	DELETE /api/rooms/ID             ends the room; needs the owner's token
//	GET    /api/rooms/ID/control     the control socket of a tab
//	GET    /api/rooms/ID/data        its data socket
//
// Tokens travel in the header "Authorization: Bearer TOKEN"; that of a seat is "Bearer TAB.TOKEN". No address holds a secret. A
// refusal is answered with a [message.Refusal].
func (s *Rooms) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/rooms", s.list)
	mux.HandleFunc("POST /api/rooms", s.create)
	mux.HandleFunc("POST /api/rooms/join", s.join)
	mux.HandleFunc("GET /api/rooms/{id}", s.show)
	mux.HandleFunc("POST /api/rooms/{id}/look", s.look)
	mux.HandleFunc("POST /api/rooms/{id}/plan", s.plan)
	mux.HandleFunc("POST /api/rooms/{id}/{op}", s.act)
	mux.HandleFunc("DELETE /api/rooms/{id}", s.end)
	mux.HandleFunc("GET /api/rooms/{id}/control", func(w http.ResponseWriter, r *http.Request) { s.socket(w, r, Control) })
	mux.HandleFunc("GET /api/rooms/{id}/data", func(w http.ResponseWriter, r *http.Request) { s.socket(w, r, Data) })
	return mux
}

// list answers with all rooms, without their tabs.
func (s *Rooms) list(w http.ResponseWriter, _ *http.Request) {
	views := []View{}
	s.mu.Lock()
	for _, h := range s.hosts {
		views = append(views, h.View(false))
	}
	s.mu.Unlock()
	for id, err := range s.shut {
		views = append(views, View{ID: id, Phase: Failed, Reason: err.Error()})
	}
	slices.SortFunc(views, func(a, b View) int { return strings.Compare(a.ID, b.ID) })
	answer(w, http.StatusOK, views)
}

// show answers with one room. Its owner sees the tabs and the diary, too.
func (s *Rooms) show(w http.ResponseWriter, r *http.Request) {
	if h := s.requested(w, r); h != nil {
		answer(w, http.StatusOK, h.View(owns(h, r)))
	}
}

// requested is the room that a request names. Where there is none it answers so and returns nil.
func (s *Rooms) requested(w http.ResponseWriter, r *http.Request) *Host {
	h := s.Find(r.PathValue("id"))
	if h == nil {
		http.Error(w, "there is no such room", http.StatusNotFound)
	}
	return h
}

// requestedByOwner is the room that a request of its owner names. It answers a request that it refuses and returns nil.
func (s *Rooms) requestedByOwner(w http.ResponseWriter, r *http.Request) *Host {
	h := s.requested(w, r)
	if h == nil {
		return nil
	}
	if !s.OriginAllowed(r) || !owns(h, r) {
		http.Error(w, "only the room's owner may do that", http.StatusForbidden)
		return nil
	}
	return h
}

// act controls a room for its owner.
func (s *Rooms) act(w http.ResponseWriter, r *http.Request) {
	h := s.requestedByOwner(w, r)
	if h == nil {
		return
	}
	op := Op(r.PathValue("op"))
	if !slices.Contains([]Op{Start, Pause, Resume, Remove, Lock, Unlock}, op) {
		http.Error(w, "a room can start, pause, resume, remove, lock and unlock", http.StatusNotFound)
		return
	}
	tab, err := strconv.ParseUint(r.URL.Query().Get("tab"), 10, 32)
	if op == Remove && err != nil {
		http.Error(w, "which tab? add ?tab=N", http.StatusBadRequest)
		return
	}
	h.Ask(op, uint32(tab))
	w.WriteHeader(http.StatusNoContent)
}

// maxCreate bounds the body of a request that opens a room: it may list a model's parameters.
const maxCreate = 8 << 20

// create opens a room for a page on this machine, which becomes the room's owner.
func (s *Rooms) create(w http.ResponseWriter, r *http.Request) {
	if !web.FromHere(r) {
		answer(w, http.StatusForbidden, message.Refusal{Code: "elsewhere", Reason: "rooms are opened on the server's own machine"})
		return
	}
	refuse := func(status int, code, reason string) { answer(w, status, message.Refusal{Code: code, Reason: reason}) }
	if !s.ours(r) {
		refuse(http.StatusForbidden, "origin", "send JSON from a page of this server")
		return
	}
	var asked struct {
		ID     string `json:"id"`
		Code   string `json:"code"`
		Config Config `json:"config"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCreate))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		refuse(http.StatusBadRequest, "config", "the room's config: "+err.Error())
		return
	}
	if asked.ID == "" {
		asked.ID = "room-" + newID()
	}
	cfg := asked.Config
	if !(cfg.MinTabs >= 0 && cfg.MaxTabs >= 0 && cfg.Audit >= 0 && cfg.Audit <= 1) {
		refuse(http.StatusUnprocessableEntity, "config", "min_tabs and max_tabs are 0 or more, audit is 0 to 1")
		return
	}
	if cfg.Name = cleanName(cfg.Name); len(cfg.Run.Params) == 0 && s.Describe != nil {
		cfg.Run.ID = asked.ID
		var err error
		if cfg.Tokens, err = s.Describe(&cfg.Run); err != nil {
			refusal := &message.Refusal{Code: "config", Reason: err.Error()}
			errors.As(err, &refusal)
			answer(w, http.StatusUnprocessableEntity, refusal)
			return
		}
	}
	if err := tooLarge(&cfg.Run); err != nil {
		answer(w, http.StatusUnprocessableEntity, err)
		return
	}
	h, err := s.Open(asked.ID, cfg, asked.Code)
	if err != nil {
		refuse(http.StatusUnprocessableEntity, "room", err.Error())
		return
	}
	answer(w, http.StatusCreated, message.RoomOpening{ID: h.ID, Code: h.Code(), Owner: h.OwnerToken(), Addresses: s.Addresses})
}

// MaxTrained bounds the parameters that train in a room which a page opens. The room holds each of them several times.
const MaxTrained = 1 << 28

// tooLarge refuses a run whose parameters are more than MaxTrained, before there is memory for them; nil for another run.
func tooLarge(run *fsdp.Run) *message.Refusal {
	trained := 0
	for _, p := range run.Params {
		n, err := p.Shape.CheckedSize()
		if err != nil {
			return &message.Refusal{Code: "config", Reason: p.Name + ": " + err.Error()}
		}
		if trained += n; n > MaxTrained || trained > MaxTrained {
			return &message.Refusal{Code: "too_many_parameters", Reason: fmt.Sprintf("more than %d parameters train, which a room cannot hold", MaxTrained), Next: "use an adapter, or train fewer layers"}
		}
	}
	return nil
}

// newID names a room that was given no name.
func newID() string {
	var b [5]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// end ends a room for good: its tabs are sent away and its folder is deleted.
func (s *Rooms) end(w http.ResponseWriter, r *http.Request) {
	h := s.requestedByOwner(w, r)
	if h == nil {
		return
	}
	s.mu.Lock()
	mine := s.hosts[h.ID] == h
	delete(s.hosts, h.ID)
	s.mu.Unlock()
	if !mine { // asked for twice
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := h.end(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// join gives a seat to a page with a room's code, or with the token of its seat.
func (s *Rooms) join(w http.ResponseWriter, r *http.Request) {
	if !s.ours(r) {
		answer(w, http.StatusForbidden, message.Refusal{Code: "origin", Reason: "send JSON from a page of this server"})
		return
	}
	var asked message.SeatRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		answer(w, http.StatusBadRequest, message.Refusal{Code: "protocol", Reason: err.Error()})
		return
	}
	from := sourceOf(r)
	var h *Host
	if asked.Token != "" {
		if h = s.Find(asked.ID); h == nil {
			answer(w, http.StatusNotFound, message.Refusal{Code: "gone", Reason: "there is no such room any more"})
			return
		}
		if asked.Tab == 0 || !same(asked.Token, h.token(asked.Tab)) {
			s.limits.drop("token")
			answer(w, http.StatusForbidden, message.Refusal{Code: "token", Reason: errToken.Error()})
			return
		}
	} else {
		asked.Tab = 0
		if !s.limits.mayGuess(from) {
			s.limits.drop("guessing")
			answer(w, http.StatusTooManyRequests, message.Refusal{Code: "guessing", Reason: "too many wrong codes were tried: wait a minute"})
			return
		}
		if h = s.coded(asked.Code); h == nil {
			s.limits.guessed(from)
			s.limits.drop("code")
			answer(w, http.StatusForbidden, message.Refusal{Code: "code", Reason: "no room has this code"})
			return
		}
	}
	if s.Sources == nil || h.run.Job == nil {
		answer(w, http.StatusConflict, message.Refusal{Code: "closed", Reason: "this room's tabs are opened by the program that runs it"})
		return
	}
	sources, err := s.Sources(h.run.Job)
	if err != nil {
		answer(w, http.StatusConflict, message.Refusal{Code: "files", Reason: err.Error()})
		return
	}
	tab, refusal := h.sit(asked.Tab, asked.Name)
	if refusal != nil {
		answer(w, http.StatusConflict, refusal)
		return
	}
	h.givePass(w, r, tab)
	answer(w, http.StatusOK, message.Seat{ID: h.ID, Tab: tab, Token: h.token(tab), Name: cleanName(asked.Name), Room: h.room.cfg.Name, Steps: h.run.Steps, Job: h.run.Job, Sources: sources})
}

// plan answers what each tab would hold and transfer for a number of tabs, by strategy.
func (s *Rooms) plan(w http.ResponseWriter, r *http.Request) {
	h, _, _ := s.known(w, r)
	if h == nil {
		return
	}
	var asked struct {
		Tabs int `json:"tabs"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	if err := d.Decode(&asked); err != nil || asked.Tabs < 1 || asked.Tabs > h.room.cfg.MaxTabs {
		answer(w, http.StatusBadRequest, message.Refusal{Code: "protocol", Reason: "tabs are 1 or more, and no more than the room has room for"})
		return
	}
	if s.Plan == nil || h.run.Job == nil {
		answer(w, http.StatusNotFound, message.Refusal{Code: "closed", Reason: "this room has no job to plan"})
		return
	}
	plan, err := s.Plan(h.run.Job, asked.Tabs)
	if err != nil {
		answer(w, http.StatusInternalServerError, message.Refusal{Code: "plan", Reason: err.Error()})
		return
	}
	answer(w, http.StatusOK, plan)
}

// look takes a page's report and answers with the view of the room. The owner's page sends an empty report.
func (s *Rooms) look(w http.ResponseWriter, r *http.Request) {
	h, tab, owner := s.known(w, r)
	if h == nil {
		return
	}
	var report message.SeatReport
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	if err := d.Decode(&report); err != nil || report.Done < 0 || report.Total < 0 || report.Memory < 0 || len(report.Phase) > maxWord || len(report.Failed) > maxWord {
		answer(w, http.StatusBadRequest, message.Refusal{Code: "protocol", Reason: "this is no report of a tab"})
		return
	}
	if tab != 0 {
		if refusal := h.keepReport(tab, report); refusal != nil {
			answer(w, http.StatusGone, refusal)
			return
		}
	}
	v := h.view(report.Since)
	if owner {
		v.Refused = s.refusals()
	} else {
		v.Diary = nil
	}
	answer(w, http.StatusOK, v)
}

// maxWord bounds the words of a report, in bytes.
const maxWord = 64

// known finds the room of a request and checks its token: it returns the tab's number, or that the request is the owner's. It
// answers a request that it refuses and returns nil.
func (s *Rooms) known(w http.ResponseWriter, r *http.Request) (h *Host, tab uint32, owner bool) {
	if h = s.Find(r.PathValue("id")); h == nil {
		answer(w, http.StatusNotFound, message.Refusal{Code: "gone", Reason: "there is no such room any more"})
		return nil, 0, false
	}
	if tab, owner = h.seatOf(r), owns(h, r); !s.ours(r) || tab == 0 && !owner {
		answer(w, http.StatusForbidden, message.Refusal{Code: "token", Reason: errToken.Error()})
		return nil, 0, false
	}
	return h, tab, owner
}

// ours reports whether a request comes from a page of this server. For this content type a browser asks the server before it
// sends a request of another site, and this server allows none.
func (s *Rooms) ours(r *http.Request) bool {
	return s.OriginAllowed(r) && r.Header.Get("Content-Type") == "application/json"
}

// owns reports whether a request carries the token of the room's owner.
func owns(h *Host, r *http.Request) bool { return h.Owns(bearer(r)) }

// bearer is the token of a request: the owner's, or "TAB.TOKEN" of a seat.
func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// seatOf is the tab whose token a request carries, 0 for none.
func (h *Host) seatOf(r *http.Request) uint32 {
	number, token, _ := strings.Cut(bearer(r), ".")
	tab, err := strconv.ParseUint(number, 10, 32)
	if err != nil || tab == 0 || !same(token, h.token(uint32(tab))) {
		return 0
	}
	return uint32(tab)
}

// answer sends a value as JSON, which no cache keeps.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
