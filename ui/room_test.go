//go:build !js

package ui

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"llamatab/engine/message"
)

// classroom are the answers of a server with one room, with tabs in every state.
func classroom() map[string]string {
	has := maps.Clone(offers)
	has["/api/rooms"] = `{"id": "room-1", "code": "471902", "owner": "OWNER", "addresses": ["https://192.168.1.20:8443/"]}`
	has["/api/rooms/join"] = `{"id": "room-1", "tab": 2, "token": "SEAT", "name": "Bo", "room": "Class 7b", "steps": 100000,
		"job": {"model": "builtin:tales", "dataset": {"path": "builtin:pirate"}, "training": {"max_steps": 100000, "learning_rate": 0.001}, "fsdp": {"slots": 4}},
		"sources": {"model": [{"name": "config.json", "size": 500, "url": "/api/models/builtin:tales/config.json"}],
			"dataset": [{"name": "pirate.jsonl", "size": 2500, "url": "/api/data/builtin:pirate"}]}}`
	var losses []message.RoomLoss
	for i := range 40 {
		losses = append(losses, message.RoomLoss{Step: uint64(i) + 1, Loss: 3 - float64(i)/20})
		if i%10 == 9 {
			held := 3.1 - float64(i)/30
			losses[i].Eval = &held
		}
	}
	text, _ := json.Marshal(losses)
	has["/api/rooms/room-1/look"] = `{"id": "room-1", "name": "Class 7b", "phase": "computing", "strategy": "FULL_SHARD", "step": 40, "steps": 100, "slots": 4, "shards": 8,
		"online": 4, "here": 6, "max_tabs": 30, "params": 1000000, "before": 3.2, "losses": ` + string(text) + `,
		"forecast": {"Up": 1500000, "Down": 2500000}, "ddp": {"Up": 1000000, "Down": 4000000}, "tabs": [
		{"tab": 1, "name": "Ada", "class": "webgpu|apple|metal-3", "state": "online", "shards": [0, 1], "working": [2], "seconds": 0.61, "relative": 1, "in": 61000000, "out": 90000000, "memory": 812000000, "usage": {"weights": 500000000, "gradients": 60000000, "optimizer": 120000000, "activations": 100000000, "staging": 32000000, "total": 812000000}, "silent": 0.3, "up": 1510000, "down": 2490000, "waited": 0.21},
		{"tab": 2, "name": "Bo", "class": "webgpu|intel|gen-9", "state": "online", "shards": [2, 3], "seconds": 1.7, "relative": 2.8, "in": 41000000, "out": 88000000, "memory": 812000000, "silent": 1.1, "hidden": true, "up": 1490000, "down": 2510000},
		{"tab": 3, "name": "", "state": "away", "silent": 7, "in": 1200, "out": 90},
		{"tab": 4, "name": "Dora with a long name", "state": "suspect", "shards": [4, 5, 6, 7], "silent": 6.2},
		{"tab": 5, "name": "小明", "state": "loading", "phase": "load", "done": 60, "total": 100, "silent": 0.9},
		{"tab": 6, "name": "Fay", "state": "failed", "failed": "does_not_fit", "silent": 4}]}`
	has["/api/rooms/room-1/plan"] = `[
		{"sharding_strategy": "NO_SHARD", "planned_bytes": {"weights": 9e8, "gradients": 4e6, "optimizer": 8e6, "activations": 2e8, "staging": 1e6, "total": 1113000000}},
		{"sharding_strategy": "FULL_SHARD", "planned_bytes": {"weights": 5e8, "gradients": 1e6, "optimizer": 2e6, "activations": 2e8, "staging": 1e6, "total": 704000000}}]`
	return has
}

// TestRoomScreens visits the screens of a room as its owner and as a tab that has joined, in both languages and themes and three
// widths. axe finds no violation, nothing scrolls sideways, and the projector shows no names.
func TestRoomScreens(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in site uses paths of other systems")
	}
	if testing.Short() {
		t.Skip("builds the page and starts a browser")
	}
	if _, err := os.Stat("node_modules/axe-core/axe.min.js"); err != nil {
		t.Fatal("axe-core is not there: run `npm ci --prefix ui`, or `make build`")
	}
	address := site(t, classroom())
	b := openTab(t)
	for _, lang := range []string{"en", "zh"} {
		for _, width := range []int64{1280, 360, 320} {
			if err := b.browser.Resize(b.ctx, width, 800); err != nil {
				t.Fatal(err)
			}
			v := roomVisit{b, address, lang, width}
			v.asOwner()
			v.asPupil()
		}
	}
	b.want(clean, "")
}

// roomVisit is a visit to the screens of a room.
type roomVisit struct {
	tab     tab
	address string
	lang    string
	width   int64
}

// check takes pictures of a screen where they are wanted, and checks it with axe, in both themes.
func (v roomVisit) check(what string) {
	b, lang, width := v.tab, v.lang, v.width
	b.Helper()
	for _, theme := range []string{"light", "dark"} {
		b.eval(`document.documentElement.dataset.theme = "` + theme + `"`)
		if *pictures != "" {
			b.eval(`(document.activeElement?.blur(), scrollTo(0, 0))`)
			time.Sleep(150 * time.Millisecond)
			png, err := b.browser.Screenshot(b.ctx)
			if err == nil {
				err = os.WriteFile(filepath.Join(*pictures, fmt.Sprintf("room-%d-%s-%s-%s.png", width, lang, theme, what)), png, 0o666)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		if width == 360 {
			continue // the narrowest says as much
		}
		var found []string
		if err := json.Unmarshal([]byte(b.eval(violations)), &found); err != nil {
			b.Fatal(err)
		}
		for _, f := range found {
			b.Errorf("%d %s %s %s: %s", width, lang, theme, what, f)
		}
	}
	if wide := b.eval(`document.documentElement.scrollWidth - innerWidth`); wide != "0" {
		b.Errorf("%d %s %s: %s pixels wider than the window", width, lang, what, wide)
	}
}

// asOwner opens a room and shows it on the projector.
func (v roomVisit) asOwner() {
	b, address, lang, check := v.tab, v.address, v.lang, v.check
	b.open(address + "?lang=" + lang)
	b.eval(`sessionStorage.clear()`)
	b.open(address + "?lang=" + lang)
	b.wait(`document.getElementById("join-code")`)
	b.click("join")
	b.wait(`document.querySelector("#join-problem span").textContent !== ""`)
	check("1-home")
	b.eval(`location.hash = "#room"`)
	b.wait(`document.getElementById("room")`)
	check("2-none")
	b.eval(`location.hash = "#studio"`)
	b.wait(`document.querySelector("[name=data]")`)
	b.eval(`document.querySelector("[name=data]").click()`)
	b.click("new-room")
	b.wait(`!document.getElementById("new-room-panel").hidden`)
	check("3-studio")
	b.click("new-room-open")
	b.wait(`document.querySelectorAll("#roster tbody tr").length === 6 && document.querySelector("#qr canvas") && document.querySelectorAll("#room-memory tbody tr").length === 6`)
	b.want(`document.getElementById("room-code").textContent`, "471 902")
	b.want(`document.getElementById("room-address").textContent`, "https://192.168.1.20:8443")
	b.wait(`document.querySelector("#room-curve canvas")`)
	for _, loss := range []string{"1.0500", "1.8000", "3.2000"} { // of the last step, on held-out rows, and there before training
		b.wait(`document.getElementById("room-curve").ariaLabel.includes("` + loss + `")`)
	}
	b.want(`document.querySelector("#room-memory tbody td").textContent`, "500 MB")
	check("4-leads")
	b.click("room-projector")
	b.wait(`document.querySelector(".room-grid li")`)
	if shown := b.eval(`document.getElementById("room").innerText`); strings.Contains(shown, "Ada") || strings.Contains(shown, "Dora") || strings.Contains(shown, "小明") {
		b.Errorf("the projector shows names: %s", shown)
	}
	check("5-projector")
}

// asPupil joins the room by its link, trains and leaves.
func (v roomVisit) asPupil() {
	b, address, lang, check := v.tab, v.address, v.lang, v.check
	b.eval(`sessionStorage.clear()`)
	b.open(address + "?lang=" + lang + "#join=471902")
	b.wait(`document.getElementById("join-code")?.value === "471902" && document.activeElement.id === "join-name"`)
	b.want(`location.hash`, "#home")
	b.click("join")
	b.wait(`document.querySelector('#roster [data-mine="true"]')`)
	b.wait(`document.getElementById("leaves").textContent.includes("41 MB")`)
	check("6-joined")
	b.eval(`location.hash = "#run"`)
	b.wait(`parseInt(document.getElementById("step").textContent) > 5 && document.getElementById("pause").closest("[hidden]")`)
	check("7-run")
	b.eval(`location.hash = "#room"`)
	b.click("room-leave")
	b.click("room-leave")
	b.wait(`document.querySelector("main").dataset.screen === "home" && !sessionStorage.getItem("llamatab-room")`)
}
