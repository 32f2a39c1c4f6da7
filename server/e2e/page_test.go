package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"llamatab/engine/testfiles"
	"llamatab/server/hub/hubtest"
	"llamatab/server/servertest"
)

// hubWithTales starts a hub that has the built-in story model as org/tales and cuts the connection once. Programs of this test use
// an empty cache.
func hubWithTales(t *testing.T, builtin string) *hubtest.Hub {
	t.Helper()
	h := hubtest.New()
	t.Cleanup(h.Close)
	files := map[string][]byte{}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(builtin, "models", "tales", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	h.Add("org/tales", files)
	h.Fail(hubtest.Fault{Storage: true, Cut: 100_000})
	t.Setenv("LLAMATAB_CACHE", t.TempDir())
	t.Setenv("HF_HUB_OFFLINE", "")
	return h
}

// TestPageTrains opens the page, has a model of a hub fetched, chooses a model folder and a text file, trains with LoRA, pauses, resumes, stops early and
// downloads the result. Then llamatab generate reads the downloaded adapter.
func TestPageTrains(t *testing.T) {
	builtin := filepath.Join(testfiles.Repository(t), "testdata/builtin")
	address := serving(t, "--models", filepath.Join(builtin, "models"), "--data", filepath.Join(builtin, "data"), "--hub-endpoint", hubWithTales(t, builtin).URL)
	v := visit(t, 2*servertest.Patience)
	v.open(address + "/#studio")
	v.until("the page", `document.getElementById("method-lora")`)
	if v.ask(`return await navigator.gpu.requestAdapter() !== null`) != "true" {
		t.Fatal("Chromium offers no WebGPU adapter")
	}
	v.until("the field for a model of the hub", `!document.getElementById("hub").hidden`)
	v.ask(`const e = document.getElementById("hub-name"); e.value = "org/tales"; e.dispatchEvent(new Event("input", { bubbles: true }))`)
	v.until("the button", `!document.getElementById("hub-fetch").disabled`)
	v.press("hub-fetch")
	v.until("the model of the hub", `document.getElementById("model-chosen").textContent.startsWith("org/tales@")`)
	// The files are set on the file inputs, as a choice from disk does.
	v.ask(`
		const get = async (url) => {
			const r = await fetch(url);
			if (!r.ok) throw new Error(url + ": " + r.status);
			return r.blob();
		};
		const put = (id, files) => {
			const t = new DataTransfer();
			for (const f of files) t.items.add(f);
			const input = document.getElementById(id);
			input.files = t.files;
			input.dispatchEvent(new Event("change", { bubbles: true }));
		};
		const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
		put("model-input", await Promise.all(names.map(async (n) => new File([await get("/api/models/tales/" + n)], n))));
		const lines = (await (await get("/api/data/pirate.jsonl")).text()).trim().split("\n");
		put("data-input", [new File([lines.map((l) => JSON.parse(l).text).join("\n\n")], "stories.txt")])`)
	v.press("method-lora")
	v.ask(`const set = (id, v) => { const e = document.getElementById(id); e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
		set("set-training-max-steps", 40); set("set-dataset-max-length", 64); set("set-training-per-device-train-batch-size", 2)`)
	v.until("the plan", `document.getElementById("plan").dataset.fits === "true" && document.querySelector("#preview-rows mark") !== null`)
	v.press("start")
	started := time.Now()
	v.until("three steps", `parseInt(document.getElementById("step").textContent) >= 3`)
	threeSteps := time.Since(started)
	v.press("pause")
	v.until("the end of the step under way", standing+` === "paused" && document.getElementById("status").textContent.startsWith("Paused after")`)
	at := v.text("step")
	time.Sleep(threeSteps) // in this time a run that goes on would have done more steps
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
	out := servertest.Run(t, "", "generate", "--model", filepath.Join(builtin, "models/tales"), "--adapter", filepath.Join(packed, "adapter"), "--prompt", "One day", "--max-new-tokens", "5", "--json")
	if !strings.Contains(out, "One day") {
		t.Errorf("generate with the downloaded adapter says %s", out)
	}
	fetchesByItself(v.another(), builtin)
}
