//go:build !js

package ui

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	recipes "llamatab/engine/recipe"
	"llamatab/server/servertest"
)

var pictures = flag.String("pictures", "", "folder for pictures of every screen: `make pictures`")

// TestPictures takes a picture of every screen in every view, for a person to look at. It compares nothing.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("pictures are taken where -pictures names a folder")
	}
	if err := os.MkdirAll(*pictures, 0o777); err != nil {
		t.Fatal(err)
	}
	shown := maps.Clone(offers)
	known, err := json.Marshal(recipes.All)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := os.ReadFile("../testdata/builtin/runs.json")
	if err != nil {
		t.Fatal(err)
	}
	shown["/api/recipes"], shown["/api/runs"] = string(known), string(runs)
	address := site(t, shown)
	for _, lang := range []string{"en", "zh"} {
		for _, v := range views {
			t.Run(lang+" "+v.name, func(t *testing.T) { v.visit(openTab(t), address, lang) })
		}
	}
}

// view is a size of the window, with themes and CSS features.
type view struct {
	name          string
	width, height int64
	themes        []string
	media         map[string]string // features of CSS
}

var views = []view{
	{"phone", 360, 740, []string{"light", "dark"}, nil},
	{"laptop", 1280, 800, []string{"light", "dark"}, nil},
	{"4k", 3840, 2160, []string{"light", "dark"}, nil},
	{"zoomed", 640, 400, []string{"light"}, nil}, // 200 % of a laptop
	{"reflow", 320, 640, []string{"light"}, nil},
	{"forced", 1280, 800, []string{"dark"}, map[string]string{"forced-colors": "active", "prefers-color-scheme": "dark"}},
	{"still", 1280, 800, []string{"light"}, map[string]string{"prefers-reduced-motion": "reduce", "prefers-contrast": "more"}},
}

// visit takes the pictures of all screens, in the order in which a person sees them.
func (v view) visit(b tab, address, lang string) {
	if err := b.browser.Resize(b.ctx, v.width, v.height); err != nil {
		b.Fatal(err)
	}
	if err := b.browser.Media(b.ctx, v.media); err != nil {
		b.Fatal(err)
	}
	take := func(what string) {
		b.Helper()
		v.take(b, lang, what)
	}
	at := func(screen string) {
		b.Helper()
		b.eval(`location.hash = "#` + screen + `"`)
		b.wait(`document.querySelector("main").dataset.screen === "` + screen + `"`)
	}
	b.open(address + "?without=adapter&lang=" + lang)
	b.wait(`!document.getElementById("gate").hidden`)
	if b.eval(servertest.HasChineseFont) != "true" {
		b.Fatal(servertest.NoChineseFont)
	}
	take("0-gate")
	b.open(address + "?lang=" + lang)
	b.wait(`document.getElementById("ready-pirate")`)
	take("1-home-new")
	b.keepModels()
	b.open("about:blank")
	b.open(address + "?lang=" + lang)
	for _, screen := range []string{screenStudio, screenRun, screenTry, screenExport, screenRoom} {
		at(screen)
		take(map[string]string{screenStudio: "2-studio-new", screenRun: "3-run-new", screenTry: "4-try-new", screenExport: "5-export-new", screenRoom: "6-room-new"}[screen])
	}
	for _, data := range []string{"chats.jsonl", "odd.csv", "broken.jsonl"} {
		b.studio(address+"?lang="+lang, data)
		take("2-studio-" + strings.TrimSuffix(data, filepath.Ext(data)))
	}
	b.studio(address+"?lang="+lang, "rows.jsonl")
	take("2-studio")
	b.click("more")
	b.click("json")
	b.click("help")
	take("2-studio-open")
	b.click("more")
	b.click("json")
	b.set("set-training-per-device-train-batch-size", "128")
	b.wait(`document.querySelector(".fixes button")`)
	take("2-studio-misfit")
	b.eval(`document.querySelector(".fixes button").click()`)
	b.set("set-training-max-steps", "900")
	b.click("start")
	b.stage(Training)
	b.wait(`parseInt(document.getElementById("step").textContent) > 200`)
	b.click("pause")
	take("3-run-paused")
	b.click("stop")
	b.stage(Stopped)
	b.choose("data-input", map[string]int{"fails.jsonl": 10})
	b.open(address + "?lang=" + lang)
	b.click("ready-pirate")
	b.stage(Training)
	take("3-run")
	b.stage(Done)
	b.eval(`document.querySelector("#charts details").open = true, document.getElementById("units").click()`)
	take("3-run-done")
	at(screenTry)
	b.wait(`document.getElementById("prompt")?.value`)
	b.click("generate")
	b.wait(`document.getElementById("after").textContent === "Arr, 好!"`)
	take("4-try")
	at(screenExport)
	take("5-export")
	at(screenHome)
	b.wait(`document.querySelector("#runs li")`)
	take("1-home")
	b.talked(address + "?lang=" + lang)
	b.say("Hi")
	b.wait(`document.getElementById("after-0")?.dataset.finish === "stop"`)
	b.say("go")
	b.wait(`document.getElementById("after-1")?.dataset.finish === "stop"`)
	b.eval(`document.getElementById("talk-more").click()`)
	b.wait(`document.getElementById("talk-system").offsetParent`)
	take("4-try-talk")
	b.studio(address+"?lang="+lang, "fails.jsonl")
	b.click("start")
	b.stage(Failed)
	take("3-run-failed")
}

// take takes a picture in each theme of the view.
func (v view) take(b tab, lang, what string) {
	b.Helper()
	for _, theme := range v.themes {
		b.eval(`document.documentElement.dataset.theme = "` + theme + `"`)
		b.eval(`(globalThis.llamatabCharts?.rebuild(), document.activeElement?.blur(), scrollTo(0, 0))`)
		time.Sleep(150 * time.Millisecond) // two frames, and what they cause
		png, err := b.browser.Screenshot(b.ctx)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*pictures, fmt.Sprintf("%s-%s-%s-%s.png", v.name, lang, theme, what)), png, 0o666); err != nil {
			b.Fatal(err)
		}
		if wide := b.eval(`document.documentElement.scrollWidth - innerWidth`); wide != "0" {
			b.Errorf("%s: %s pixels wider than the window", what, wide)
		}
	}
}
