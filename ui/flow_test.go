//go:build !js

package ui

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"llamatab/server/servertest"
)

const (
	status = `document.getElementById("status").textContent`
	clean  = `seen.violations.concat(seen.errors).join()`
)

// TestPage drives the page in a browser, with a stand-in for the engine.
func TestPage(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in site uses paths of other systems")
	}
	if testing.Short() {
		t.Skip("builds the page and starts a browser")
	}
	address := site(t, offers)
	b := openTab(t)
	for _, part := range []struct {
		name string
		run  func(b tab, address string)
	}{
		{"one click", oneClick}, {"studio", studio}, {"run", wholeRun}, {"hidden", hidden}, {"resume", resume}, {"failures", failures}, {"conversation", conversation},
		{"export", export}, {"language", language}, {"link", link}, {"chart", chart}, {"keyboard", keyboard}, {"gate", gate},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(tab{t, b.browser, b.ctx}, address) })
	}
}

// oneClick does what a newcomer does: open the page, start a ready run with one click, see losses and samples, compare before and
// after.
func oneClick(b tab, address string) {
	b.open(address)
	b.wait(`document.getElementById("ready-pirate")`)
	b.want(`document.documentElement.lang`, "en")
	b.want(`document.querySelectorAll("#app h1").length`, "1")
	b.click("ready-pirate")
	b.stage(Training)
	b.want(`document.querySelector("main").dataset.screen`, "run")
	b.wait(`document.querySelectorAll("#chart-loss canvas").length === 1`)
	b.stage(Done)
	b.want(`document.getElementById("step").textContent`, "60 / 60")
	b.want(`document.getElementById("run-title").textContent`, "Talk like a pirate")
	b.want(`document.getElementById("sample-step").textContent`, "after step 60")
	b.click("sample-back")
	b.wait(`document.querySelector(".samples dd").textContent === " sample 40"`)

	b.eval(`location.hash = "#try"`)
	b.wait(`document.getElementById("prompt")?.value === "One day, a fox"`)
	b.click("generate")
	b.wait(`document.getElementById("after").textContent === "Arr, 好!"`)
	b.want(`document.getElementById("before").textContent`, " there was a cat")
	b.want(clean, "")
}

// talked runs on conversations, opens Try and waits until it holds a conversation.
func (b tab) talked(address string) {
	b.Helper()
	b.studio(address, "chats.jsonl")
	b.set("set-training-max-steps", "20")
	b.click("start")
	b.stage(Done)
	b.eval(`location.hash = "#try"`)
	b.wait(`document.getElementById("talk-message")`)
}

// say types a message and sends it by Enter.
func (b tab) say(text string) {
	b.Helper()
	b.click("talk-message")
	b.eval(`document.getElementById("talk-message").focus()`)
	for _, key := range text {
		b.press(string(key))
	}
	b.press("Enter")
}

// conversation talks with the result of a run in two turns, before and after side by side, and stops an answer.
func conversation(b tab, address string) {
	b.talked(address)
	b.say("Hi")
	b.wait(`document.getElementById("after-0")?.dataset.finish === "stop"`)
	b.want(`document.getElementById("talk-message").value`, "")
	b.want(`document.querySelector("#before-0 .spoken").textContent + "|" + document.querySelector("#after-0 .spoken").textContent`, "You said “Hi”, message 1|Arr, Hi! 好的1")
	b.wait(`document.getElementById("talk-announcement").textContent === "Before: You said “Hi”, message 1 After: Arr, Hi! 好的1"`)
	b.say("go")
	b.wait(`document.getElementById("after-1")?.dataset.finish === "stop"`)
	b.want(`document.querySelector("#before-1 .spoken").textContent + "|" + document.querySelector("#after-1 .spoken").textContent`, "You said “go”, message 3|Arr, go! 好的3")
	b.say("long")
	b.wait(`document.querySelector("#before-2 .spoken").textContent.length > 20`)
	b.want(`document.getElementById("talk-send").disabled`, "true")
	b.want(`document.querySelector("#talk-log").getAttribute("aria-busy")`, "true")
	b.click("talk-stop")
	b.wait(`document.getElementById("before-2").dataset.finish === "cancelled" && document.getElementById("talk-stop").disabled`)
	b.say("king")
	b.wait(`document.getElementById("talk-problem").textContent.includes("refuses this conversation") && document.getElementById("talk-message").value === "king"`)
	b.want(`document.querySelectorAll(".turn").length`, "3")
	b.eval(`document.getElementById("as-text").click()`)
	b.wait(`document.getElementById("prompt").offsetParent && !document.getElementById("talk-message")?.offsetParent`)
	b.eval(`document.getElementById("as-chat").click()`)
	b.wait(`document.getElementById("talk-message")?.offsetParent && document.getElementById("talk-message").value === "king"`)

	b.open(address + "#try") // nothing is open now: the kept runs are offered
	b.wait(`[...document.querySelectorAll("#try .prompts button")].some((e) => e.textContent.startsWith("chats"))`)
	b.eval(`[...document.querySelectorAll("#try .prompts button")].find((e) => e.textContent.startsWith("chats")).click()`)
	b.wait(`document.getElementById("talk-message")`)
	b.say("Yo")
	b.wait(`document.querySelector("#after-0 .spoken")?.textContent === "Arr, Yo! 好的1"`)
	b.want(clean, "")
}

// studio configures a run.
func studio(b tab, address string) {
	b.open(address + "#studio")
	b.wait(`document.getElementById("start") && document.querySelectorAll("#method-panel input").length > 3`)
	b.want(`document.querySelectorAll("[name=data]").length`, "1") // NOTICE is no data
	b.click("start")
	b.wait(`document.activeElement.id === "data-input"`)
	b.want(`document.getElementById("problem").textContent`, "Choose a data file first.")

	// A folder without a model is refused by the name of the missing file.
	b.choose("model-input", map[string]int{"config.json": 10})
	b.wait(`document.getElementById("model-problem").textContent.includes("*.safetensors")`)
	b.studio(address, "rows.jsonl")
	b.want(`document.getElementById("set-training-learning-rate").value`, "0.001")
	b.wait(`document.querySelectorAll("#preview-rows mark").length === 1`)
	b.want(`document.querySelector("#preview-rows mark").textContent`, " day")
	b.want(`document.querySelectorAll("#plan tbody tr").length`, "5")
	// Remarks on the data are shown in the data panel, other remarks in the plan.
	b.want(`document.getElementById("data-remarks").textContent`, "rows.jsonl: 2 of 50 rows are cut to 256 tokens: 31 tokens are lost, 4.8 %.")
	b.wait(`document.querySelectorAll("#remarks li").length === 1 && document.getElementById("remarks").textContent.includes("ids up to 511")`)
	// A text in another encoding goes to the engine as it is: the engine decodes it.
	b.eval(`(() => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array([0xba, 0xa3, 0xb5, 0xc1])], "海盗.txt")); const input = document.getElementById("data-input");
		input.files = t.files; input.dispatchEvent(new Event("change", { bubbles: true })); })()`)
	b.wait(`document.getElementById("data-chosen").textContent === "海盗.txt · 4 B"`)
	b.choose("data-input", map[string]int{"rows.jsonl": 2500})

	studioData(b)
	// A refused value is marked at its setting. A plan that does not fit offers changes with which it does.
	b.set("set-training-per-device-train-batch-size", "0")
	b.wait(`document.getElementById("plan-fault").textContent.trim() === "Batch size: 0 does not do, it takes 1 to 65536."`)
	b.want(`document.getElementById("set-training-per-device-train-batch-size").getAttribute("aria-invalid")`, "true")
	b.set("set-training-per-device-train-batch-size", "128")
	b.wait(`document.querySelector(".fixes button")`)
	b.want(`document.getElementById("misfit").textContent`, "One buffer (logits) needs 134 MB; the GPU allows 67.1 MB at most.")
	b.eval(`document.querySelector(".fixes button").click()`)
	b.wait(`document.getElementById("set-training-per-device-train-batch-size").value === "8" && document.getElementById("plan").dataset.fits === "true"`)
	// The presets are compared, and one can be used.
	b.click("compare")
	b.wait(`document.querySelectorAll(".ways tbody tr").length === 2 && document.querySelector(".ways tbody").textContent.includes("too much")`)
	b.eval(`document.querySelector("[data-way=lora-all-r16]").click()`)
	b.wait(`document.getElementById("set-peft-r").value === "16"`)
	b.click("compare")
	b.set("set-training-max-steps", "many")
	b.click("start")
	b.wait(`document.getElementById("problem").textContent.includes("many")`)
	b.set("set-training-max-steps", "50")

	studioSettings(b)
	// The limit of GPU memory is typed in gigabytes and remembered.
	b.set("budget", "0.004")
	b.wait(`document.getElementById("plan-text").textContent.includes("of 4 MB")`)
	b.studio(address, "rows.jsonl")
	b.want(`document.getElementById("budget").value`, "0.004")
	b.set("budget", "")
	b.want(clean, "")
}

// studioData shows conversations, a file with columns of its own, and one with a malformed row.
func studioData(b tab) {
	b.choose("data-input", map[string]int{"chats.jsonl": 900})
	b.wait(`document.querySelectorAll("#preview-rows .preview-row").length === 2`)
	b.want(`[...document.querySelectorAll(".preview-row .preview-turn")].map((e) => e.querySelector(".role").textContent).join()`, "system,user,assistant,system,user,assistant")
	b.want(`[...document.querySelectorAll("#preview-rows mark")].map((e) => e.textContent).join("/")`, "Out to sea, and back.\nTwice a day.<|im_end|>/有一座灯塔。<|im_end|>")
	b.want(`document.querySelector("[data-row='1'] [data-role=assistant] .tokens").textContent`, "<|im_start|>assistant\n[trained:Out to sea, and back.\nTwice a day.<|im_end|>]\n")
	b.want(`document.querySelectorAll("#preview-rows mark .special").length`, "2")
	b.want(`document.querySelector("[data-row='2'] .more").textContent`, "… and 40 more tokens")
	b.want(`document.getElementById("template-used").textContent`, "The model's template default puts the turns together (tokenizer_config.json).")
	b.pick("template-choice", "model:rag")
	b.wait(`document.getElementById("template-used").textContent.includes("rag")`)
	b.pick("template-choice", "chatml")
	b.wait(`document.getElementById("template-used").textContent.includes("built-in template chatml")`)

	b.choose("data-input", map[string]int{"odd.csv": 900})
	b.wait(`document.getElementById("data-fault").textContent.includes("no format fits the columns nr, frage, antwort")`)
	b.want(`document.getElementById("preview").hidden + " " + document.getElementById("template").hidden`, "true true")
	b.pick("mapping-format", "prompt_completion")
	b.pick("mapping-prompt", "frage")
	b.wait(`document.getElementById("data-fault").textContent.includes('the key "completion" is missing')`)
	b.pick("mapping-completion", "antwort")
	b.wait(`document.getElementById("data-fault").textContent.trim() === "" && document.querySelector("#preview-rows mark")?.textContent === "Aufs</s>"`)
	b.wait(`document.querySelector("#mapping > .hint").textContent === "Prompt: frage · Answer (completion): antwort"`)
	b.click("mapping-open")
	b.wait(`document.getElementById("mapping-prompt-example").textContent === "Wohin geht die Flut?" && !document.getElementById("mapping-fields").hidden`)

	b.choose("data-input", map[string]int{"broken.jsonl": 900})
	b.wait(`document.getElementById("data-fault").textContent.includes('Line 3 of the data: "text" is null.')`)
	b.click("skip-bad")
	b.wait(`!document.getElementById("bad-rows").hidden && document.querySelector("#bad-rows li").textContent === 'Line 3: "text" is null'`)
	b.click("stop-bad")
	b.wait(`document.getElementById("preview").hidden`)
	b.choose("data-input", map[string]int{"rows.jsonl": 2500})
	b.wait(`document.querySelectorAll("#preview-rows mark").length === 1`)
}

// studioSettings chooses what trains, in several ways.
func studioSettings(b tab) {
	// Without an adapter the model itself trains, and the suggested learning rate changes.
	b.click("method-none")
	b.wait(`document.getElementById("set-training-learning-rate").value === "0.0005"`)
	b.click("more")
	b.wait(`document.getElementById("set-training-seed")`)
	b.set("set-training-seed", "7")
	b.click("json")
	b.wait(`JSON.parse(document.getElementById("config-text").value || "{}").training?.seed === 7`)
	b.want(`JSON.stringify(JSON.parse(document.getElementById("config-text").value).trainable)`, `["all"]`)
	// A run.json that is applied sets the controls.
	b.eval(`document.getElementById("config-text").value = JSON.stringify({ peft: { peft_type: "LORA", r: 3 }, training: { max_steps: 9 } })`)
	b.click("config-apply")
	b.wait(`document.getElementById("set-peft-r")?.value === "3" && document.getElementById("set-training-max-steps").value === "9"`)
	// A recipe of the server shows its purpose and sets what trains.
	b.pick("recipe", "head-only")
	b.wait(`document.getElementById("recipe-why").textContent === "It is cheap."`)
	b.click("recipe-use")
	b.wait(`JSON.stringify(JSON.parse(document.getElementById("config-text").value).trainable) === '["lm_head"]'`)
	b.want(`document.getElementById("set-training-learning-rate").value`, "0.001")
	// Added layers are an entry of trainable. A schedule replaces trainable.
	trains := func(key, want string) {
		b.Helper()
		b.wait(`JSON.stringify(JSON.parse(document.getElementById("config-text").value)["` + key + `"] ?? null) === ` + strconv.Quote(want))
	}
	b.pick("set-added-at", "between")
	b.set("set-added-sizes", "32, 16")
	b.pick("set-added-activation", "gelu")
	trains("trainable", `["lm_head",{"activation":"gelu","add":"fc","at":"between","sizes":[32,16]}]`)
	b.set("set-added-sizes", "wide")
	b.wait(`document.getElementById("set-added-sizes").getAttribute("aria-invalid") === "true"`)
	b.pick("set-unfreeze-way", "head")
	b.set("set-unfreeze-blocks", "1")
	b.set("set-unfreeze-every", "20")
	trains("unfreeze", `[{"step":0,"trainable":["lm_head","norm"]},{"step":20,"trainable":["lm_head","norm","layers:last:1"]}]`)
	trains("trainable", `null`)
	b.pick("set-unfreeze-way", "none")
}

// wholeRun trains, pauses, takes a single step, goes back and stops.
func wholeRun(b tab, address string) {
	b.studio(address, "rows.jsonl")
	b.set("set-training-max-steps", "2000")
	b.click("start")
	b.stage(Training)
	b.eval(`seen.tasks = [], seen.from = performance.now()`)
	b.click("pause")
	b.stage(Paused)
	b.want(`document.getElementById("pause").textContent`, "Resume")
	turns := func(n int) { // waits until the paused run has passed n times where it would have done a step
		b.eval(`seen.turns = 0`)
		b.wait(`seen.turns >= ` + strconv.Itoa(n))
	}
	b.eval(`new BroadcastChannel("paused turns").onmessage = () => seen.turns++, 0`)
	turns(20) // by now the steps that were on their way have arrived
	at := b.eval(`document.getElementById("step").textContent`)
	turns(15)
	b.want(`document.getElementById("step").textContent`, at)
	b.click("single")
	b.wait(`parseInt(document.getElementById("step").textContent) === ` + strings.Fields(at)[0] + ` + 1`)
	b.stage(Paused)
	// The space bar resumes.
	b.eval(`document.body.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }))`)
	b.stage(Training)
	b.wait(`parseInt(document.getElementById("step").textContent) > 60 && !document.getElementById("go-back").closest("[hidden]")`)
	b.click("go-back")
	b.wait(`document.querySelector('#events [data-code="rolled_back"]')`)
	b.click("stop")
	b.stage(Stopped)
	b.wait(`!document.getElementById("to-try").closest("[hidden]")`)
	b.want(`document.querySelectorAll("#events .warning").length`, "3")
	b.want(`document.getElementById("memory").textContent`, "3 MB")
	// Long tasks, of more than 50 ms, must take less than half of the time. A busy machine causes some.
	long := b.eval(`seen.tasks.reduce((sum, [, duration]) => sum + duration, 0)`)
	b.Logf("tasks of more than 50 ms while training: %s", b.eval(`seen.tasks.map(([, duration]) => duration + " ms").join(", ") || "none"`))
	b.want(`seen.tasks.reduce((sum, [, duration]) => sum + duration, 0) < 0.5 * (performance.now() - seen.from) || `+long, "true")
	b.want(clean, "")
}

// TestOffline opens the page and trains after its server has been closed. Where a file of the page cannot be had, the page names
// it.
func TestOffline(t *testing.T) {
	if testing.Short() || runtime.GOOS == "windows" {
		t.Skip("builds the page and starts a browser")
	}
	server := serveSite(t, offers)
	var failing atomic.Pointer[regexp.Regexp] // paths that are answered with 503
	failing.Store(regexp.MustCompile(`^$`))
	whole := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing.Load().MatchString(r.URL.Path) {
			http.Error(w, "the server is about to end", http.StatusServiceUnavailable)
			return
		}
		whole.ServeHTTP(w, r)
	})
	b := openTab(t)
	failing.Store(regexp.MustCompile(`^/downloads\.js$`)) // before anything is stored
	b.open(server.URL)
	b.wait(`document.querySelector("#gate pre").textContent.includes("/downloads.js: the server answers with status 503")`)
	failing.Store(regexp.MustCompile(`^$`))
	b.open(server.URL)
	b.wait(`document.getElementById("ready-pirate")`)
	// The page itself is stored last, when all its files are there.
	b.wait(`navigator.serviceWorker.controller && await (await caches.open("llamatab")).match("/")`)
	failing.Store(regexp.MustCompile(``)) // all
	b.open(server.URL)
	b.wait(`document.getElementById("ready-pirate")`)
	server.Close()
	b.open(server.URL + "/?lang=zh")
	b.wait(`document.getElementById("ready-pirate")`)
	b.want(`document.documentElement.lang`, "zh")
	b.click("ready-pirate")
	b.stage(Done)
	b.want(clean, "")

	// One file after another is lost from the store.
	lost := []string{"/room_seat.js", "/vugu.js", "/page.wasm", "/describe.json", "/gate.js"}
	if servertest.Soak {
		lost = strings.Fields(b.eval(`caches.open("llamatab").then((c) => c.keys()).then((all) => all.map((r) => new URL(r.url).pathname).filter((p) => p !== "/").join(" "))`))
	}
	started := map[string]bool{}
	for _, path := range lost {
		b.eval(`caches.open("llamatab").then(async (c) => { globalThis.before = await c.match("` + path + `"); await (await caches.open("lost")).put("` + path + `", before); await c.delete("` + path + `"); })`)
		b.open(server.URL)
		b.wait(`document.getElementById("ready-pirate") || document.querySelector("#gate pre").textContent.includes("` + path + `: no answer")`)
		started[path] = b.eval(`document.getElementById("gate").hidden`) == "true"
		b.eval(`caches.open("lost").then((c) => c.match("` + path + `")).then(async (r) => (await caches.open("llamatab")).put("` + path + `", r))`)
	}
	t.Logf("without a file, did the page start: %v", started)
	for _, path := range lost[:5] {
		if want := path == "/gate.js"; !servertest.Soak && started[path] != want {
			t.Errorf("without %s, did the page start: %v, want %v", path, started[path], want)
		}
	}
}

// hidden checks that a hidden window goes on training, and that screen readers get at most one announcement in ten seconds.
func hidden(b tab, address string) {
	b.studio(address, "rows.jsonl")
	b.set("set-training-max-steps", "100000")
	b.click("start")
	b.stage(Training)
	step := func() int {
		var n int
		fmt.Sscan(b.eval(`llamatabCharts.points()`), &n)
		return n
	}
	b.eval(`(seen.said = 0, seen.since = performance.now(), new MutationObserver(() => seen.said++).observe(document.getElementById("announcement"), { childList: true, characterData: true, subtree: true }))`)
	if err := b.browser.Hide(b.ctx, true); err != nil {
		b.Fatal(err)
	}
	b.wait(`document.hidden`)
	from := step()
	b.wait(`llamatabCharts.points() > ` + strconv.Itoa(from+200))
	if err := b.browser.Hide(b.ctx, false); err != nil {
		b.Fatal(err)
	}
	b.wait(`!document.hidden && parseInt(document.getElementById("step").textContent) > ` + strconv.Itoa(from+200))
	b.want(`seen.said <= 1 + (performance.now() - seen.since) / 10_000 || seen.said`, "true")
	b.click("stop")
	b.stage(Stopped)
	b.want(clean, "")
}

// resume leaves the page in the middle of a run and resumes the run.
func resume(b tab, address string) {
	b.studio(address, "rows.jsonl")
	b.set("set-training-max-steps", "500")
	b.click("start")
	b.wait(`parseInt(document.getElementById("step").textContent) > 35`)
	b.open("about:blank")
	b.open(address)
	b.wait(`document.querySelector('#runs [data-stage="cut"]')`)
	b.want(`document.querySelector("#runs li").innerText.includes("step")`, "true")
	b.eval(`document.querySelector("#runs .resume:not([hidden])").click()`)
	b.stage(Done)
	b.want(`document.getElementById("step").textContent`, "500 / 500")
	// The record has each step once.
	b.want(`(async () => { const [run] = await llamatabStore.list(); const text = await (await llamatabStore.get("runs/" + run.id + "/metrics.jsonl")).text();
		return text.trim().split("\n").map((l) => JSON.parse(l).step).every((s, i) => s === i + 1) + " " + run.step; })()`, "true 500")
	b.want(`llamatabCharts.points()`, "500")

	// The remove button has to be pressed twice.
	b.eval(`location.hash = "#home"`)
	b.wait(`document.querySelector("#runs .delete")`)
	runs := b.eval(`document.querySelectorAll("#runs li").length`)
	b.eval(`document.querySelector("#runs .delete").click()`)
	b.wait(`document.querySelector("#runs .delete").textContent === "Really remove?"`)
	b.want(`document.querySelectorAll("#runs li").length`, runs)
	b.eval(`document.querySelector("#runs .delete").click()`)
	b.wait(`document.querySelectorAll("#runs li").length < ` + runs)
	b.want(clean, "")
}

func failures(b tab, address string) {
	b.studio(address+"?lang=zh-CN", "fails.jsonl")
	b.want(`document.getElementById("start").textContent`, "开始训练")
	b.wait(`document.getElementById("data-remarks").textContent === "rows.jsonl：50 行中有 2 行截断为 256 个词元：丢失 31 个词元，占 4.8 %。"`)
	b.set("set-training-per-device-train-batch-size", "128")
	b.wait(`document.getElementById("misfit")?.textContent === "单个缓冲区（logits）需要 134 MB，GPU 最多允许 67.1 MB。"`)
	b.want(`document.getElementById("remarks").textContent.startsWith("分词器的编号最大为 511")`, "true")
	b.set("set-training-per-device-train-batch-size", "4")
	b.click("start")
	b.stage(Failed)
	b.want(`document.querySelector("#error strong").textContent`, "GPU 内存不足。")
	b.want(`document.querySelector("#error code").textContent`, "E-MEM")
	b.want(`document.querySelector("#error code").parentElement.nextElementSibling.textContent`, "采用内存计划给出的办法：更小的批、更短的行，或 LoRA。")
	b.want(`document.querySelector("#error pre").textContent.startsWith("the step needs <5.2 GB>, the GPU gives 4.0 GB")`, "true")
	b.click("error-do")
	b.wait(`document.querySelector("main").dataset.screen === "studio"`)
	// A text that vugu passes to the browser in several pieces arrives whole.
	b.choose("data-input", map[string]int{"crashes.txt": 10})
	b.wait(`document.getElementById("data-chosen").textContent.includes("crashes")`)
	b.click("start")
	b.wait(`document.querySelector("#error pre")?.textContent.length > 40000`)
	b.want(`/^panic: 好字+/.test(document.querySelector("#error pre").textContent)`, "true")
	b.want(clean, "")
}

// export downloads every item of a finished run.
func export(b tab, address string) {
	b.open(address)
	b.click("ready-pirate")
	b.stage(Done)
	b.eval(`location.hash = "#export"`)
	for item, name := range map[string]string{"adapter": "llamatab-Talk-like-a-pirate-adapter.zip", "merged": "llamatab-Talk-like-a-pirate-merged.zip",
		"csv": "llamatab-Talk-like-a-pirate-loss.csv", "svg": "llamatab-Talk-like-a-pirate-loss.svg", "png": "llamatab-Talk-like-a-pirate-loss.png"} {
		b.eval(`seen.download = null`)
		b.click("export-" + item)
		b.wait(`seen.download === "` + name + `"`)
		data, err := base64.StdEncoding.DecodeString(b.eval(`seen.blob.arrayBuffer().then((a) => { let s = ""; for (const c of new Uint8Array(a)) s += String.fromCharCode(c); return btoa(s); })`))
		if err != nil {
			b.Fatal(err)
		}
		switch item {
		case "adapter":
			checkZip(b.T, data, "README.md adapter/adapter_config.json adapter/adapter_model.safetensors metrics.jsonl run.json", 60)
		case "merged":
			checkZip(b.T, data, "README.md config.json", 0)
		case "csv":
			if lines := bytes.Count(data, []byte("\n")); lines != 61 || !bytes.HasPrefix(data, []byte("step,loss,eval")) {
				b.Errorf("the table has %d lines: %.60s", lines, data)
			}
		case "svg":
			if !bytes.Contains(data, []byte("<path")) || !bytes.Contains(data, []byte("Held-out loss")) {
				b.Errorf("svg: %.200s", data)
			}
		case "png":
			if !bytes.HasPrefix(data, []byte("\x89PNG")) || len(data) < 5000 {
				b.Errorf("png of %d bytes", len(data))
			}
		}
	}
	b.want(`document.getElementById("export-model")`, "<nil>")
	b.want(`document.getElementById("export-use").textContent.includes("llamatab generate --model builtin:tales --adapter adapter")`, "true")
	b.want(clean, "")
}

func language(b tab, address string) {
	b.open(address)
	b.click("language")
	b.wait(`document.documentElement.lang === "zh" && document.getElementById("home-title").textContent === "教模型一点新东西"`)
	b.want(`/\ufffd/.test(document.body.innerHTML)`, "false")
	b.click("theme")
	b.click("theme")
	b.wait(`document.documentElement.dataset.theme === "dark"`)
	b.open(address) // both are remembered
	b.wait(`document.getElementById("home-title")`)
	b.want(`document.documentElement.lang + document.documentElement.dataset.theme`, "zhdark")
	b.want(`getComputedStyle(document.body).backgroundColor`, "rgb(19, 21, 22)")
	b.eval(`localStorage.clear()`)
}

// link opens links with settings, and links that are broken or from a newer version.
func link(b tab, address string) {
	b.open(address + "#studio?config=" + base64.RawURLEncoding.EncodeToString([]byte(`{"model": "builtin:tales", "dataset": {"path": "builtin:pirate"}, "peft": {"peft_type": "LORA", "r": 5}, "training": {"max_steps": 33}}`)))
	b.wait(`document.getElementById("set-peft-r")?.value === "5"`)
	b.want(`document.getElementById("set-training-max-steps").value`, "33")
	b.wait(`document.getElementById("data-chosen").textContent.startsWith("pirate")`)
	b.want(`location.hash`, "#studio")
	b.click("json")
	b.click("config-share")
	b.wait(`document.getElementById("shared")?.href.includes("#studio?v=1&config=") && document.getElementById("shared").href.length < 2048`)
	b.open(address + "#studio?config=%%%")
	b.wait(`document.getElementById("problem")?.textContent === "This is no run.json: the link is incomplete"`)
	b.open(address + "#studio?v=2&config=e30")
	b.wait(`document.getElementById("problem")?.textContent.includes("newer llamatab")`)

	// A link for a lesson fixes all settings but model and data. It can be made, pasted and unlocked.
	b.open(address + "#studio")
	b.click("json")
	b.click("config-lock")
	b.set("set-training-max-steps", "44")
	b.click("config-share")
	b.wait(`document.getElementById("shared")?.href.includes("&lesson&config=")`)
	paste := func(text string) {
		b.eval(`(() => { const c = new DataTransfer(); c.setData("text", ` + text + `); document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: c, bubbles: true })); })()`)
	}
	link := b.eval(`document.getElementById("shared").href`)
	b.open(address)
	b.wait(`document.getElementById("ready-pirate")`)
	paste(strconv.Quote(link))
	b.wait(`document.getElementById("set-training-max-steps")?.value === "44" && document.getElementById("set-training-max-steps").matches(":disabled")`)
	b.click("lesson-end")
	b.wait(`!document.getElementById("set-training-max-steps").matches(":disabled")`)
	paste(`JSON.stringify({ training: { max_steps: 55 } })`)
	b.wait(`document.getElementById("set-training-max-steps").value === "55"`)
	paste(`'{"text": "One day"}'`)
	b.wait(`document.getElementById("data-chosen").textContent.startsWith("pasted.jsonl")`)
}

// chart shows 50,000 points while more arrive, moves the cursor by keyboard, and logs the frame rate.
func chart(b tab, address string) {
	b.open(address)
	b.click("ready-pirate")
	b.stage(Done)
	b.eval(`(async () => {
		const step = (i) => ({ step: i, loss: i % 9999 ? 2 + Math.sin(i / 500) + Math.random() / 5 : "NaN", eval_loss: i % 500 ? undefined : 2 - i / 1e5, learning_rate: 1e-3,
			grad_norm: 1 + Math.random(), tokens_per_second: 1000, gpu_bytes: 3e6 });
		globalThis.feed = (from, n) => llamatabCharts.add(Array.from({ length: n }, (_, i) => step(from + i)));
		feed(61, 49_940);
		await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);
	})()`)
	b.want(`llamatabCharts.points()`, "50000")
	rate := b.eval(`(async () => {
		const plot = document.querySelector("#chart-loss .plot");
		plot.focus();
		let frames = 0, worst = 0, last = performance.now(), next = last, at = 50_001;
		for (const end = last + 3000; last < end; frames++) {
			plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
			if (last > next) { feed(at, 20); at += 20; next += 100; }
			await new Promise(requestAnimationFrame);
			const now = performance.now();
			worst = Math.max(worst, now - last);
			last = now;
		}
		return (frames / 3).toFixed(0) + " frames a second, the longest " + worst.toFixed(0) + " ms";
	})()`)
	b.Logf("50,000 points, the cursor moving, 200 points a second coming in: %s", rate)
	// The values of all charts at the cursor are announced.
	said := func(attribute string) string {
		return b.eval(`document.querySelector("#chart-loss .plot").getAttribute("` + attribute + `")`)
	}
	b.press("Home")
	if text := said("aria-valuetext"); !strings.HasPrefix(text, "Step 1: Loss 2.") || !strings.Contains(text, "Gradient norm 0") {
		b.Errorf("the first point is read as %q", text)
	}
	b.press("ArrowRight")
	if now := said("aria-valuenow"); now == "1" || now == "null" {
		b.Errorf("the cursor is at %s", now)
	}
	b.eval(`document.activeElement.blur()`)
	b.wait(`document.querySelector("#chart-loss .at").textContent === ""`)
	// A window of the latest steps also limits the table.
	b.eval(`document.querySelector("#charts details").open = true`)
	b.wait(`document.querySelectorAll("#charts tbody tr").length === 40`)
	b.pick("chart-window", "100")
	b.wait(`document.querySelector("#charts tbody td").textContent.replace(/\D/g, "") > 50000`)
	b.pick("chart-window", "0")
	for _, id := range []string{"chart-log", "chart-clip"} {
		b.click(id)
	}
	b.set("chart-smoothing", "0.99")
	b.want(`document.querySelector(".smoothing [type=range]").value`, "0.99")
	b.click("chart-svg")
	b.wait(`seen.download === "llamatab-Talk-like-a-pirate-loss.svg"`)
	b.want(`seen.blob.text().then((svg) => svg.includes("★") && !svg.includes("NaN") && svg.length < 200_000)`, "true")
	b.want(clean, "")
}

// keyboard starts a run, tries its result and downloads it with the keyboard alone. It moves the focus by Tab.
func keyboard(b tab, address string) {
	b.open(address)
	b.wait(`document.getElementById("ready-pirate")`)
	to := func(id string) {
		b.Helper()
		for range 80 {
			b.press("Tab")
			if b.eval(`document.activeElement.id`) == id {
				box := b.eval(`(({ top, bottom, left }) => top >= 0 && bottom < innerHeight + 1 && document.elementFromPoint(left + 4, (top + bottom) / 2)?.closest("#" + document.activeElement.id) !== null)(document.activeElement.getBoundingClientRect())`)
				if outline := b.eval(`getComputedStyle(document.activeElement).outlineStyle`); box != "true" || outline == "none" {
					b.Errorf("%s has the focus: in sight %s, outline %s", id, box, outline)
				}
				return
			}
		}
		b.Fatalf("%s cannot be reached by the keyboard", id)
	}
	to("ready-pirate")
	b.press("Enter")
	b.stage(Training)
	to("pause")
	b.press("Enter")
	b.stage(Paused)
	b.press("Enter")
	b.stage(Done)
	to("chart-cursor")
	b.press("ArrowLeft")
	b.want(`document.activeElement.getAttribute("aria-valuenow")`, "59")
	b.eval(`document.activeElement.blur()`)
	b.wait(`!document.getElementById("to-try").closest("[hidden]")`)
	to("to-try")
	b.press("Enter")
	b.wait(`document.getElementById("prompt")?.value`)
	to("generate")
	b.press("Enter")
	b.wait(`document.getElementById("after").textContent === "Arr, 好!"`)
	b.eval(`document.activeElement.blur()`)
	b.press("g")
	b.press("e")
	b.wait(`document.getElementById("export-adapter")?.disabled === false`)
	to("export-adapter")
	b.press("Enter")
	b.wait(`seen.download === "llamatab-Talk-like-a-pirate-adapter.zip"`)
	// Single-key shortcuts can be turned off.
	b.eval(`document.activeElement.blur()`)
	b.press("?")
	b.wait(`!document.getElementById("keys").hidden`)
	to("keys-on")
	b.press(" ")
	b.eval(`document.activeElement.blur()`)
	b.press("g")
	b.press("h")
	b.press("?")
	b.want(`location.hash + document.getElementById("keys").hidden`, "#exportfalse")
	b.eval(`localStorage.clear()`)
	b.want(clean, "")
}

func gate(b tab, address string) {
	for without, want := range map[string]string{"https": "address", "gpu": "WebGPU", "adapter": "usable GPU"} {
		b.open(address + "?without=" + without)
		b.wait(`!document.getElementById("gate").hidden`)
		if text := b.eval(`document.getElementById("gate").innerText`); !strings.Contains(text, want) {
			b.Errorf("without %s the page says %q", without, text)
		}
		b.want(`document.getElementById("app").hidden`, "true")
		actions := "Try again, Copy the report"
		if without == "https" {
			actions = "Open the secure address, " + actions
		}
		b.want(`[...document.querySelectorAll("#gate :is(a, button)")].filter((e) => e.offsetParent).map((e) => e.textContent).join(", ")`, actions)
	}
	// The page's program panics: the report has its last words.
	b.open(address)
	b.wait(`document.getElementById("ready-pirate")`)
	b.eval(`llamatabPage.drain = null, location.hash = "#studio"`)
	b.wait(`!document.getElementById("gate").hidden`)
	b.want(`/exit code 2\n(.*\n)*panic: .*drain/.test(document.querySelector("#gate pre").textContent) || document.querySelector("#gate pre").textContent`, "true")
}

// checkZip checks the names in a zip, and that its metrics.jsonl has so many steps.
func checkZip(t *testing.T, data []byte, want string, steps int) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range archive.File {
		names = append(names, f.Name)
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(r); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if lines := bytes.Count(content.Bytes(), []byte("\n")); f.Name == "metrics.jsonl" && lines != steps {
			t.Errorf("metrics.jsonl has %d lines", lines)
		}
	}
	for _, name := range strings.Fields(want) {
		found := false
		for _, n := range names {
			found = found || n == name
		}
		if !found {
			t.Errorf("the zip holds %v, not %s", names, name)
		}
	}
}
