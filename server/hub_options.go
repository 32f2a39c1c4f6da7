package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"llamatab/server/exit"
	"llamatab/server/hub"
	"llamatab/server/inputs"
)

// hubOptions are the options of every command that takes the name of a model or an adapter.
type hubOptions struct {
	endpoint string
	offline  bool
}

// hub registers the options of every command that takes the name of a model or an adapter.
func (f *flagSet) hub() *hubOptions {
	o := new(hubOptions)
	f.StringVar(&o.endpoint, "hub-endpoint", "", "`URL` of the hub that models are fetched from (default: $HF_ENDPOINT, else "+hub.DefaultEndpoint+")")
	f.BoolVar(&o.offline, "offline", false, "fetch nothing: names of models are looked up in the cache alone")
	return o
}

// store opens the cache and, unless the person wants nothing fetched, the hub.
func (o *hubOptions) store() (*hub.Store, error) {
	dir, err := hub.CacheDir()
	if err != nil {
		return nil, exit.Usagef("%v", err)
	}
	s := &hub.Store{Cache: hub.Cache{Dir: dir}}
	if o.offline || isSet("HF_HUB_OFFLINE") {
		return s, nil
	}
	token, err := hub.Token()
	if err != nil {
		return nil, exit.Usagef("%v", err)
	}
	if s.Client, err = hub.NewClient(o.address(), token); err != nil {
		return nil, exit.Usagef("--hub-endpoint: %v", err)
	}
	if s.Client.WithheldToken() {
		fmt.Fprintf(os.Stderr, "the access token is not sent to %s: over plain HTTP others could read it\n", s.Client.Endpoint())
	}
	return s, nil
}

// address is the hub's address as the person has set it, "" for the standard one.
func (o *hubOptions) address() string {
	if o.endpoint == "" {
		return os.Getenv("HF_ENDPOINT")
	}
	return o.endpoint
}

// ofPages is the address of the hub from which a page itself fetches models, with the origins that it then connects to; "" where
// the address is none.
func (o *hubOptions) ofPages() (endpoint string, origins []string) {
	c, err := hub.NewClient(o.address(), "")
	if err != nil {
		return "", nil
	}
	return c.Endpoint(), c.Origins()
}

// isSet reports whether a variable of the environment is a yes.
func isSet(variable string) bool {
	switch os.Getenv(variable) {
	case "1", "true", "TRUE", "True", "yes", "YES", "on", "ON":
		return true
	}
	return false
}

// parseName reads the name of a model, or an address of the hub.
func (o *hubOptions) parseName(text string) (hub.Name, error) {
	return hub.ParseName(text, o.address())
}

// finder finds models and adapters by name: in the cache, or else at the hub.
func (o *hubOptions) finder(ctx context.Context) inputs.Finder {
	return func(text string, content hub.Content) (*hub.Snapshot, error) {
		name, err := o.parseName(text)
		if err != nil {
			return nil, exit.Usagef("%v", err)
		}
		s, err := o.store()
		if err != nil {
			return nil, err
		}
		found, err := s.Cache.Find(name)
		if err != nil && s.Client == nil {
			return nil, err
		}
		if err == nil && found != nil && found.Holds(content) {
			if name.Revision != found.Commit {
				fmt.Fprintf(os.Stderr, "%s is in the cache as of commit %.7s; llamatab pull %s asks for a newer one\n", name, found.Commit, name)
			}
			return found, hold(s.Cache, found)
		}
		if s.Client == nil {
			return nil, exit.Usagef("%s is not in the cache, and --offline is set: llamatab pull %s fetches it from the hub", name, name)
		}
		fetched, err := fetch(ctx, s, name, content)
		if e, ok := errors.AsType[*hub.Error](err); ok && (e.Kind == hub.NotFound || e.Kind == hub.NoRevision || e.Kind == hub.Unsuitable) {
			return nil, &exit.Error{Code: exit.BadUsage, Err: e}
		}
		if err == nil {
			err = hold(s.Cache, fetched)
		}
		return fetched, err
	}
}

// held keeps what hold has taken reachable.
var held []func()

// hold keeps files of the cache from being removed until this program ends.
func hold(cache hub.Cache, s *hub.Snapshot) error {
	release, err := cache.Hold(s)
	held = append(held, release)
	return err
}

// fetch fetches a model with a line of progress on stderr. A signal ends it, and what has come is kept.
func fetch(ctx context.Context, s *hub.Store, name hub.Name, content hub.Content) (*hub.Snapshot, error) {
	ctx, stop := exit.UntilSignal(ctx)
	defer stop()
	meter := newFetchMeter(os.Stderr, s.Client.Host())
	found, err := s.Pull(ctx, name, content, meter.observe)
	meter.end()
	if errors.Is(err, context.Canceled) {
		text := "stopped before anything came"
		if meter.last.Done > 0 {
			text = fmt.Sprintf("stopped: %s of %s are kept; the same command goes on from there", hub.Bytes(meter.last.Done), hub.Bytes(meter.last.Total))
		}
		return nil, &exit.Error{Code: exit.Interrupted, Err: errors.New(text)}
	}
	return found, err
}
