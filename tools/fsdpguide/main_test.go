package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPages checks that the committed pages are those that the texts and recorded traces give.
func TestPages(t *testing.T) {
	css, err := os.ReadFile(filepath.Join("..", "..", folder, "docs.css"))
	if err != nil {
		t.Fatal(err)
	}
	for lang, name := range pages {
		page, err := write(lang)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := os.ReadFile(filepath.Join("..", "..", folder, name)); err != nil || !bytes.Equal(have, page) {
			t.Errorf("%s is not current (%v): go run ./tools/fsdpguide", name, err)
		}
		if bad := regexp.MustCompile(`<script|<style|style=|\son\w+=|https?://|NaN|%!`).FindString(string(page)); bad != "" {
			t.Errorf("%s has %q, which the server's policy forbids", name, bad)
		}
		for _, class := range regexp.MustCompile(`<rect class="(\w+)"`).FindAllStringSubmatch(string(page), -1) {
			if !strings.Contains(string(css), "."+class[1]) {
				t.Fatalf("%s: nothing gives %q a colour", name, class[1])
			}
		}
	}
	for word := range languages["en"] {
		if languages["zh"][word] == "" {
			t.Errorf("no Chinese for %q", word)
		}
	}
}

// TestTraces checks that the recorded runs show what the text says about them.
func TestTraces(t *testing.T) {
	runs, err := load(sources)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strategies {
		r := runs[s]
		if r.Layout.Strategy != s || r.parameters() != runs["NO_SHARD"].parameters() {
			t.Fatalf("%s is a run of %s with %d parameters", s, r.Layout.Strategy, r.parameters())
		}
		m := r.Layout.Traffic
		near := func(a, b float64) bool { return a >= b && a < 1.03*b } // a busy machine may fetch a piece twice, and both count
		if !near(m.Measured.Up, m.Forecast.Up) || !near(m.Measured.Down, m.Forecast.Down) {
			t.Errorf("%s moved %+v, by the formula %+v", s, m.Measured, m.Forecast)
		}
		spans, _, err := r.step()
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, sp := range spans {
			count[sp.what]++
		}
		if gathers := count["gather"] > 0; gathers != (s != "NO_SHARD") {
			t.Errorf("%s: %v", s, count)
		}
	}
	P, N := float64(runs["FULL_SHARD"].parameters()), float64(runs["FULL_SHARD"].Layout.Tabs)
	for _, c := range []struct {
		strategy, class string
		want            float64
	}{{"NO_SHARD", "optimizer", 8 * P}, {"SHARD_GRAD_OP", "optimizer", 8 * P / N}, {"FULL_SHARD", "optimizer", 8 * P / N}} {
		if got := runs[c.strategy].memory()[c.class]; got < 0.99*c.want || got > 1.05*c.want {
			t.Errorf("%s: %.0f bytes of %s on a tab, by the formula %.0f", c.strategy, got, c.class, c.want)
		}
	}
	if most, least := held(runs["NO_SHARD"]), held(runs["FULL_SHARD"]); least > most/2 {
		t.Errorf("FULL_SHARD holds %.0f bytes where DDP holds %.0f", least, most)
	}
}
