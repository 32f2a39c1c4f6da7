package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"llamatab/server/headless"
)

// serving starts the built program and returns the address that it prints.
func serving(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary(t), append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("serve ended with %v after SIGTERM", err)
		}
	})
	lines := bufio.NewScanner(out)
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	for lines.Scan() {
		if a := address.FindString(lines.Text()); a != "" {
			go func() {
				for lines.Scan() {
				}
			}()
			return a
		}
	}
	t.Fatal("serve printed no address")
	return ""
}

// TestPageTrains does what a person does: opens the page, chooses a model folder and a text file, trains with LoRA,
// pauses, goes on, stops early, downloads the result; then llamatab opens the downloaded adapter.
func TestPageTrains(t *testing.T) {
	dir := shared(t)
	address := serving(t, "--models", filepath.Join(dir, "models"), "--data", filepath.Join(dir, "data"))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	b, err := headless.Start(ctx, headless.Options{Chrome: os.Getenv("CHROME"), SwiftShader: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Open(ctx, address+"/#studio"); err != nil {
		t.Fatal(err)
	}
	ask := func(js string) string {
		t.Helper()
		var answer string
		if err := b.Evaluate(ctx, `(async () => String(await (async () => {`+js+`})()))()`, &answer); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
		return answer
	}
	until := func(what, js string) string {
		t.Helper()
		for ctx.Err() == nil {
			if a := ask(js); a != "" && a != "false" && a != "undefined" && a != "null" {
				return a
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("waited in vain for %s; the page says: %s", what, ask(`return document.body.innerText`))
		return ""
	}
	until("the page", `return document.getElementById("method-lora") !== null`)
	if ask(`const a = await navigator.gpu.requestAdapter(); return a !== null`) != "true" {
		t.Fatal("Chromium offers no WebGPU adapter")
	}
	// The files go into the inputs as a choice from disk puts them there.
	ask(`
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
		globalThis.saved = [];
		const make = URL.createObjectURL.bind(URL);
		URL.createObjectURL = (blob) => { if (blob instanceof Blob && !(blob.type || "").includes("javascript")) saved.push(blob); return make(blob); };
		const model = "/api/models/stories260k/";
		await put("model-input", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].map((n) => [model + n, n]));
		await put("data-input", [["/api/data/tinystories_slice.txt", "tinystories_slice.txt"]]);
		return "ok"`)
	ask(`const set = (id, v) => { const e = document.getElementById(id); e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); };
		document.getElementById("method-lora").click();
		set("set-training-max-steps", 40); set("set-dataset-max-length", 64); set("set-training-per-device-train-batch-size", 2); return ""`)
	until("the plan", `return document.getElementById("plan").dataset.fits === "true" && document.querySelector("#preview-rows mark") !== null`)
	ask(`document.getElementById("start").click(); return ""`)
	until("three steps", `const e = document.getElementById("error"); if (!e.hidden) throw new Error(e.innerText);
		return parseInt(document.getElementById("step").textContent) >= 3`)
	ask(`document.getElementById("pause").click(); return ""`)
	until("the end of the step under way", `return document.querySelector("main").dataset.state === "paused" &&
		document.getElementById("status").textContent.startsWith("Paused after")`)
	at := ask(`return document.getElementById("step").textContent`)
	time.Sleep(time.Second)
	if now := ask(`return document.getElementById("step").textContent`); now != at {
		t.Errorf("paused at %s, but it went on to %s", at, now)
	}
	ask(`document.getElementById("pause").click(); return ""`)
	until("more steps", `return parseInt(document.getElementById("step").textContent) > `+regexp.MustCompile(`\d+`).FindString(at)+` + 1`)
	ask(`document.getElementById("stop").click(); return ""`)
	until("the result", `return document.querySelector("main").dataset.state === "stopped"`)
	if loss := ask(`return document.getElementById("loss").textContent`); !regexp.MustCompile(`\d`).MatchString(loss) {
		t.Errorf("the loss reads %q", loss)
	}
	// Before and after, from what is kept in the browser.
	ask(`location.hash = "#try"; return ""`)
	until("the prompt", `const e = document.getElementById("prompt"); if (!e) return false; e.value = "One day"; return true`)
	ask(`document.getElementById("generate").click(); return ""`)
	until("both replies", `return document.getElementById("after").textContent.length > 20 && !document.getElementById("generate").disabled`)
	if ask(`return document.getElementById("before").textContent.length > 20`) != "true" {
		t.Error("the model before training says nothing")
	}
	ask(`location.hash = "#export"; return ""`)
	until("the exports", `return document.getElementById("export-adapter")?.disabled === false`)
	ask(`saved.length = 0; document.getElementById("export-adapter").click(); return ""`)
	packed := until("the download", `if (!saved.length) return "";
		const bytes = new Uint8Array(await saved[saved.length - 1].arrayBuffer());
		let s = ""; for (const x of bytes) s += String.fromCharCode(x); return btoa(s)`)
	data, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	adapter := filepath.Join(t.TempDir(), "adapter")
	for _, f := range archive.File {
		names = append(names, f.Name)
		if _, name, ok := strings.Cut(f.Name, "adapter/"); ok && !strings.Contains(f.Name, "checkpoint") {
			os.MkdirAll(adapter, 0o755)
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			b.ReadFrom(r)
			if err := os.WriteFile(filepath.Join(adapter, name), b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []string{"adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "run.json", "summary.json"} {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, want) }) {
			t.Errorf("the download holds no %s but %v", want, names)
		}
	}
	out := llamatab(t, "", "generate", "--model", filepath.Join(dir, "models/stories260k"), "--adapter", adapter, "--prompt", "One day", "--max-new-tokens", "5", "--json")
	if !strings.Contains(out, "One day") {
		t.Errorf("generate with the downloaded adapter says %s", out)
	}
}
