package e2e

import (
	"strings"

	"llamatab/server/hub/hubtest"
)

// fetchesByItself opens the page of a server that fetches nothing. The browser fetches the model from the hub, which cuts the
// connection, and trains it from its own storage. While the run goes on the model cannot be removed; after a reload it is still
// there, and can.
func fetchesByItself(v visitor, builtin string) {
	v.Helper()
	h := hubWithTales(v.T, builtin)
	h.Fail(hubtest.Fault{Storage: true, Cut: 1_500_000}) // more than the browser keeps before the page reads it
	address := serving(v.T, "--offline", "--hub-endpoint", h.NamedURL()) + "/#studio"
	v.open(address)
	v.until("the way by this browser", `document.getElementById("hub-way")?.dataset.way === "browser" && !document.getElementById("hub").hidden`)
	v.ask(`const e = document.getElementById("hub-name"); e.value = "org/tales"; e.dispatchEvent(new Event("input", { bubbles: true }))`)
	v.press("hub-fetch")
	v.until("the model in this browser", `document.getElementById("model-chosen").textContent.startsWith("org/tales@") && document.querySelector("#model-stored input").checked`)
	fromPages(v, h)
	v.ask(`document.querySelector("[name=data][value='builtin:pirate']").click()`)
	v.until("the plan", `document.getElementById("plan").dataset.fits === "true"`)
	v.press("start")
	v.stage("training")
	v.ask(`location.hash = "#studio"`)
	remove := `const b = document.querySelector("#model-stored button"); b.click(); await new Promise((done) => setTimeout(done, 300)); document.querySelector("#model-stored button").click()`
	v.until("the list of models", `document.querySelector("#model-stored button")?.offsetParent`)
	v.ask(remove)
	v.until("the refusal", `document.getElementById("hub-problem").textContent.includes("pirate")`)
	v.ask(`location.hash = "#run"`)
	v.press("stop")
	v.stage("stopped")
	if inputs := v.ask(`return JSON.stringify((await llamatabStore.list())[0].meta.inputs.model) + (await llamatabStore.inputs("none"))`); !strings.Contains(inputs, `"from":"fetched"`) || strings.Contains(inputs, "kept") {
		v.Errorf("the run's model is %s", inputs)
	}
	v.open("about:blank")
	v.open(address)
	v.until("the list of models after a reload", `document.querySelector("#model-stored button")?.offsetParent`)
	v.ask(remove)
	v.until("the end of the model", `document.getElementById("model-stored").hidden`)
	if left := v.ask(`return (await llamatabStore.models()).length`); left != "0" {
		v.Errorf("%s models are left in the storage", left)
	}
}

// fromPages checks what a hub was asked for: by pages alone, without a question beforehand or a token, and for the rest of a file
// after a cut.
func fromPages(v visitor, h *hubtest.Hub) {
	v.Helper()
	rest := false
	for _, r := range h.Requests() {
		if r.Method != "GET" || r.Origin == "" || r.Authorization != "" {
			v.Errorf("the hub was asked by %+v", r)
		}
		rest = rest || r.Storage && r.Range != "" && r.Range != "bytes=0-"
	}
	if !rest {
		v.Errorf("after the cut nothing was continued: %+v", h.Requests())
	}
}
