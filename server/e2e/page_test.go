package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"llamatab/engine/testfiles"
	"llamatab/server/hub/hubtest"
	"llamatab/server/servertest"
)

// talesTemplate is a chat template that the tokens of the story model can spell.
const talesTemplate = "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}Answer: {{ m.content }}{{ eos_token }}\n{% else %}Asked: {{ m.content }}\n{% endif %}{% endfor %}" +
	"{% if add_generation_prompt %}Answer: {% endif %}"

// hubWithTales starts a hub that has the built-in story model with a chat template as org/tales, and cuts the connection once.
// Programs of this test use an empty cache.
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
	files["chat_template.jinja"] = []byte(talesTemplate)
	h.Add("org/tales", files)
	h.Fail(hubtest.Fault{Storage: true, Cut: 100_000})
	t.Setenv("LLAMATAB_CACHE", t.TempDir())
	t.Setenv("HF_HUB_OFFLINE", "")
	return h
}

// sharedTales writes a file of conversations as ShareGPT has them: a person asks for a tale, and a pirate tells its beginning.
func sharedTales(t *testing.T, builtin string) (path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(builtin, "data/pirate.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var rows bytes.Buffer
	for line := range bytes.Lines(text[:20_000]) {
		var row struct{ Text string }
		if json.Unmarshal(line, &row) != nil {
			break // where the text is cut off
		}
		beginning := strings.Join(strings.SplitAfterN(row.Text, ".", 3)[:2], "")
		fmt.Fprintf(&rows, "{\"conversations\": [{\"from\": \"human\", \"value\": \"Tell me a tale.\"}, {\"from\": \"gpt\", \"value\": %s}]}\n", mustJSON(t, beginning))
	}
	path = filepath.Join(t.TempDir(), "tales.jsonl")
	if err := os.WriteFile(path, rows.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFirstRun is what a person does first: name a model of a hub, drop a file of conversations, see what is trained, train with LoRA,
// ask the model before and after, save the adapter and talk with it in llamatab chat. The connection to the hub is cut once.
func TestFirstRun(t *testing.T) {
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
	if err := v.browser.Drop(v.ctx, "#data-panel", sharedTales(t, builtin)); err != nil {
		t.Fatal(err)
	}
	v.until("the conversations", `document.querySelector("#preview-rows [data-role=assistant] mark")`)
	for what, want := range map[string]string{
		`document.getElementById("data-chosen").textContent.split(" ")[0]`:                                                                        "tales.jsonl",
		`document.querySelector("[data-row='1'] [data-role=user] .tokens").textContent`:                                                           "<s>Asked: Tell me a tale.\n",
		`[...document.querySelectorAll("[data-row='1'] mark")].map((e) => e.textContent.replace(/^(Yo|Ahoy|Shiver).*\.<\/s>$/, "a tale")).join()`: "a tale",
		`document.querySelector("[data-row='1'] mark .special").textContent`:                                                                      "</s>",
		`document.getElementById("template-used").textContent`:                                                                                    "The model's template default puts the turns together (chat_template.jinja).",
	} {
		if got := v.ask(`return ` + what); got != want {
			t.Errorf("the preview: %s is %q, want %q", what, got, want)
		}
	}
	v.press("method-lora")
	v.ask(`const set = (id, v) => { const e = document.getElementById(id); e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
		set("set-training-max-steps", 12); set("set-dataset-max-length", 64); set("set-training-per-device-train-batch-size", 2)`)
	v.until("the plan", `document.getElementById("plan").dataset.fits === "true" && document.getElementById("set-training-max-steps").value === "12"`)
	v.press("start")
	v.stage("done")
	v.press("to-try")
	v.until("the conversation", `document.getElementById("talk-send") && !document.getElementById("talk-send").disabled`)
	v.ask(`for (const [id, value] of [["talk-temperature", "0"], ["talk-tokens", "8"]]) {
		const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event("input", { bubbles: true })); }`)
	asked := []string{"Tell me a tale.", "And then?"}
	var told []string
	for i, message := range asked {
		v.ask(`document.getElementById("talk-message").value = "` + message + `"`)
		v.press("talk-send")
		finished := func(which string) string {
			return fmt.Sprintf(`document.getElementById("%s-%d")?.dataset.finish`, which, i)
		}
		v.until("both answers", finished("before")+` && `+finished("after"))
		for _, which := range []string{"before", "after"} {
			text := v.ask(fmt.Sprintf(`return document.querySelector("#%s-%d .spoken").textContent`, which, i))
			if text == "" {
				t.Errorf("the model %s training has no answer to %q", which, message)
			}
			if which == "after" {
				told = append(told, text)
			}
		}
	}
	v.ask(`location.hash = "#export"`)
	packed := v.download("export-adapter")
	for _, want := range []string{"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "metrics.jsonl", "run.json", "summary.json"} {
		if _, err := os.Stat(filepath.Join(packed, filepath.FromSlash(want))); err != nil {
			t.Errorf("the download: %v", err)
		}
	}
	out := servertest.Run(t, strings.Join(asked, "\n")+"\n", "chat", "--model", "org/tales", "--adapter", filepath.Join(packed, "adapter"), "--temperature", "0", "--max-new-tokens", "8", "--json", "--adapter-backend", "swiftshader")
	var answers []string
	for line := range strings.Lines(out) {
		var answer said
		if err := json.Unmarshal([]byte(line), &answer); err != nil || answer.Role != "assistant" {
			t.Errorf("llamatab chat with the saved adapter writes %s, %v", line, err)
		}
		answers = append(answers, answer.Content)
	}
	if !slices.Equal(answers, told) {
		t.Errorf("llamatab chat with the saved adapter answers %q, the page answered %q", answers, told)
	}
	out = servertest.Run(t, "", "generate", "--model", filepath.Join(builtin, "models/tales"), "--adapter", filepath.Join(packed, "adapter"), "--prompt", "One day", "--max-new-tokens", "5", "--json")
	if !strings.Contains(out, "One day") {
		t.Errorf("generate with the downloaded adapter says %s", out)
	}
	trainsFromFiles(v)
	fetchesByItself(v.another(), builtin)
}

// trainsFromFiles chooses a model folder and a text file, trains with LoRA, pauses, resumes and stops early.
func trainsFromFiles(v visitor) {
	v.ask(`location.hash = "#studio"`)
	v.until("the studio", `document.getElementById("model-input")`)
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
	v.ask(`const e = document.getElementById("set-training-max-steps"); e.value = 40; e.dispatchEvent(new Event("input", { bubbles: true }))`)
	v.until("the plan", `document.getElementById("plan").dataset.fits === "true" && document.querySelector("#preview-rows mark") !== null && document.getElementById("data-chosen").textContent.startsWith("stories.txt")`)
	v.press("start")
	started := time.Now()
	v.until("three steps", standing+` === "training" && parseInt(document.getElementById("step").textContent) >= 3`)
	threeSteps := time.Since(started)
	v.press("pause")
	v.until("the end of the step under way", standing+` === "paused" && document.getElementById("status").textContent.startsWith("Paused after")`)
	at := v.text("step")
	time.Sleep(threeSteps) // in this time a run that goes on would have done more steps
	if now := v.text("step"); now != at {
		v.Errorf("paused at %s, but it went on to %s", at, now)
	}
	v.press("pause")
	v.until("more steps", `parseInt(document.getElementById("step").textContent) > `+regexp.MustCompile(`\d+`).FindString(at)+` + 1`)
	v.press("stop")
	v.stage("stopped")
	if loss := v.text("loss"); !regexp.MustCompile(`\d`).MatchString(loss) {
		v.Errorf("the loss reads %q", loss)
	}
}
