package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"llamatab/server/servertest"
)

// TestPageTrains opens the page, chooses a model folder and a text file, trains with LoRA, pauses, resumes, stops early and
// downloads the result. Then llamatab generate reads the downloaded adapter.
func TestPageTrains(t *testing.T) {
	dir := servertest.Shared(t)
	address := serving(t, "--models", filepath.Join(dir, "models"), "--data", filepath.Join(dir, "data"))
	v := visit(t, 3*time.Minute)
	v.open(address + "/#studio")
	v.until("the page", `document.getElementById("method-lora")`)
	if v.ask(`return await navigator.gpu.requestAdapter() !== null`) != "true" {
		t.Fatal("Chromium offers no WebGPU adapter")
	}
	// The files are set on the file inputs, as a choice from disk does.
	v.ask(`
		const put = async (id, files) => {
			const t = new DataTransfer();
			for (const [url, name] of files) {
				const r = await fetch(url);
				if (!r.ok) throw new Error(url + ": " + r.status);
				t.items.add(new File([await r.blob()], name));
			}
			const input = document.getElementById(id);
			input.files = t.files;
			input.dispatchEvent(new Event("change", { bubbles: true }));
		};
		const model = "/api/models/stories260k/";
		await put("model-input", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].map((n) => [model + n, n]));
		await put("data-input", [["/api/data/tinystories_slice.txt", "tinystories_slice.txt"]])`)
	v.press("method-lora")
	v.ask(`const set = (id, v) => { const e = document.getElementById(id); e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
		set("set-training-max-steps", 40); set("set-dataset-max-length", 64); set("set-training-per-device-train-batch-size", 2)`)
	v.until("the plan", `document.getElementById("plan").dataset.fits === "true" && document.querySelector("#preview-rows mark") !== null`)
	v.press("start")
	v.until("three steps", `parseInt(document.getElementById("step").textContent) >= 3`)
	v.press("pause")
	v.until("the end of the step under way", standing+` === "paused" && document.getElementById("status").textContent.startsWith("Paused after")`)
	at := v.text("step")
	time.Sleep(time.Second)
	if now := v.text("step"); now != at {
		t.Errorf("paused at %s, but it went on to %s", at, now)
	}
	v.press("pause")
	v.until("more steps", `parseInt(document.getElementById("step").textContent) > `+regexp.MustCompile(`\d+`).FindString(at)+` + 1`)
	v.press("stop")
	v.stage("stopped")
	if loss := v.text("loss"); !regexp.MustCompile(`\d`).MatchString(loss) {
		t.Errorf("the loss reads %q", loss)
	}
	// The comparison before and after uses the run that the browser keeps.
	v.press("to-try")
	v.until("the prompt", `document.getElementById("prompt")`)
	v.ask(`document.getElementById("prompt").value = "One day"`)
	v.press("generate")
	v.until("both replies", `document.getElementById("after").textContent.length > 20 && !document.getElementById("generate").disabled`)
	if before := v.text("before"); len(before) <= 20 {
		t.Errorf("the model before training says %q", before)
	}
	v.ask(`location.hash = "#export"`)
	packed := v.download("export-adapter")
	for _, want := range []string{"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "metrics.jsonl", "run.json", "summary.json"} {
		if _, err := os.Stat(filepath.Join(packed, filepath.FromSlash(want))); err != nil {
			t.Errorf("the download: %v", err)
		}
	}
	out := servertest.Run(t, "", "generate", "--model", filepath.Join(dir, "models/stories260k"), "--adapter", filepath.Join(packed, "adapter"), "--prompt", "One day", "--max-new-tokens", "5", "--json")
	if !strings.Contains(out, "One day") {
		t.Errorf("generate with the downloaded adapter says %s", out)
	}
}
