package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"llamatab/engine/message"
	"llamatab/server/servertest"
)

// readySteps is the number of steps to which TestReadyRuns shortens the ready runs, 0 for their own. The run "mood" learns in
// three fifths of its steps. The long tests leave all runs as they are.
var readySteps = 30

func init() {
	if servertest.Soak {
		readySteps = 0
	}
}

// TestReadyRuns opens the page, presses the button of each ready run, waits for its end, compares texts before and after,
// downloads the adapter and uses it from the command line. It asserts what happens and in which order. Times are only
// logged, because the machine may be busy.
func TestReadyRuns(t *testing.T) {
	for _, run := range []struct {
		name  string
		long  bool // runs with the long tests only
		tries func(v visitor)
		says  func(t *testing.T, adapter string)
	}{
		{"pirate", true, func(v visitor) {
			before, after := v.compare()
			if n := pirate(before); n > 0 {
				v.Errorf("before training the model knows %d words of pirates: %q", n, before)
			}
			if n := pirate(after); n < 3 {
				v.Errorf("after training it uses %d words of pirates: %q", n, after)
			}
		}, func(t *testing.T, adapter string) {
			out := servertest.Run(t, "", "generate", "--model", "builtin:tales", "--adapter", adapter, "--prompt", "It was a windy day and", "--max-new-tokens", "60")
			if pirate(out) < 3 {
				t.Errorf("generate with the adapter says %q", out)
			}
		}},
		{"translate", true, func(v visitor) {
			if before, after := v.compare(); strings.Contains(before, "金色的狐狸") || !strings.Contains(after, "金色的狐狸") {
				v.Errorf("before %q, after %q", before, after)
			}
		}, func(t *testing.T, adapter string) {
			out := servertest.Run(t, "", "generate", "--model", "builtin:tales", "--adapter", adapter, "--prompt", "Translate to Chinese: the blue boat\nAnswer:", "--max-new-tokens", "20")
			if !strings.Contains(out, "蓝色的船") {
				t.Errorf("generate with the adapter says %q", out)
			}
		}},
		{"mood", false, visitor.tryMoods, func(t *testing.T, adapter string) {
			var said message.Classification
			out := servertest.Run(t, "", "generate", "--model", "builtin:tales", "--adapter", adapter, "--json", "--prompt", "Two red eyes looked at Zoe from the dark. She was so afraid that she ran. Something ran after her!")
			if err := json.Unmarshal([]byte(out), &said); err != nil || said.Label != "scary" || len(said.Scores) != 3 {
				t.Errorf("generate with the adapter says %s", out)
			}
		}},
	} {
		t.Run(run.name, func(t *testing.T) {
			if run.long && !servertest.Soak {
				t.Skip("one of the long tests")
			}
			v := visit(t, 3*servertest.Patience)
			began := time.Now()
			v.open(serving(t))
			v.until("the button", `document.getElementById("ready-`+run.name+`")`)
			t.Logf("the page can be used %.2f s after it was opened", time.Since(began).Seconds())
			if readySteps > 0 {
				v.ask(fmt.Sprintf(shorten, readySteps))
			}
			v.ask(watching)
			v.press("ready-" + run.name)
			v.until("the first loss", `seen.has("loss")`)
			v.until("the measure of the untrained model", `seen.has("before")`)
			v.stage("done")
			if steps := v.ask(`return llamatabCharts.points()`); readySteps > 0 && steps != fmt.Sprint(readySteps) {
				t.Errorf("the run of %d steps has %s points in its chart", readySteps, steps)
			}
			times := v.ask(`const at = (what) => (((seen.get(what) ?? performance.now()) - seen.get("click")) / 1000).toFixed(1);
				return ["loss", "before"].map((what) => what + " " + at(what)).join(", ") + ", end " + at("end") + "; phases: " + phases.map(([text, at]) => ((at - seen.get("click")) / 1000).toFixed(1) + " " + text).join(", ")`)
			t.Logf("seconds after the click: %s", times)
			t.Logf("tasks of more than 50 ms: %s", v.ask(`return tasks.map((e) => e.duration.toFixed(0) + " ms at " + ((e.startTime - seen.get("click")) / 1000).toFixed(1) + " s").join(", ") || "none"`))
			if v.ask(`return seen.get("loss") < seen.get("before")`) != "true" {
				t.Error("the first loss had to wait for the untrained model's")
			}
			before, after := v.number("eval-before"), v.number("eval")
			if !(after < 0.7*before) {
				t.Errorf("the held-out loss went from %v to %v", before, after)
			}
			v.press("to-try")
			v.until("a prompt", `document.getElementById("prompt")?.value`)
			run.tries(v)
			v.ask(`location.hash = "#export"`)
			run.says(t, filepath.Join(v.download("export-adapter"), "adapter"))
		})
	}
}

// tryMoods classifies the three prompts of the ready run "mood" with the models before and after training.
func (v visitor) tryMoods() {
	v.Helper()
	sure := 0
	for i, want := range []string{"happy", "sad", "scary"} {
		v.ask(fmt.Sprintf(`document.querySelectorAll(".prompts button")[%d].click()`, i))
		v.press("generate")
		v.until("the work on both", `document.getElementById("generate").disabled`)
		v.until("both labels", `document.getElementById("before-scores").dataset.n === "3" && document.querySelector("#after-scores [data-label=`+want+`]") && !document.getElementById("generate").disabled`)
		first := func(side string) (label string, share int) {
			label = v.ask(`return document.querySelector("#` + side + `-scores li").dataset.label`)
			share, _ = strconv.Atoi(digits.FindString(v.ask(`return document.querySelector("#` + side + `-scores li").textContent`)))
			return label, share
		}
		guess, share := first("before")
		if share >= 80 {
			v.Errorf("before training the model is sure: %s, %d %%", guess, share)
		}
		if label, share := first("after"); label != want || share < 80 {
			v.Errorf("after training the %s text is %s, %d %%", want, label, share)
		}
		if guess == want {
			sure++
		}
	}
	if sure == 3 {
		v.Error("before training the model knows all moods")
	}
	if before, after := v.number("accuracy-before"), v.number("accuracy"); before > 70 || after < 90 {
		v.Errorf("held-out accuracy %v %%, before %v %%", after, before)
	}
}

// shorten is a script that offers the page's ready runs again, with fewer steps.
const shorten = `const { tell } = await import("/inbox.js");
	const [models, data, ready, recipes] = await Promise.all(["models", "data", "runs", "recipes"].map(async (what) => (await fetch("/api/" + what)).json()));
	for (const run of ready) run.config.training.max_steps = %d;
	tell("offers", { models, data, ready, recipes })`

// watching is a script that records when elements appear first, and the phases of the status line.
const watching = `globalThis.seen = new Map();
	globalThis.phases = [];
	globalThis.tasks = []; // tasks that kept the page's thread for more than 50 ms
	new PerformanceObserver((list) => { if (seen.has("click") && !seen.has("end")) tasks.push(...list.getEntries()); }).observe({ type: "longtask" });
	const now = (what) => { if (!seen.has(what)) seen.set(what, performance.now()); };
	document.addEventListener("click", () => now("click"), { capture: true, once: true });
	setInterval(() => {
		const text = document.getElementById("status")?.textContent.split(/[·.…(:]/)[0].trim() ?? "";
		if (seen.has("click") && text !== phases.at(-1)?.[0]) phases.push([text, performance.now()]);
		if (llamatabCharts.points() > 0) now("loss");
		if (document.getElementById("eval-before")?.textContent) now("before");
		if (document.querySelector("main")?.dataset.state === "done") now("end");
	}, 10)`

var digits = regexp.MustCompile(`\d+(\.\d+)?`)

// number is the number in the text of the element with the id.
func (v visitor) number(id string) float64 {
	v.Helper()
	x, err := strconv.ParseFloat(digits.FindString(v.text(id)), 64)
	if err != nil {
		v.Errorf("%s says %q", id, v.text(id))
	}
	return x
}

// compare lets the models before and after training continue the prompt.
func (v visitor) compare() (before, after string) {
	v.Helper()
	v.press("generate")
	v.until("both replies", `document.getElementById("before").textContent && document.getElementById("after").textContent && !document.getElementById("generate").disabled`)
	return v.text("before"), v.text("after")
}

// pirate counts the words of a text that occur in pirate speech only.
func pirate(text string) int {
	return len(regexp.MustCompile(`(?i)\b(?:th'|an'|t'|o'|(?:ye|arr|ahoy|yo-ho-ho|matey|shiver me timbers|lad|lass|growled)\b)`).FindAllString(text, -1))
}

// TestColdStart opens the page for the first time and a second time. The page paints before its program has loaded. The
// time until its buttons work is logged.
func TestColdStart(t *testing.T) {
	address := serving(t)
	v := visit(t, servertest.Patience)
	for _, visit := range []string{"first", "second"} {
		v.open("about:blank")
		v.open(address)
		var times struct {
			Painted, Program, Usable float64
			Fetched                  int // how often the program was fetched
		}
		if err := v.browser.Evaluate(v.ctx, `(async () => {
			while (!document.getElementById("ready-pirate")) await new Promise((done) => setTimeout(done, 5));
			const usable = performance.now();
			const program = performance.getEntriesByName(location.origin + "/page.wasm");
			return { fetched: program.length, painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? usable,
				program: program[0]?.responseEnd ?? usable, usable };
		})()`, &times); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s visit: painted after %.0f ms, the program was there after %.0f ms, a button after %.0f ms", visit, times.Painted, times.Program, times.Usable)
		if times.Painted >= times.Usable {
			t.Errorf("%s visit: nothing was painted before the program ran", visit)
		}
		if times.Fetched != 1 {
			t.Errorf("%s visit: the program was fetched %d times", visit, times.Fetched)
		}
	}
}
