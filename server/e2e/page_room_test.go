package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"llamatab/server/servertest"
)

// lessonLimit is how long a lesson may take on a busy machine, with as many tabs as it has people.
const lessonLimit = 20 * time.Minute

// person is one of several visitors, each in a tab of the same browser.
type person struct {
	visitor
	name string
}

// until waits for a condition of the page to be true. Other tabs of the browser may be slow.
func (v person) until(what, condition string) {
	v.Helper()
	for end := time.Now().Add(servertest.Patience); time.Now().Before(end); {
		if v.ask(`return !!(`+condition+`)`) == "true" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	v.Fatalf("%s waited in vain for %s; the page says: %s", v.name, what, v.ask(`return document.body.innerText`))
}

// click presses the element with the id by script, as a tab in the background gets no mouse events.
func (v person) click(id string) {
	v.Helper()
	v.until(id, `(() => { const e = document.getElementById("`+id+`"); return e && !e.disabled && !e.closest("[hidden]"); })()`)
	v.ask(`document.getElementById("` + id + `").click(); return ""`)
}

func (v person) set(id, text string) {
	v.Helper()
	v.ask(`const e = document.getElementById("` + id + `"); e.value = "` + text + `"; e.dispatchEvent(new Event("input", { bubbles: true })); return ""`)
}

// reload reloads the page and waits for the new one.
func (v person) reload() {
	v.Helper()
	v.ask(`globalThis.old = true; setTimeout(() => location.reload()); return ""`)
	for end := time.Now().Add(servertest.Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var old bool
		if err := v.browser.Evaluate(v.ctx, `globalThis.old === true || document.readyState !== "complete"`, &old); err == nil && !old {
			return
		}
	}
	v.Fatalf("%s waits in vain for the page to be loaded again", v.name)
}

// shot saves a picture of the page to the folder that LLAMATAB_SHOTS names.
func (v person) shot(name string) {
	dir := os.Getenv("LLAMATAB_SHOTS")
	if dir == "" {
		return
	}
	png, err := v.browser.Screenshot(v.ctx)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o666)
	}
	if err != nil {
		v.Error(err)
	}
}

// Scripts by which a teacher's page chooses model and data: from the server, or files of this computer with the same bytes.
const (
	ready = `document.querySelector('input[name=model][value="tiny"]').click();
		document.querySelector('input[name=data][value="builtin:pirate"]').click()`
	own = `const fetched = async (url, name) => new File([await (await fetch(url)).blob()], name, { lastModified: 1 });
		const give = (id, files) => { const all = new DataTransfer(); for (const f of files) all.items.add(f);
			const input = document.getElementById(id); input.files = all.files; input.dispatchEvent(new Event("change", { bubbles: true })); };
		const [tiny] = (await (await fetch("/api/models")).json()).filter((m) => m.name === "tiny");
		give("model-input", await Promise.all(tiny.files.map((f) => fetched("/api/models/tiny/" + f.name, f.name))));
		give("data-input", [await fetched("/api/data/builtin:pirate", "my own.jsonl")])`
)

// lessonInPage opens a room in a teacher's tab, and pupils' tabs that join it by link or by code. The run is evaluated in
// the middle and at the end.
func lessonInPage(t *testing.T, address, strategy string, steps int, choose string, names ...string) (teacher person, pupils []person) {
	t.Helper()
	teacher = person{visit(t, lessonLimit), "the teacher"}
	teacher.open(address + "/#studio")
	teacher.until("the studio", `document.getElementById("new-room") && document.querySelector("input[name=model]")`)
	teacher.ask(choose + `; return ""`)
	teacher.until("the data", `document.getElementById("data-input") && document.body.innerText.includes("own.jsonl") || document.querySelector('input[name=data]:checked')`)
	teacher.click("method-lora")
	teacher.set("set-training-max-steps", strconv.Itoa(steps))
	teacher.click("more")
	teacher.until("all settings", `document.getElementById("set-training-eval-steps")`)
	teacher.set("set-training-eval-steps", strconv.Itoa(steps/2))
	teacher.set("set-dataset-validation-split", "0.05")
	teacher.set("set-dataset-max-length", "48")
	teacher.set("set-training-per-device-train-batch-size", "1")
	teacher.click("new-room")
	teacher.set("new-room-name", "Class 7b")
	teacher.set("new-room-tabs", strconv.Itoa(len(names)))
	teacher.ask(`const e = document.getElementById("new-room-strategy"); e.value = "` + strategy + `"; e.dispatchEvent(new Event("change", { bubbles: true })); return ""`)
	teacher.shot("class")
	teacher.click("new-room-open")
	teacher.until("the room", `document.getElementById("room-code")?.textContent.length > 5`)
	code := strings.ReplaceAll(teacher.text("room-code"), " ", "")
	if !regexp.MustCompile(`^\d{6}$`).MatchString(code) {
		t.Errorf("the room's code is %q", code)
	}
	for i, name := range names {
		tab, err := teacher.browser.Tab()
		if err != nil {
			t.Fatal(err)
		}
		pupil := person{visitor{t, tab, teacher.ctx}, name}
		if i == 0 {
			pupil.open(address + "/#join=" + code)
			pupil.until("the code of the link", `document.getElementById("join-code")?.value === "`+code+`"`)
			if at := pupil.ask(`return location.href`); strings.Contains(at, code) {
				t.Errorf("the code stays in the address %s", at)
			}
		} else {
			pupil.open(address)
			pupil.until("the form", `document.getElementById("join-code")`)
			pupil.set("join-code", code[:3]+" "+code[3:])
		}
		pupil.set("join-name", name)
		pupil.click("join")
		pupil.until("the lobby", `document.querySelector('#roster [data-mine="true"]')`)
		pupils = append(pupils, pupil)
	}
	return teacher, pupils
}

// roomRun is a script expression for the page's run in the room.
const roomRun = `(await llamatabStore.list()).find((r) => r.meta.room?.tab === JSON.parse(sessionStorage.getItem("llamatab-room")).tab)`

// adapter is a hash of the page's adapter at the end.
func (v person) adapter() string {
	v.Helper()
	v.until("the end", `document.querySelector("main").dataset.state === "done"`)
	v.ask(`location.hash = "#export"; return ""`)
	v.until("the export", `document.getElementById("export-adapter")?.disabled === false`)
	return v.ask(`const f = await llamatabStore.get("runs/" + ` + roomRun + `.id + "/adapter/adapter_model.safetensors");
		return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", await f.arrayBuffer()))).join()`)
}

// losses are the losses that the page recorded of its run in the room, with those on held-out rows where it was evaluated.
func (v person) losses() string {
	v.Helper()
	return v.ask(`return (await (await llamatabStore.get("runs/" + ` + roomRun + `.id + "/metrics.jsonl")).text()).trim().split("\n").map((l) => JSON.parse(l)).map((s) => [s.loss, s.eval_loss].filter(Boolean).join("/")).join()`)
}

const allReady = `document.querySelectorAll('#roster [data-is="ready"]').length === `

// TestRoomInPage opens a room with two pupils and trains. At the end each page tries the model and downloads the result.
func TestRoomInPage(t *testing.T) {
	teacher, pupils := lessonInPage(t, serving(t, tinyModel(t)...), "FULL_SHARD", 6, ready, "Ada", "Bo")
	ada, bo := pupils[0], pupils[1]
	teacher.until("both to be ready", allReady+`2`)
	teacher.shot("lobby-teacher")
	ada.until("the lobby's word", `document.getElementById("room-status").textContent.includes("teacher")`)
	ada.shot("lobby-pupil")
	teacher.click("room-start")
	teacher.until("a step", `document.getElementById("room-status").textContent.includes("Step")`)
	for _, v := range []person{ada, bo} {
		v.until("the end", `document.querySelector("main").dataset.state === "done"`)
		v.until("the room's end", `document.getElementById("room").dataset.phase === "done"`)
		if sent := v.text("room-sent"); !regexp.MustCompile(`[1-9].* sent, .*[1-9].* received`).MatchString(sent) {
			t.Errorf("%s: what has left is %q", v.name, sent)
		}
	}
	teacher.shot("done-teacher")
	ada.shot("done-pupil")
	ada.ask(`location.hash = "#run"; return ""`)
	ada.until("the curves", `llamatabCharts.points() === 6`)
	ada.shot("run-pupil")
	ada.until("the held-out loss", `/^\d\.\d{4}$/.test(document.getElementById("eval").textContent)`)
	teacher.until("the class's held-out loss", `/held-out loss \d\.\d{4} after step 6/.test(document.getElementById("room-curve").ariaLabel)`)
	if a, b := ada.losses(), bo.losses(); a != b || !regexp.MustCompile(`^([\d.]+,){2}[\d.]+/[\d.]+,([\d.]+,){2}[\d.]+/[\d.]+$`).MatchString(a) {
		t.Errorf("the losses are %s and %s", a, b)
	}
	if ada.adapter() != bo.adapter() {
		t.Error("the two tabs' results differ")
	}
	bo.ask(`location.hash = "#try"; return ""`)
	bo.until("the prompt", `document.getElementById("prompt")`)
	bo.set("prompt", "Say:")
	bo.click("generate")
	bo.until("both replies", `document.getElementById("after").textContent.length > 5 && !document.getElementById("generate").disabled`)
	bo.shot("try-pupil")
	bo.reload() // the result and the seat survive
	bo.until("the roster", `document.querySelector('#roster [data-mine="true"]')`)
	bo.until("the run as it was", `document.querySelector("main").dataset.state === "done" && llamatabCharts.points() === 6`)

	// The teacher's page shows the traffic.
	if cells := teacher.ask(`return [...document.querySelectorAll("#wire tbody tr, #room-memory tbody tr")].map((r) => r.innerText.replaceAll("\t", " ")).join("|")`); strings.Count(cells, "|") != 7 || !regexp.MustCompile(`^Sent [\d.]+ kB [\d.]+ kB [\d.]+ kB\|`).MatchString(cells) {
		t.Errorf("the costs are %s", cells)
	}
	teacher.until("the memory of a tab", `document.querySelector("#room-memory tbody td")?.textContent.endsWith("B")`)
	teacher.click("room-projector")
	teacher.until("the projector", `document.getElementById("room").dataset.projector === "true"`)
	teacher.shot("projector")
	if shown := teacher.ask(`return document.getElementById("room").innerText`); strings.Contains(shown, "Ada") || strings.Contains(shown, "Bo\n") {
		t.Errorf("the projector shows names: %s", shown)
	}
	teacher.click("room-projector")
	teacher.click("room-end")
	teacher.click("room-end")
	teacher.until("no room", `document.getElementById("join-code")`)
}

// TestRoomInPageTroubles reloads a tab, duplicates another, removes a third and pauses the run, which still ends well.
func TestRoomInPageTroubles(t *testing.T) {
	const steps = 24 // enough that the run does not end before the last trouble
	var all []string
	for i := range steps {
		all = append(all, strconv.Itoa(i+1))
	}
	teacher, pupils := lessonInPage(t, serving(t, tinyModel(t)...), "NO_SHARD", steps, ready, "Ada", "Bo", "Cy")
	ada, bo, cy := pupils[0], pupils[1], pupils[2]
	teacher.until("all to be ready", allReady+`3`)
	teacher.click("room-lock")
	teacher.until("the lock", `document.getElementById("room-lock").textContent === "Unlock"`)
	address := ada.ask(`return location.origin`)
	memory := ada.ask(`return sessionStorage.getItem("llamatab-room")`)

	// A duplicated tab has the seat of the first tab and is told so.
	tab, err := teacher.browser.Tab()
	if err != nil {
		t.Fatal(err)
	}
	copied := person{visitor{t, tab, teacher.ctx}, "a copy of Ada's tab"}
	copied.open(address)
	copied.ask(`sessionStorage.setItem("llamatab-room", ` + "`" + memory + "`" + `); return ""`)
	copied.reload()
	copied.until("the word", `document.getElementById("join-problem")?.textContent.includes("another tab of this browser")`)
	// The locked room refuses it, too.
	copied.set("join-code", strings.ReplaceAll(teacher.text("room-code"), " ", ""))
	copied.click("join")
	copied.until("the lock", `document.getElementById("join-problem")?.textContent.includes("locked")`)
	copied.set("join-code", "000000")
	copied.click("join")
	copied.until("a refusal", `document.getElementById("join-problem")?.textContent.includes("No room has this code")`)
	copied.browser.Close()

	teacher.click("room-start")
	seat := func(v person) string { return v.ask(`return JSON.parse(sessionStorage.getItem("llamatab-room")).tab`) }
	number := seat(bo)
	bo.until("two steps", `llamatabCharts.points() >= 2`)
	bo.reload()
	bo.until("its seat again", `document.querySelector('#roster [data-mine="true"]')?.dataset.tab === "`+number+`"`)

	row := `#roster tr[data-tab="` + seat(cy) + `"] `
	remove := `document.querySelector('` + row + `.remove').click(); return ""`
	teacher.until("the button", `document.querySelector('`+row+`.remove')`)
	teacher.ask(remove)
	teacher.until("the question", `document.querySelector('`+row+`.remove').textContent === "Really?"`)
	teacher.ask(remove)
	cy.until("the word", `document.getElementById("join-problem")?.textContent.includes("removed this tab")`)
	cy.until("its run's end", `document.querySelector("main").dataset.state === "failed"`)

	teacher.click("room-pause")
	teacher.until("the pause", `document.getElementById("room").dataset.phase === "paused"`)
	ada.until("the pause", `document.getElementById("room-status").textContent.startsWith("Paused by the teacher")`)
	teacher.shot("paused-teacher")
	teacher.click("room-pause")
	for _, v := range []person{ada, bo} {
		v.until("the end", `document.querySelector("main").dataset.state === "done"`)
		got := v.ask(`const id = (await llamatabStore.list()).find((r) => r.meta.room.tab === ` + seat(v) + `).id;
			return (await (await llamatabStore.get("runs/" + id + "/metrics.jsonl")).text()).trim().split("\n").map((l) => JSON.parse(l).step).join()`)
		if v.name == "Ada" && got != strings.Join(all, ",") {
			t.Errorf("%s has the steps %s", v.name, got)
		}
		if !strings.HasSuffix(got, ","+strings.Join(all[steps-3:], ",")) {
			t.Errorf("%s has the steps %s", v.name, got)
		}
		t.Log(v.name, got)
	}
	if seen := teacher.ask(`return document.querySelector('#roster tr[data-tab="` + number + `"] th').innerText`); !strings.HasPrefix(seen, "Bo") {
		t.Errorf("the roster calls tab %s %q", number, seen)
	}
}

// TestRoomOutlivesItsServer kills the server in the middle of a lesson, while it writes, and starts it again. The pages
// reconnect by themselves, and the teacher's page still controls the room. The lesson trains uploaded files. Its result has
// the bits of an undisturbed lesson with files of the server, another sharding strategy and fewer tabs.
func TestRoomOutlivesItsServer(t *testing.T) {
	state := t.TempDir()
	options := append(tinyModel(t), "--state", state)
	s := startServe(t, append(options, "--listen", "127.0.0.1:0")...)
	listen := strings.TrimPrefix(s.address, "http://")
	teacher, pupils := lessonInPage(t, s.address, "HYBRID_SHARD", 14, own, "Ada", "Bo", "Cy")
	teacher.until("all to be ready", allReady+`3`)
	code := teacher.text("room-code")
	teacher.click("room-start")
	pupils[0].until("three steps", `llamatabCharts.points() >= 3`)
	s.kill()
	logs, err := filepath.Glob(filepath.Join(state, "rooms", "*", "log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("the room's log is %v (%v)", logs, err)
	}
	servertest.TearLog(t, logs[0])
	teacher.until("the word", `document.getElementById("room").innerText.includes("does not answer")`)
	teacher.shot("server-gone-teacher")
	pupils[1].shot("server-gone-pupil")
	startServe(t, append(options, "--listen", listen)...)
	teacher.until("all to be back", `document.querySelectorAll('#roster [data-tab]').length === 3 && ["running", "done"].includes(document.getElementById("room").dataset.phase)`)
	if again := teacher.text("room-code"); again != code {
		t.Errorf("the room's code was %s and is %s", code, again)
	}
	results := map[string]int{}
	for _, v := range pupils {
		results[v.adapter()]++
	}
	teacher.ask(`sessionStorage.clear(); location.hash = "#home"; return ""`) // has the effect of closing the tab
	teacher.reload()
	teacher.click("lead")
	teacher.until("the room again", `document.getElementById("room-code")?.textContent === "`+code+`"`)
	teacher.click("room-end")
	teacher.click("room-end")
	teacher.until("no room", `document.getElementById("join-code")`)
	teacher, pupils = lessonInPage(t, s.address, "SHARD_GRAD_OP", 14, ready, "Di", "Ed")
	teacher.until("all to be ready", allReady+`2`)
	teacher.click("room-start")
	for _, v := range pupils {
		results[v.adapter()]++
	}
	if len(results) != 1 {
		t.Errorf("there are %d different results", len(results))
	}
}
