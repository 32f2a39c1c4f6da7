//go:build !js

package ui

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
)

// violations lists the violations of WCAG 2.2 A and AA that axe finds on the page.
const violations = `(async () => {
	if (!globalThis.axe) await new Promise((done, failed) => {
		const script = Object.assign(document.createElement("script"), { src: "/axe.js", onload: done, onerror: failed });
		document.head.append(script);
	});
	const { violations } = await axe.run(document, { resultTypes: ["violations"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
	return JSON.stringify(violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target.join(" ") + " " + n.failureSummary.split("\n").slice(1, 3).join(";"))));
})()`

// TestAccessible checks every screen with axe-core, in both themes and languages, before and during a run. At the width of a small
// phone nothing may scroll sideways.
func TestAccessible(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in site uses paths of other systems")
	}
	if testing.Short() {
		t.Skip("builds the page and starts a browser")
	}
	if _, err := os.Stat("node_modules/axe-core/axe.min.js"); err != nil {
		t.Fatal("axe-core is not there: run `npm ci --prefix ui`, or `make build`")
	}
	address := site(t, offers)
	b := openTab(t)
	check := func(what string) {
		t.Helper()
		var found []string
		if err := json.Unmarshal([]byte(b.eval(violations)), &found); err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			t.Errorf("%s: %s", what, f)
		}
	}
	all := func(what string) {
		for _, screen := range screens {
			b.eval(`location.hash = "#` + screen + `"`)
			b.wait(`document.querySelector("main").dataset.screen === "` + screen + `"`)
			for _, theme := range []string{"light", "dark"} {
				b.eval(`document.documentElement.dataset.theme = "` + theme + `"`)
				check(strings.Join([]string{what, screen, theme}, " "))
			}
			if wide := b.eval(`document.documentElement.scrollWidth - innerWidth`); strings.HasPrefix(what, "narrow") && wide != "0" {
				t.Errorf("%s %s: %s pixels wider than the window", what, screen, wide)
			}
		}
	}
	b.open(address)
	b.wait(`globalThis.llamatabStore`)
	b.keepModels()
	for _, lang := range []string{"en", "zh"} {
		b.studio(address+"?lang="+lang, "broken.jsonl")
		b.click("skip-bad")
		b.wait(`!document.getElementById("bad-rows").hidden`)
		check("rows left out " + lang)
		b.choose("data-input", map[string]int{"odd.csv": 900})
		b.wait(`document.getElementById("data-fault").textContent.includes("frage")`)
		b.pick("mapping-format", "prompt_completion")
		b.wait(`document.getElementById("mapping-prompt")`)
		check("columns " + lang)
		b.choose("data-input", map[string]int{"chats.jsonl": 900})
		b.wait(`document.querySelector("#preview-rows .role")`)
		b.click("more")
		b.click("json")
		b.click("help")
		b.pick("set-added-at", "classify")
		b.set("budget", "0.004") // which is too little
		b.wait(`document.getElementById("plan-text").textContent && document.getElementById("set-added-num-labels")`)
		b.wait(`document.querySelectorAll("#model-stored input").length === 1 && document.querySelector(".hub-fetch[data-way=browser][data-state=paused]")`)
		all("idle " + lang)
		b.eval(`location.hash = "#studio"`)
		b.pick("set-added-at", "none")
		b.set("budget", "")
		b.set("set-training-max-steps", "100000")
		b.eval(`location.hash = "#studio"`)
		b.click("start")
		b.stage(Training)
		b.wait(`parseInt(document.getElementById("step").textContent) > 20`)
		b.eval(`document.getElementById("units").click(), document.querySelector("#charts details").open = true`)
		all("running " + lang)
	}
	if err := b.browser.Resize(b.ctx, 320, 640); err != nil {
		t.Fatal(err)
	}
	all("narrow zh")
	b.talked(address + "?lang=zh")
	b.say("Hi")
	b.wait(`document.getElementById("after-0")?.dataset.finish === "stop"`)
	b.eval(`document.getElementById("talk-more").click()`)
	b.wait(`document.getElementById("talk-system").offsetParent`)
	for _, theme := range []string{"light", "dark"} {
		b.eval(`document.documentElement.dataset.theme = "` + theme + `"`)
		check("conversation " + theme)
	}
	b.want(`document.documentElement.scrollWidth - innerWidth`, "0")
	b.open(address + "?lang=en&without=adapter")
	b.wait(`!document.getElementById("gate").hidden`)
	check("gate")
}
