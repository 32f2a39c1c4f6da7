package library

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"llamatab/server/hub"
)

// States of a fetch.
const (
	Fetching = "fetching"
	Paused   = "paused"
	Failed   = "failed"
	Fetched  = "fetched"
)

const (
	maxFetching = 4  // fetches at the same time
	maxFetches  = 32 // fetches that are remembered, in any state
)

// Fetch is the fetching of a model of the hub, for the page.
type Fetch struct {
	Name    string   `json:"name"` // as the hub's names are written: org/name or org/name@revision
	State   string   `json:"state"`
	Done    int64    `json:"done"`              // bytes
	Total   int64    `json:"total"`             // bytes; 0 until the files are known
	Rate    float64  `json:"rate"`              // bytes per second, 0 where it is not known
	Waiting string   `json:"waiting,omitempty"` // why nothing comes at the moment
	Model   string   `json:"model,omitempty"`   // once it is fetched: its name in the list of models
	Problem *Problem `json:"problem,omitempty"`
}

// Problem is why a fetch has failed.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// Fetches fetches models of the hub into the cache for the pages of this machine. Two requests for a model are one fetch. A nil
// *Fetches offers nothing of a hub.
type Fetches struct {
	// InUse reports whether an open room trains with a model, by its name in the list of models: such a one is not removed. nil
	// where there are no rooms.
	InUse func(model string) bool

	store *hub.Store
	ctx   context.Context
	end   context.CancelFunc
	going sync.WaitGroup

	mu    sync.Mutex
	known []*fetching // in the order in which they were begun
}

// fetching is a fetch with what stops it.
type fetching struct {
	Fetch
	speed hub.Speed
	stop  context.CancelCauseFunc // nil where nothing runs
	ended chan struct{}           // closed once nothing runs any more
}

// errPaused and errCancelled end a fetch that the person does not want to go on.
var (
	errPaused    = errors.New("paused")
	errCancelled = errors.New("cancelled")
)

// NewFetches fetches into the cache of a store.
func NewFetches(store *hub.Store) *Fetches {
	f := &Fetches{store: store}
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

// Close ends all fetches. What has come is kept.
func (f *Fetches) Close() {
	if f != nil {
		f.end()
		f.going.Wait()
	}
}

// List lists the fetches.
func (f *Fetches) List() []Fetch {
	list := []Fetch{}
	if f == nil {
		return list
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.known {
		list = append(list, k.Fetch)
	}
	return list
}

// HubState is what a page of this machine learns of the hub.
type HubState struct {
	Host    string  `json:"host"` // from which models are fetched; "" where nothing is fetched
	Fetches []Fetch `json:"fetches"`
	Began   string  `json:"began,omitempty"` // the name of the fetch that the request has begun
}

// State tells the hub and the fetches.
func (f *Fetches) State() HubState {
	state := HubState{Fetches: f.List()}
	if f.store.Client != nil {
		state.Host = f.store.Client.Host()
	}
	return state
}

// find is the fetch of a name, nil for none. The caller holds the lock.
func (f *Fetches) find(name string) *fetching {
	for _, k := range f.known {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Begin begins a fetch, or goes on with one that was paused or has failed. It returns the fetch's name.
func (f *Fetches) Begin(text string) (began string, problem *Problem) {
	endpoint := ""
	if f.store.Client != nil {
		endpoint = f.store.Client.Endpoint()
	}
	name, err := hub.ParseName(text, endpoint)
	if err != nil {
		return "", &Problem{Code: "hub_name", Message: err.Error()}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k, running := f.find(name.String()), 0
	for _, other := range f.known {
		if other.stop != nil {
			running++
		}
	}
	switch {
	case k != nil && k.stop != nil:
		return k.Name, nil
	case running >= maxFetching:
		return "", &Problem{Code: "hub_many", Message: "other models are being fetched", Next: "wait until one is there, or pause it"}
	case f.ctx.Err() != nil:
		return "", &Problem{Code: "hub_unreachable", Message: "the server is ending"}
	}
	if k == nil {
		k = &fetching{}
		f.forget()
		f.known = append(f.known, k)
	}
	k.speed = hub.Speed{}
	k.Fetch = Fetch{Name: name.String(), State: Fetching, Done: k.Done, Total: k.Total}
	ctx, stop := context.WithCancelCause(f.ctx)
	k.stop, k.ended = stop, make(chan struct{})
	f.going.Go(func() { f.run(ctx, k, name) })
	return k.Name, nil
}

// forget removes the oldest fetch that does not run where there are too many. The caller holds the lock.
func (f *Fetches) forget() {
	for i, k := range f.known {
		if len(f.known) >= maxFetches && k.stop == nil {
			f.known = append(f.known[:i], f.known[i+1:]...)
			return
		}
	}
}

// run fetches a model to its end.
func (f *Fetches) run(ctx context.Context, k *fetching, name hub.Name) {
	found, err := f.store.Pull(ctx, name, hub.Model, func(p hub.Progress) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if p.Event == "" && p.Done == k.Done {
			return
		}
		k.speed.Add(time.Now(), p.Came)
		k.Done, k.Total, k.Rate, k.Waiting = p.Done, p.Total, k.speed.PerSecond(), p.Event
	})
	stopped := ctx.Err() != nil
	f.mu.Lock()
	defer f.mu.Unlock()
	defer close(k.ended)
	k.stop(nil)
	k.stop, k.Rate, k.Waiting = nil, 0, ""
	var problem *hub.Error
	switch {
	case err == nil:
		k.State, k.Model = Fetched, found.Name().String()
	case stopped:
		k.State = Paused
	case errors.As(err, &problem):
		k.State, k.Problem = Failed, &Problem{string(problem.Kind), problem.Text, problem.Next}
	default:
		k.State, k.Problem = Failed, &Problem{Code: "storage", Message: err.Error()}
	}
}

// Pause ends a fetch, and keeps what has come.
func (f *Fetches) Pause(name string) { f.halt(name, errPaused) }

// Cancel ends a fetch, forgets it and removes what has come, unless the model is complete. What has come stays where another
// revision of the repository is on its way: nobody knows whose files they are.
func (f *Fetches) Cancel(name string) error {
	f.halt(name, errCancelled)
	repo := f.drop(name)
	if repo == "" {
		return nil
	}
	return f.store.Cache.RemoveUnfinished(repo)
}

// drop forgets a fetch of which nothing runs. It returns its repository, "" where no files of it are to be removed.
func (f *Fetches) drop(name string) (repo string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.find(name)
	parsed, err := hub.ParseName(name, "")
	if k == nil || k.stop != nil || err != nil {
		return ""
	}
	f.known = slices.DeleteFunc(f.known, func(other *fetching) bool { return other == k })
	for _, other := range f.known {
		if o, err := hub.ParseName(other.Name, ""); err == nil && strings.EqualFold(o.Repo, parsed.Repo) && other.State != Fetched {
			return ""
		}
	}
	if k.State == Fetched {
		return ""
	}
	return parsed.Repo
}

// halt ends a fetch and waits until nothing of it runs any more.
func (f *Fetches) halt(name string, why error) {
	f.mu.Lock()
	k := f.find(name)
	if k == nil || k.stop == nil {
		f.mu.Unlock()
		return
	}
	k.stop(why)
	ended := k.ended
	f.mu.Unlock()
	<-ended
}

// snapshots lists the models in the cache; adapters are no models.
func (f *Fetches) snapshots() (names []string) {
	if f == nil {
		return nil
	}
	complete, _, err := f.store.Cache.List()
	if err != nil {
		return nil
	}
	for _, s := range complete {
		if s.Holds(hub.Model) {
			names = append(names, s.Name().String())
		}
	}
	return names
}

// snapshot is the model of exactly this name, org/name@COMMIT, nil where the cache does not have it whole.
func (f *Fetches) snapshot(text string) *hub.Snapshot {
	if f == nil {
		return nil
	}
	name, err := hub.ParseName(text, "")
	if err != nil || len(name.Revision) != 40 || name.String() != text {
		return nil
	}
	found, err := f.store.Cache.Find(name)
	if err != nil || found == nil || !found.Holds(hub.Model) || found.Name() != name {
		return nil
	}
	return found
}

// Remove removes a model from the cache, unless a room or another program works with it.
func (f *Fetches) Remove(text string) error {
	found := f.snapshot(text)
	if found == nil {
		return nil
	}
	if f.InUse != nil && f.InUse(text) {
		return &hub.Error{Kind: hub.InUse, Text: text + " is in use by a room", Next: "close the room first"}
	}
	_, err := f.store.Cache.Remove(found.Repo, found.Commit)
	return err
}
