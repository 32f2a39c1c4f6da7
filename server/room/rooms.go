package room

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/server/web"
)

// Rooms are the rooms of a server, and their HTTP interface:
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
type Rooms struct {
	Origins   []string // of pages that may join besides the server's own, such as https://school.example
	Code      string   // of every new room; "": each draws its own
	MaxTabs   int      // upper bound of a new room's max_tabs; 0: none
	Addresses []string // of the server as other machines reach it, for the room's owner

	// Describe fills in the run of a room from its job, a run.json, and replaces the job by the resolved one. If it is nil, rooms
	// are opened with a list of their parameters, and only the program that opened a room opens tabs for it.
	Describe func(run *fsdp.Run) (Tokens, error)
	// Plan forecasts the memory and the traffic of a job over a number of tabs, by strategy.
	Plan func(job json.RawMessage, tabs int) (any, error)
	// Refused counts connections and requests that the server has refused, by the bound; may be nil.
	Refused func() map[string]int64
	// Sources lists the files of a job with their addresses, by mount, for a page that joins.
	Sources func(job json.RawMessage) (map[string][]message.ServerFile, error)

	store  Storage
	bus    Bus
	log    *slog.Logger
	limits *limiter

	mu    sync.Mutex
	hosts map[string]*Host
	shut  map[string]error // rooms that the storage has and that cannot be opened, with the reason
}

// maxRooms bounds the rooms that are open at the same time.
const maxRooms = 64

// OpenRooms opens the rooms that the storage has. One that cannot be opened is reported, listed as failed and left alone.
func OpenRooms(store Storage, log *slog.Logger) (*Rooms, error) {
	s := &Rooms{store: store, bus: NewLocalBus(), log: log, limits: newLimiter(), hosts: map[string]*Host{}, shut: map[string]error{}}
	ids, err := store.Rooms()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		h, err := Reopen(id, store, s.bus, log)
		switch {
		case errors.Is(err, ErrUnborn):
			log.Warn("a room was never opened: the server was ended before its first record was written", "room", id)
		case err != nil:
			log.Error("a room cannot be opened", "room", id, "error", err)
			s.shut[id] = err
		default:
			s.hosts[id] = h
		}
	}
	return s, nil
}

// Close stops all rooms on this server; their folders stay.
func (s *Rooms) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, h := range s.hosts {
		errs = append(errs, h.Close())
	}
	clear(s.hosts)
	return errors.Join(errs...)
}

// Open opens a new room.
func (s *Rooms) Open(id string, cfg Config, code string) (*Host, error) {
	if s.MaxTabs > 0 && (cfg.MaxTabs == 0 || cfg.MaxTabs > s.MaxTabs) {
		cfg.MaxTabs = s.MaxTabs
	}
	if code == "" {
		code = s.Code
	}
	for code == "" {
		if code = NewCode(); s.coded(code) != nil {
			code = "" // it is another room's
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hosts) >= maxRooms {
		return nil, fmt.Errorf("room: %d rooms are open, no more fit", maxRooms)
	}
	h, err := Create(id, cfg, code, s.store, s.bus, s.log)
	if err != nil {
		return nil, err
	}
	s.hosts[id] = h
	return h, nil
}

// CountTokens has the rooms that were opened from the storage compare the tokens that tabs say with the data, if that is still
// offered.
func (s *Rooms) CountTokens() {
	s.mu.Lock()
	hosts := slices.Collect(maps.Values(s.hosts))
	s.mu.Unlock()
	for _, h := range hosts {
		if h.run.Job == nil || h.over() {
			continue
		}
		run := fsdp.Run{ID: h.run.ID, Job: h.run.Job}
		if tokens, err := s.Describe(&run); err == nil && h.Describes(run) {
			h.CheckTokens(tokens)
		}
	}
}

// Find is the room with the id, nil if there is none.
func (s *Rooms) Find(id string) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[id]
}

// Shut tells why the room with the id, which the storage has, cannot be opened; nil for any other.
func (s *Rooms) Shut(id string) error { return s.shut[id] }

// Jobs lists the jobs of all rooms.
func (s *Rooms) Jobs() (jobs []json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		jobs = append(jobs, h.Job())
	}
	return jobs
}

// Dropped counts sockets and joins that were refused or ended, by reason.
func (s *Rooms) Dropped() map[string]int64 { return s.limits.counts() }

// Count counts the open rooms and the tabs that are connected to them.
func (s *Rooms) Count() (rooms, tabs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		tabs += h.View(false).Online
	}
	return len(s.hosts), tabs
}

// refusals are what Dropped and Refused count, for the owner of a room.
func (s *Rooms) refusals() map[string]int64 {
	all := s.Dropped()
	if s.Refused != nil {
		for bound, n := range s.Refused() {
			all[bound] += n
		}
	}
	maps.DeleteFunc(all, func(_ string, n int64) bool { return n == 0 })
	return all
}

// maxCreate bounds the body of a request that opens a room: it may list a model's parameters.
const maxCreate = 8 << 20

// Handler is the HTTP interface.
func (s *Rooms) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/rooms", func(w http.ResponseWriter, r *http.Request) {
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
	})
	mux.HandleFunc("POST /api/rooms", s.create)
	mux.HandleFunc("GET /api/rooms/{id}", func(w http.ResponseWriter, r *http.Request) {
		h := s.Find(r.PathValue("id"))
		if h == nil {
			http.Error(w, "there is no such room", http.StatusNotFound)
			return
		}
		answer(w, http.StatusOK, h.View(owns(h, r)))
	})
	mux.HandleFunc("POST /api/rooms/join", s.join)
	mux.HandleFunc("POST /api/rooms/{id}/look", s.look)
	mux.HandleFunc("POST /api/rooms/{id}/plan", s.plan)
	mux.HandleFunc("DELETE /api/rooms/{id}", s.end)
	mux.HandleFunc("POST /api/rooms/{id}/{op}", func(w http.ResponseWriter, r *http.Request) {
		h := s.Find(r.PathValue("id"))
		if h == nil {
			http.Error(w, "there is no such room", http.StatusNotFound)
			return
		}
		if !s.OriginAllowed(r) || !owns(h, r) {
			http.Error(w, "only the room's owner may do that", http.StatusForbidden)
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
	})
	mux.HandleFunc("GET /api/rooms/{id}/control", func(w http.ResponseWriter, r *http.Request) { s.socket(w, r, Control) })
	mux.HandleFunc("GET /api/rooms/{id}/data", func(w http.ResponseWriter, r *http.Request) { s.socket(w, r, Data) })
	return mux
}

func owns(h *Host, r *http.Request) bool { return h.Owns(bearer(r)) }

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
	h, err := s.Open(asked.ID, cfg, asked.Code)
	if err != nil {
		refuse(http.StatusUnprocessableEntity, "room", err.Error())
		return
	}
	answer(w, http.StatusCreated, message.RoomOpening{ID: h.ID, Code: h.Code(), Owner: h.OwnerToken(), Addresses: s.Addresses})
}

// newID names a room that was given no name.
func newID() string {
	var b [5]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// end ends a room for good: its tabs are sent away and its folder is deleted.
func (s *Rooms) end(w http.ResponseWriter, r *http.Request) {
	h := s.Find(r.PathValue("id"))
	if h == nil {
		http.Error(w, "there is no such room", http.StatusNotFound)
		return
	}
	if !s.OriginAllowed(r) || !owns(h, r) {
		http.Error(w, "only the room's owner may do that", http.StatusForbidden)
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
