package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Rooms are the rooms of a server, and their HTTP interface:
//
//	GET    /api/rooms                the rooms: [View], without tabs
//	POST   /api/rooms                {"id","code","config"} opens one; answers {"id","code","owner"}; from this machine only
//	GET    /api/rooms/ID             the View; with the owner's token, tabs and diary as well
//	POST   /api/rooms/ID/OP?tab=N    start, pause, resume, remove; needs the owner's token
//	GET    /api/rooms/ID/control     the control socket of a tab
//	GET    /api/rooms/ID/data        its data socket
//
// The owner's token is the header "Authorization: Bearer TOKEN". Nothing secret is ever part of an address.
type Rooms struct {
	Origins []string // of pages that may join besides the server's own, such as https://school.example
	Code    string   // of every new room; "": each draws its own
	MaxTabs int      // most that a new room may ask for; 0: as many as it likes

	store  Storage
	bus    Bus
	log    *slog.Logger
	limits *limiter

	mu    sync.Mutex
	hosts map[string]*Host
}

// maxRooms bounds the rooms that are open at a time.
const maxRooms = 64

// OpenRooms opens the rooms that the storage has. One that cannot be opened is reported and left alone.
func OpenRooms(store Storage, log *slog.Logger) (*Rooms, error) {
	s := &Rooms{store: store, bus: NewLocalBus(), log: log, limits: newLimiter(), hosts: map[string]*Host{}}
	ids, err := store.Rooms()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		h, err := Reopen(id, store, s.bus, log)
		if err != nil {
			log.Error("a room cannot be opened", "room", id, "error", err)
			continue
		}
		s.hosts[id] = h
	}
	return s, nil
}

// Close ends all rooms' lives on this server.
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

// Find is the room with the id, nil if there is none.
func (s *Rooms) Find(id string) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[id]
}

// Dropped counts sockets that were ended, by reason.
func (s *Rooms) Dropped() map[string]int64 { return s.limits.counts() }

// maxCreate bounds the body that opens a room: the list of a model's parameters.
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
	mux.HandleFunc("POST /api/rooms/{id}/{op}", func(w http.ResponseWriter, r *http.Request) {
		h := s.Find(r.PathValue("id"))
		if h == nil {
			http.Error(w, "there is no such room", http.StatusNotFound)
			return
		}
		if !s.originAllowed(r) || !owns(h, r) {
			http.Error(w, "only the room's owner may do that", http.StatusForbidden)
			return
		}
		op := Op(r.PathValue("op"))
		if !slices.Contains([]Op{Start, Pause, Resume, Remove}, op) {
			http.Error(w, "a room can start, pause, resume and remove", http.StatusNotFound)
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

func owns(h *Host, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && h.Owns(token)
}

// create opens a room for a page of this machine, whose owner the page then is.
func (s *Rooms) create(w http.ResponseWriter, r *http.Request) {
	if ip := net.ParseIP(addressOf(r)); ip == nil || !ip.IsLoopback() {
		http.Error(w, "rooms are opened on the server's own machine", http.StatusForbidden)
		return
	}
	// A form of another page cannot send this type without being asked first, and no page is allowed to.
	if !s.originAllowed(r) || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "send JSON from a page of this server", http.StatusForbidden)
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
		http.Error(w, "the room's config: "+err.Error(), http.StatusBadRequest)
		return
	}
	if asked.ID == "" {
		asked.ID = "room-" + NewCode()[:5]
	}
	h, err := s.Open(asked.ID, asked.Config, asked.Code)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	answer(w, http.StatusCreated, map[string]string{"id": h.ID, "code": h.Code(), "owner": h.OwnerToken()})
}
