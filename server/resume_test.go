package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"llamatab/server/headless"
)

// kills is how often the tab is killed in TestPageResumes; the long tests do it more often.
var kills = 2

// TestPageResumes kills the tab at random moments of a run, again and again. Each time the page offers to resume, and
// the result in the end has the bits of a run that was never killed.
func TestPageResumes(t *testing.T) {
	dir := shared(t)
	address := serving(t, "--models", filepath.Join(dir, "models"), "--data", filepath.Join(dir, "data"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(2+kills)*time.Minute)
	defer cancel()
	b, err := headless.Start(ctx, headless.Options{Chrome: os.Getenv("CHROME"), SwiftShader: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	open := func(url string) {
		t.Helper()
		if err := b.Open(ctx, url); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(js string) (answer string) {
		t.Helper()
		if err := b.Evaluate(ctx, `(async () => String(await (async () => {`+js+`})()))()`, &answer); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
		return answer
	}
	until := func(what, expression string) {
		t.Helper()
		for ask(`return !!(`+expression+`)`) != "true" {
			if ctx.Err() != nil {
				t.Fatalf("waited in vain for %s; the page says: %s", what, ask(`return document.body.innerText`))
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	var (
		stage  = `document.querySelector("main")?.dataset.state`
		config = `{ model: "stories260k", dataset: { path: "tinystories_slice.txt", max_length: 48, validation_split: 0.02 },
			peft: { peft_type: "LORA", r: 4, lora_dropout: 0.1 }, training: { max_steps: ` + fmt.Sprint(8*kills) + `, learning_rate: 0.003, per_device_train_batch_size: 2, save_steps: 4, eval_steps: 10 } }`
		result = `const [run] = await llamatabStore.list();
			const bytes = new Uint8Array(await (await llamatabStore.get("runs/" + run.id + "/adapter/adapter_model.safetensors")).arrayBuffer());
			const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
			const metrics = (await (await llamatabStore.get("runs/" + run.id + "/metrics.jsonl")).text()).trim().split("\n").map((l) => JSON.parse(l));
			return JSON.stringify([Array.from(hash), metrics.map((m) => [m.step, m.loss, m.grad_norm, m.eval_loss])])`
	)
	begin := func(config string) {
		open("about:blank")
		open(address + "/#studio")
		until("the studio", `document.getElementById("method-lora")`)
		ask(`document.getElementById("json").click()`)
		until("run.json", `document.getElementById("config-text").value`)
		ask(`document.getElementById("config-text").value = JSON.stringify(` + config + `); document.getElementById("config-apply").click()`)
		until("the plan", `document.getElementById("plan").dataset.fits === "true"`)
		ask(`document.getElementById("start").click()`)
	}
	begin(config)
	until("the end", stage+` === "done"`)
	want := ask(result)
	// The same kernels, so that the same bits can be asked for.
	resolved := ask(`const [run] = await llamatabStore.list(); return JSON.stringify(await llamatabStore.json("runs/" + run.id + "/run.json"))`)

	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	begin(resolved)
	var stops []string
	for range kills {
		until("training", stage+` === "training"`)
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		if ask(`return `+stage) != "training" {
			break // it was faster
		}
		stops = append(stops, ask(`return document.getElementById("step").textContent`))
		open("about:blank") // page and worker are gone at once
		open(address)
		until("the offer to resume", `document.querySelector("#runs li [data-stage=cut]")`)
		ask(`document.querySelector("#runs .resume:not([hidden])").click()`)
	}
	until("the end", stage+` === "done"`)
	t.Logf("seed %d, killed at %v", seed, stops)
	if got := ask(result); got != want {
		t.Errorf("seed %d: killed at %v, the run gives\n%s\nnot\n%s", seed, stops, fmt.Sprintf("%.600s", got), fmt.Sprintf("%.600s", want))
	}
	if len(stops) == 0 {
		t.Error("the run was over before it was killed")
	}
}
