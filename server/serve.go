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
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"llamatab/docs"
	"llamatab/server/classroom"
	"llamatab/server/exit"
	"llamatab/server/lan"
	"llamatab/server/library"
	"llamatab/server/metrics"
	"llamatab/server/web"
)

const (
	defaultListen = "127.0.0.1:8080"
	defaultLAN    = "0.0.0.0:8443"
	portsTried    = 100             // after the default one
	shutdownLimit = 5 * time.Second // for answers that are being sent when the program is told to stop
)

// minRoomCode is the least number of characters of a room's code. A shorter one could be guessed.
const minRoomCode = 6

// serveOptions are the options of the command serve.
type serveOptions struct {
	listen, models, data, state, roomCode string
	maxTabs                               int
	lan                                   bool
	hub                                   *hubOptions
	api                                   apiOptions
}

// parseServe reads the options of the command serve and checks them.
func parseServe(args []string) (o serveOptions, err error) {
	f := newFlagSet("serve")
	f.StringVar(&o.listen, "listen", "", "`HOST:PORT` to serve at (default "+defaultListen+", or the next free port)")
	f.StringVar(&o.models, "models", "", "`DIR` of model folders that the page on this machine offers; other machines get a model only in a room that trains it")
	f.StringVar(&o.data, "data", "", "`DIR` of data files that the page on this machine offers; other machines get a file only in a room that trains on it")
	f.StringVar(&o.state, "state", "", "`DIR` that keeps the rooms, and with --lan the certificate, over a restart; without it rooms end with the program")
	f.StringVar(&o.roomCode, "room-code", "", "`CODE` that lets tabs into new rooms (default: each room draws its own)")
	f.IntVar(&o.maxTabs, "max-tabs", 0, "let at most `N` tabs into a room (default 64)")
	f.BoolVar(&o.lan, "lan", false, "serve other machines of the local network over HTTPS, with a certificate authority of its own and a page that explains how to trust it")
	o.hub = f.hub()
	o.api.add(f)
	f.later["recipe"] = "recipes"
	if err := f.parse(args); err != nil {
		return o, err
	}
	for option, dir := range map[string]string{"models": o.models, "data": o.data} {
		if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
			return o, exit.Usagef("serve: --%s %s: no such folder", option, dir)
		}
	}
	if n := len(o.roomCode); n > 0 && n < minRoomCode {
		return o, exit.Usagef("serve: --room-code: a code of %d characters can be guessed: use %d or more", n, minRoomCode)
	}
	if o.maxTabs < 0 {
		return o, exit.Usagef("serve: --max-tabs %d: want 1 or more", o.maxTabs)
	}
	return o, o.api.check()
}

// hosts are the server's own names.
func (o *serveOptions) hosts() []string {
	host, _, _ := net.SplitHostPort(o.listen)
	hosts := []string{host}
	if o.lan {
		names, _ := lan.Names()
		hosts = append(hosts, names...)
	}
	return hosts
}

// library opens the folders of models and data, and says which links in them are not offered.
func (o *serveOptions) library() (library.Library, error) {
	l := library.Library{Builtin: library.NewBuiltin()}
	for _, folder := range []struct {
		option, dir string
		opened      **library.Folder
	}{{"models", o.models, &l.Models}, {"data", o.data, &l.Data}} {
		var err error
		if *folder.opened, err = library.OpenFolder(folder.dir); err != nil {
			return l, fmt.Errorf("serve: --%s: %w", folder.option, err)
		}
		for _, name := range (*folder.opened).LeadOut() {
			fmt.Fprintf(os.Stderr, "--%s: %s is not offered: it is a link that leads out of %s or is not relative; copy its target there\n", folder.option, name, folder.dir)
		}
	}
	return l, nil
}

// serve is the command serve.
func serve(ctx context.Context, args []string) error {
	o, err := parseServe(args)
	if err != nil {
		return err
	}
	page, err := web.Open()
	if err != nil {
		return err
	}
	standard := defaultListen
	if o.lan {
		standard = defaultLAN
	}
	listener, err := listenAt(o.listen, standard)
	if err != nil {
		return err
	}
	defer listener.Close()
	offers, err := o.library()
	if err != nil {
		return err
	}
	if store, err := o.hub.store(); err != nil { // whoever wants nothing of a hub need not have one
		fmt.Fprintln(os.Stderr, "the page offers no models of a hub:", err)
	} else {
		offers.Hub = library.NewFetches(store)
	}
	defer offers.Hub.Close()
	ctx, stop := exit.UntilSignal(ctx)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	rooms, err := classroom.Open(o.state, &offers, log)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() {
		if err := rooms.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the rooms:", err)
		}
	}()
	rooms.Code, rooms.MaxTabs = o.roomCode, o.maxTabs
	if offers.Hub != nil {
		offers.Hub.InUse = rooms.TrainsWith
	}
	gate := web.NewGate(web.OfPeople)
	rooms.Refused = gate.Refused
	endpoint, origins := o.hub.ofPages()
	handler := serveHandler(page, offers, rooms, gate, endpoint)
	failed := make(chan error, 3)
	if o.api.on {
		end, err := o.api.serve(ctx, o.hub, handler, rooms.OriginAllowed, failed)
		if err != nil {
			return err
		}
		defer end()
	}
	server := gate.Server(web.Guard(o.hosts(), origins, handler))
	scheme := "http"
	if o.lan {
		scheme = "https"
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		rooms.Addresses = lan.Addresses(port)
		help, err := serveTLS(server, gate, listener, o.state, failed)
		if err != nil {
			return err
		}
		defer help.Close()
	} else {
		go func() { failed <- server.Serve(gate.Limit(listener)) }()
	}
	o.announce(listener, scheme)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop() // a second signal ends the program at once
	shutdown(server)
	return nil
}

// announce prints the addresses to open.
func (o *serveOptions) announce(listener net.Listener, scheme string) {
	at := listener.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() { // the server answers at every address, and browsers trust the loopback address
		at.IP = net.IPv4(127, 0, 0, 1)
	}
	fmt.Printf("llamatab is ready: open %s://%s/\n", scheme, at)
	if o.api.on {
		fmt.Printf("chat completions: %s://%s/v1\n", scheme, at)
	}
}

// serveHandler answers all that the page asks for. endpoint is the hub from which pages themselves fetch models, "" for none.
func serveHandler(page *web.Assets, offers library.Library, rooms *classroom.Classroom, gate *web.Gate, endpoint string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.Handle("GET /docs/", docs.Handler())
	mux.Handle("/api/", offers.Handler(rooms.MayFetch))
	mux.Handle("/hub/", offers.HubHandler(rooms.OriginAllowed))
	mux.HandleFunc("GET /hub/endpoint", func(w http.ResponseWriter, r *http.Request) { // for pages of other machines, too: their browsers fetch by themselves
		web.WriteJSON(w, map[string]string{"endpoint": endpoint})
	})
	mux.Handle("/api/rooms", rooms.Handler())
	mux.Handle("/api/rooms/", rooms.Handler())
	mux.Handle("GET "+metrics.Path, metrics.Handler(gate, rooms.Rooms))
	mux.Handle("PUT "+library.UploadPath, rooms.Handler())
	return mux
}

// shutdown lets answers that are being sent end within shutdownLimit, and then closes their connections.
func shutdown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		server.Close()
	}
}

// serveTLS serves over TLS, answers plain HTTP on the same port with a page of help, and prints the addresses for other
// machines. What ends the server goes to failed.
func serveTLS(server *http.Server, gate *web.Gate, l net.Listener, state string, failed chan<- error) (help *http.Server, err error) {
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
	byTLS, plain := lan.Split(gate.Limit(l))
	help = gate.Server(authority.Help())
	go func() { failed <- server.ServeTLS(byTLS, "", "") }()
	go help.Serve(plain)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, url := range lan.Addresses(port) {
		fmt.Println("from other machines:", url)
	}
	fmt.Println("SHA-256 of the certificate:", authority.Fingerprint())
	return help, nil
}

// listenAt opens the address. "" means the standard address, or the next free port after it.
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

// inUse reports whether a port could not be opened because another program has it.
func inUse(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE, which package syscall does not map
	return errors.Is(err, syscall.EADDRINUSE) || runtime.GOOS == "windows" && errors.Is(err, windows)
}
