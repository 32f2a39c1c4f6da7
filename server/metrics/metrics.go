// Package metrics reports what a server holds and what it has refused, in the text format of Prometheus.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"llamatab/server/room"
	"llamatab/server/web"
)

// Path is the address of the metrics.
const Path = "/metrics"

// Handler answers the metrics of a server. They are for this machine alone, as they tell what other clients do.
func Handler(gate *web.Gate, rooms *room.Rooms) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(server{gate, rooms}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true, MaxRequestsInFlight: 4})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !web.FromHere(r) {
			http.Error(w, "metrics are for the server's own machine", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		metrics.ServeHTTP(w, r)
	})
}

var (
	connections = prometheus.NewDesc("llamatab_connections", "Open connections.", nil, nil)
	requests    = prometheus.NewDesc("llamatab_requests", "Requests that are being answered; a socket is one.", nil, nil)
	held        = prometheus.NewDesc("llamatab_held_bytes", "Estimated memory that connections and requests hold.", nil, nil)
	refused     = prometheus.NewDesc("llamatab_refused_total", "Connections and requests that were refused or ended, by the bound that they were beyond.", []string{"bound"}, nil)
	dropped     = prometheus.NewDesc("llamatab_room_dropped_total", "Sockets and joins of rooms that were refused or ended, by reason.", []string{"reason"}, nil)
	openRooms   = prometheus.NewDesc("llamatab_rooms", "Open rooms.", nil, nil)
	onlineTabs  = prometheus.NewDesc("llamatab_room_tabs", "Tabs that are connected to rooms.", nil, nil)
)

// server is a prometheus.Collector: it asks the server for its counts whenever they are read.
type server struct {
	gate  *web.Gate
	rooms *room.Rooms
}

// Describe implements prometheus.Collector.
func (s server) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, requests, held, refused, dropped, openRooms, onlineTabs} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s server) Collect(to chan<- prometheus.Metric) {
	value := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	use := s.gate.Use()
	value(connections, prometheus.GaugeValue, float64(use.Connections))
	value(requests, prometheus.GaugeValue, float64(use.Requests))
	value(held, prometheus.GaugeValue, float64(use.Bytes))
	for bound, n := range s.gate.Refused() {
		value(refused, prometheus.CounterValue, float64(n), bound)
	}
	for reason, n := range s.rooms.Dropped() {
		value(dropped, prometheus.CounterValue, float64(n), reason)
	}
	rooms, tabs := s.rooms.Count()
	value(openRooms, prometheus.GaugeValue, float64(rooms))
	value(onlineTabs, prometheus.GaugeValue, float64(tabs))
}
