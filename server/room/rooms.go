package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// Rooms are the rooms of a server.
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

// coded is the room with a code. If several have it, the newest whose run is not over is preferred.
func (s *Rooms) coded(code string) (found *Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		if !same(strings.Map(figures, code), strings.Map(figures, h.code)) {
			continue
		}
		if found == nil || found.over() && !h.over() || found.over() == h.over() && h.opened.After(found.opened) {
			found = h
		}
	}
	return found
}

// figures drops spaces and dashes that people put between the digits of a code.
func figures(c rune) rune {
	if c == '-' || unicode.IsSpace(c) {
		return -1
	}
	return c
}
