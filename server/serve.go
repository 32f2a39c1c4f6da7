package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"llamatab/server/classroom"
	"llamatab/server/docs"
	"llamatab/server/exit"
	"llamatab/server/lan"
	"llamatab/server/library"
	"llamatab/server/room"
	"llamatab/server/web"
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
			return exit.Usagef("serve: --%s %s: no such folder", option, dir)
		}
	}
	if n := len(*code); n > 0 && n < leastCode {
		return exit.Usagef("serve: --room-code: %d characters are guessed too soon: use %d or more", n, leastCode)
	}
	if *maxTabs < 0 {
		return exit.Usagef("serve: --max-tabs %d: want 1 or more", *maxTabs)
	}
	page, err := web.Open()
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
	if err := rooms.uploads.Sweep(rooms.Rooms); err != nil {
		return fmt.Errorf("serve: files of earlier rooms cannot be removed: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	name, _, _ := net.SplitHostPort(*listen)
	mux := http.NewServeMux()
	offers := library.Library{Builtin: library.NewBuiltin(), Models: *models, Data: *data, Uploads: rooms.uploads}
	class := &classroom.Class{Library: offers}
	rooms.Describe, rooms.Plan, rooms.Sources = class.Describe, class.Plan, class.Sources
	mux.Handle("/", page)
	mux.Handle("GET /docs/", docs.Handler())
	mux.Handle("/api/", offers.Handler())
	mux.Handle("/api/rooms", rooms.Handler())
	mux.Handle("/api/rooms/", rooms.Handler())
	mux.Handle("PUT /api/handed/{name}/{file}", rooms.uploads.Handler(rooms.Rooms))
	own := []string{name}
	if *overLAN {
		names, _ := lan.Names()
		own = append(own, names...)
	}
	server := &http.Server{Handler: web.Guard(own, mux), ReadHeaderTimeout: 10 * time.Second}
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
	uploads library.Uploads
	remove  string // a folder for the time being, "" for one that stays
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
	s.uploads = library.Uploads{Dir: filepath.Join(state, "handed")}
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
