package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"llamatab/server/servertest"
)

// TestPageLosesGPUAndStorage kills the GPU's process while the page trains, and fills the browser's storage. After the
// first the run resumes from its last checkpoint by itself and ends with the bits of an undisturbed run. With full storage
// it continues without saving, says how many bytes it needs, keeps what was saved before, and its result can be downloaded.
func TestPageLosesGPUAndStorage(t *testing.T) {
	address := serving(t, tinyModel(t)...)
	v := visit(t, 2*servertest.Patience)
	v.begin(address, `{ model: "tiny", dataset: { path: "builtin:translate", max_length: 48, validation_split: 0.02 }, peft: { peft_type: "LORA", r: 64, lora_dropout: 0.1 },
		training: { max_steps: 40, learning_rate: 0.003, per_device_train_batch_size: 2, save_steps: 5, eval_steps: 20 } }`)
	v.stage("done")
	want, resolved := v.ask(result), v.ask(sameKernels)

	v.begin(address, resolved)
	v.until("some steps", `parseInt(document.getElementById("step").textContent) >= 8`)
	if err := v.browser.CrashGPU(v.ctx); err != nil {
		t.Fatal(err)
	}
	v.until("the recovery", `document.querySelector('#events [data-code="device_recovered"]')`)
	v.stage("done")
	if got := v.ask(result); got != want {
		t.Errorf("after the loss of its device the run gives\n%.600s\nnot\n%.600s", got, want)
	}

	used := v.ask(`return (await navigator.storage.estimate()).usage`)
	var quota float64
	if err := v.browser.Evaluate(v.ctx, used+` + 60_000`, &quota); err != nil {
		t.Fatal(err)
	}
	if err := v.browser.Quota(v.ctx, address, quota); err != nil {
		t.Fatal(err)
	}
	v.begin(address, resolved)
	v.stage("done")
	warning := v.ask(`return document.querySelector('#events [data-code="storage_full"]')?.textContent ?? ""`)
	if !regexp.MustCompile(`no room for [\d.,]+ [kM]?B`).MatchString(warning) {
		t.Errorf("the page says of the missing room: %q; its events: %s", warning, v.ask(`return document.getElementById("events").innerText`))
	}
	// Earlier runs are intact: the run before this one is the newest with a result.
	if got := v.ask(`const list = llamatabStore.list; const all = await list(); llamatabStore.list = async () => all.slice(1);
		try { ` + result + ` } finally { llamatabStore.list = list; }`); got != want {
		t.Errorf("the run that was saved before reads\n%.600s\nnot\n%.600s", got, want)
	}
	v.ask(`location.hash = "#export"`)
	adapter := filepath.Join(v.download("export-adapter"), "adapter", "adapter_model.safetensors")
	if info, err := os.Stat(adapter); err != nil || info.Size() < 1000 {
		t.Errorf("the result that found no room: %v, %v", info, err)
	}
}
