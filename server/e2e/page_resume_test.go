package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"llamatab/server/servertest"
)

// kills is how often the tab is killed in TestPageResumes. The long tests kill it more often.
var kills = 3

func init() {
	if servertest.Soak {
		kills = 20
	}
}

// TestPageResumes kills the tab's process several times in one run: in its first seconds, while a checkpoint is being
// written, and at other moments. Each time a new tab offers to resume the run. Once a bit of the newest checkpoint changes
// before: the page says that it is damaged, and goes on from an earlier state. The result has the bits of an uninterrupted run.
func TestPageResumes(t *testing.T) {
	address := serving(t, tinyModel(t)...)
	first := visit(t, time.Duration(2+kills)*servertest.Patience/2) // this tab keeps the browser alive
	config := `{ model: "tiny", dataset: { path: "builtin:pirate", max_length: 48, validation_split: 0.02 },
		peft: { peft_type: "LORA", r: 4, lora_dropout: 0.1 },
		training: { max_steps: ` + fmt.Sprint(40*kills) + `, learning_rate: 0.003, per_device_train_batch_size: 2, save_steps: 10, eval_steps: 40 } }`
	const newest = `return (await llamatabStore.list())[0]?.id ?? ""`

	v := first.another()
	v.begin(address, config)
	v.stage("done")
	want, id := v.ask(result), v.ask(newest)
	resolved := v.ask(sameKernels)

	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	killed, damaged := 0, false
	v = first.another()
	v.begin(address, resolved, watchSaving)
	for range kills {
		var when string
		switch killed % 3 {
		case 0:
			when = "early"
		case 1:
			when = "saving"
			v.until("a checkpoint", `(globalThis.saving || `+standing+` === "done")`)
		default:
			when = "training"
			v.until("a run that trains", standing+` === "training" || `+standing+` === "done"`)
		}
		time.Sleep(time.Duration(r.IntN(map[string]int{"early": 3000, "saving": 200, "training": 1500}[when])) * time.Millisecond)
		if v.ask(`return `+standing) == "done" {
			break // the run has ended first
		}
		at := v.text("step")
		if err := v.browser.Crash(v.ctx); err != nil {
			t.Fatal(err)
		}
		killed++
		v.browser.Close()
		v = first.another()
		v.open(address)
		v.until("the page", `document.getElementById("runs")`)
		if now := v.ask(newest); now == id { // the tab died before the run wrote to disk
			t.Logf("killed %s at %q: nothing was there yet", when, at)
			v.begin(address, resolved, watchSaving)
		} else {
			v.until("the offer to resume", `document.querySelector("#runs li [data-stage=cut]")`)
			run := strings.Join(strings.Fields(v.ask(`return document.querySelector("#runs li").innerText`)), " ")
			t.Logf("killed %s at %q: %s", when, at, run)
			v.ask(watchSaving)
			rotten := ""
			if !damaged {
				rotten = v.ask(rotNewest)
			}
			v.ask(`document.querySelector("#runs .resume:not([hidden])").click()`)
			v.until("the run", standing+` !== "idle"`)
			if rotten != "" {
				damaged = true
				v.until("the word that the checkpoint is damaged", standing+` === "failed"`)
				if said := v.text("error"); !strings.Contains(said, "E-CHECKPOINT") {
					t.Errorf("%s is damaged, and the page says %q", rotten, said)
				}
				v.ask(`document.getElementById("error-do").click()`)
				v.until("the run from an earlier state", standing+` !== "failed"`)
			}
		}
	}
	v.stage("done")
	t.Logf("seed %d, killed %d times, a checkpoint damaged: %v", seed, killed, damaged)
	if servertest.Soak && !damaged {
		t.Error("there was no checkpoint to damage")
	}
	if got := v.ask(result); got != want {
		t.Errorf("seed %d: the run that was killed gives\n%s\nnot\n%s", seed, fmt.Sprintf("%.600s", got), fmt.Sprintf("%.600s", want))
	}
	if killed == 0 {
		t.Error("the run was over before it was killed")
	}
}

// result is a script that returns the hash of the newest run's adapter and its metrics of each step.
const result = `const [run] = await llamatabStore.list();
	const bytes = new Uint8Array(await (await llamatabStore.get("runs/" + run.id + "/adapter/adapter_model.safetensors")).arrayBuffer());
	const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
	const metrics = (await (await llamatabStore.get("runs/" + run.id + "/metrics.jsonl")).text()).trim().split("\n").map((l) => JSON.parse(l));
	return JSON.stringify([Array.from(hash), metrics.map((m) => [m.step, m.loss, m.grad_norm, m.eval_loss])])`

// sameKernels is a script that returns the run.json of the newest run with the kernels that it chose, which makes another
// run compute the same bits.
const sameKernels = `const [run] = await llamatabStore.list(); return JSON.stringify(await llamatabStore.json("runs/" + run.id + "/run.json"))`

// rotNewest is a script that changes a bit of the newest run's newest checkpoint and returns the checkpoint's step, "" where
// there is none.
const rotNewest = `const [run] = await llamatabStore.list();
	if (!run.checkpoint) return "";
	const path = "runs/" + run.id + "/checkpoint-" + run.checkpoint + "/optimizer.safetensors";
	const bytes = new Uint8Array(await (await llamatabStore.get(path)).arrayBuffer());
	bytes[bytes.length >> 1] ^= 16;
	await llamatabStore.put(path, bytes);
	return String(run.checkpoint);`

// watchSaving is a script that sets the variable saving when an engine reports that it writes a checkpoint.
const watchSaving = `const start = llamatab.startWorker;
	llamatab.startWorker = () => {
		const worker = start();
		worker.addEventListener("message", ({ data }) => { if (data.json?.includes('"phase":"save"')) globalThis.saving = true; });
		return worker;
	}`
