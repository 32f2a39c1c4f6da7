package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"llamatab/engine/recipe"
	"llamatab/server/docs"
	"llamatab/server/job"
	"llamatab/server/lan"
	"llamatab/server/room"
)

const (
	defaultListen = "127.0.0.1:8080"
	defaultLAN    = "0.0.0.0:8443"
	portsTried    = 100             // after the default one
	drainLimit    = 5 * time.Second // for answers under way when the program is told to stop
)

// serve is the command serve.
func serve(ctx context.Context, args []string) error {
	f := newFlagSet("serve")
	listen := f.String("listen", "", "`HOST:PORT` to serve at (default "+defaultListen+", or the next free port)")
	models := f.String("models", "", "`DIR` of model folders that the page offers")
	data := f.String("data", "", "`DIR` of data files that the page offers")
	state := f.String("state", "", "`DIR` that keeps rooms, and with --lan the certificate; without it rooms are forgotten at the end")
	code := f.String("room-code", "", "`CODE` that lets tabs into new rooms (default: each room draws its own)")
	maxTabs := f.Int("max-tabs", 0, "let at most `N` tabs into a room (default 64)")
	overLAN := f.Bool("lan", false, "serve other machines, by HTTPS with a certificate of its own and a page of help")
	f.later["recipe"] = "recipes"
	if err := f.parse(args); err != nil {
		return err
	}
	for option, dir := range map[string]string{"models": *models, "data": *data} {
		if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
			return usageError("serve: --%s %s: no such folder", option, dir)
		}
	}
	if n := len(*code); n > 0 && n < leastCode {
		return usageError("serve: --room-code: %d characters are guessed too soon: use %d or more", n, leastCode)
	}
	if *maxTabs < 0 {
		return usageError("serve: --max-tabs %d: want 1 or more", *maxTabs)
	}
	page, err := newAssets()
	if err != nil {
		return err
	}
	standard := defaultListen
	if *overLAN {
		standard = defaultLAN
	}
	listener, err := listenAt(*listen, standard)
	if err != nil {
		return err
	}
	defer listener.Close()
	rooms, err := openRooms(*state)
	if err != nil {
		return err
	}
	defer rooms.close()
	rooms.Code, rooms.MaxTabs = *code, *maxTabs
	if err := rooms.handed.sweep(rooms.Rooms); err != nil {
		return fmt.Errorf("serve: files of earlier rooms cannot be removed: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	name, _, _ := net.SplitHostPort(*listen)
	mux := http.NewServeMux()
	offers := library{newBuiltin(), *models, *data, rooms.handed}
	class := &class{library: offers}
	rooms.Describe, rooms.Plan, rooms.Sources = class.describe, class.plan, class.sources
	mux.Handle("/", pageHandler(page, offers))
	mux.Handle("/api/rooms", rooms.Handler())
	mux.Handle("/api/rooms/", rooms.Handler())
	mux.Handle("PUT /api/handed/{name}/{file}", rooms.handed.take(rooms.Rooms))
	own := []string{name}
	if *overLAN {
		names, _ := lan.Names()
		own = append(own, names...)
	}
	server := &http.Server{Handler: guarded(own, mux), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	if *overLAN {
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		rooms.Addresses = lan.Addresses(port)
		help, err := secure(server, listener, *state, failed)
		if err != nil {
			return err
		}
		defer help.Close()
	} else {
		go func() { failed <- server.Serve(listener) }()
	}
	at := listener.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() { // it answers at every address; the page needs one that browsers trust
		at.IP = net.IPv4(127, 0, 0, 1)
	}
	if *overLAN {
		fmt.Printf("llamatab is ready: open https://%s/\n", at)
	} else {
		fmt.Printf("llamatab is ready: open http://%s/\n", at)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop() // a second signal ends the program at once
	drain, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		server.Close() // what is still open after that is not worth waiting for
	}
	return nil
}

// leastCode is how short a room's code may be.
const leastCode = 6

// servedRooms are the rooms of a server, with the folder that holds them.
type servedRooms struct {
	*room.Rooms
	handed shelf
	remove string // a folder for the time being, "" for one that stays
}

func openRooms(state string) (*servedRooms, error) {
	s := &servedRooms{}
	if state == "" {
		var err error
		if state, err = os.MkdirTemp("", "llamatab-rooms-"); err != nil {
			return nil, fmt.Errorf("serve: %w", err)
		}
		s.remove = state
	}
	s.handed = shelf{filepath.Join(state, "handed")}
	local, err := room.OpenLocal(filepath.Join(state, "rooms"))
	if err == nil {
		s.Rooms, err = room.OpenRooms(local, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	}
	if err != nil && s.remove != "" {
		os.RemoveAll(s.remove)
	}
	return s, err
}

// close ends the rooms; tabs are told to come back.
func (s *servedRooms) close() {
	if err := s.Rooms.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "closing the rooms:", err)
	}
	if s.remove != "" {
		os.RemoveAll(s.remove)
	}
}

// secure serves by TLS, and plain HTTP on the same port for how to get there, and says so.
func secure(server *http.Server, l net.Listener, state string, failed chan<- error) (help *http.Server, err error) {
	if state == "" {
		if state, err = os.UserConfigDir(); err != nil {
			return nil, fmt.Errorf("serve: --lan: there is no place for a certificate: give --state DIR: %w", err)
		}
		state = filepath.Join(state, "llamatab")
	}
	authority, err := lan.OpenAuthority(filepath.Join(state, "lan"))
	if err != nil {
		return nil, err
	}
	names, addresses := lan.Names()
	leaf, err := authority.Leaf(names, addresses)
	if err != nil {
		return nil, err
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{leaf}}
	byTLS, plain := lan.Split(l)
	help = &http.Server{Handler: authority.Help(), ReadHeaderTimeout: 10 * time.Second}
	go func() { failed <- server.ServeTLS(byTLS, "", "") }()
	go help.Serve(plain)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, url := range lan.Addresses(port) {
		fmt.Println("from other machines:", url)
	}
	fmt.Println("SHA-256 of the certificate:", authority.Fingerprint())
	return help, nil
}

// listenAt opens the address; "" is the standard one or the next free port after it.
func listenAt(address, standard string) (net.Listener, error) {
	if address != "" {
		listener, err := net.Listen("tcp", address)
		if inUse(err) {
			_, port, _ := net.SplitHostPort(address)
			return nil, fmt.Errorf("serve: port %s is in use: choose another with --listen, or leave it out to get the next free one", port)
		} else if err != nil {
			return nil, fmt.Errorf("serve: --listen %s: %w", address, err)
		}
		return listener, nil
	}
	host, port, _ := net.SplitHostPort(standard)
	first, _ := strconv.Atoi(port)
	for p := first; p <= first+portsTried; p++ {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err == nil {
			if p != first {
				fmt.Fprintf(os.Stderr, "port %d is in use: serving at port %d\n", first, p)
			}
			return listener, nil
		}
		if !inUse(err) {
			return nil, fmt.Errorf("serve: %w", err)
		}
	}
	return nil, fmt.Errorf("serve: ports %d to %d are all in use: choose another with --listen", first, first+portsTried)
}

func inUse(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE, which package syscall does not map
	return errors.Is(err, syscall.EADDRINUSE) || runtime.GOOS == "windows" && errors.Is(err, windows)
}

// guarded refuses requests under names other than localhost and its own, as a page of another site would make them by
// letting its name point here (DNS rebinding). Addresses in figures are nobody's name.
func guarded(own []string, h http.Handler) http.Handler {
	return secured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		named := slices.ContainsFunc(own, func(name string) bool { return name != "" && strings.EqualFold(name, host) })
		if host != "localhost" && !strings.HasSuffix(host, ".localhost") && !named && net.ParseIP(host) == nil {
			http.Error(w, "this server does not answer under this name", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

// modelInfo is a model that the page can choose.
type modelInfo struct {
	Name  string     `json:"name"`
	Files []job.File `json:"files"`
}

// pageHandler serves the page, and what there is to choose from: what is built in, and what the person who started the
// server offers. A name that starts with "builtin:" means the former.
func pageHandler(page *assets, has library) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.Handle("GET /docs/", docs.Handler())
	mux.HandleFunc("GET /api/models", func(w http.ResponseWriter, r *http.Request) {
		found := []modelInfo{}
		names := folders(has.models)
		for _, name := range has.own.models() {
			names = append(names, builtinPrefix+name)
		}
		for _, name := range names {
			if files, err := job.List(has.model(name), "."); err == nil && holdsFile(files, "config.json") {
				found = append(found, modelInfo{name, files})
			}
		}
		answer(w, found)
	})
	mux.HandleFunc("GET /api/models/{name}/{file}", func(w http.ResponseWriter, r *http.Request) {
		offer(w, r, has.model(r.PathValue("name")), r.PathValue("file"))
	})
	mux.HandleFunc("GET /api/data", func(w http.ResponseWriter, r *http.Request) {
		files := []job.File{}
		if has.data != "" {
			if all, err := job.List(os.DirFS(has.data), "."); err == nil {
				for _, f := range all {
					if !strings.HasPrefix(f.Name, ".") {
						files = append(files, f)
					}
				}
			}
		}
		for _, name := range has.own.datasets() {
			folder, file, err := has.own.dataset(name)
			if err != nil {
				continue
			}
			if info, err := fs.Stat(folder, file); err == nil {
				files = append(files, job.File{Name: builtinPrefix + name, Size: info.Size()})
			}
		}
		answer(w, files)
	})
	mux.HandleFunc("GET /api/data/{file}", func(w http.ResponseWriter, r *http.Request) {
		folder, file := has.dataset(r.PathValue("file"))
		offer(w, r, folder, file)
	})
	// Practice advice as settings, with why.
	mux.HandleFunc("GET /api/recipes", func(w http.ResponseWriter, r *http.Request) { answer(w, recipe.All) })
	// The runs that need nothing but a click.
	mux.HandleFunc("GET /api/runs", func(w http.ResponseWriter, r *http.Request) {
		runs, err := has.own.runs()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, runs)
	})
	return mux
}

// plain reports whether a name is that of a file in a folder and nothing more.
func plain(name string) bool {
	return fs.ValidPath(name) && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\:\x00")
}

// offer sends a file of a folder; nil holds nothing.
func offer(w http.ResponseWriter, r *http.Request, folder fs.FS, name string) {
	if folder == nil || !plain(name) {
		http.NotFound(w, r)
		return
	}
	job.ServeFile(w, r, folder, name)
}

// folders lists the folders in a folder, links followed; none for "".
func folders(dir string) []string {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func holdsFile(files []job.File, name string) bool {
	for _, f := range files {
		if f.Name == name {
			return true
		}
	}
	return false
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}
