package e2e

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"llamatab/engine/testfiles"
	"llamatab/server/servertest"
)

// throughBrowser are the runs of testdata/golden that the built program repeats in headless Chromium and compares with
// torch. They have every kind of result: a model, an adapter, an adapter with weights of the base or with a head, and one
// that generates. With the build tag soak all runs are repeated. Every method is compared with torch on the reference device
// by engine/job TestReference, and on WebGPU by engine/job TestGoldenTrajectory.
var throughBrowser = []string{"tiny/unfreeze", "tiny/score_lora", "tiny/hybrid_lora", "stories/prefix_masked"}

func TestReference(t *testing.T) {
	const golden = "../../testdata/golden"
	names := throughBrowser
	if servertest.Soak {
		files, err := filepath.Glob(filepath.Join(golden, "*/*/run.json"))
		if err != nil {
			t.Fatal(err)
		}
		names = nil
		for _, f := range files {
			name, err := filepath.Rel(golden, filepath.Dir(f))
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, filepath.ToSlash(name))
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(name, "stories/") {
				testfiles.Shared(t, "models/stories260k")
			}
			dir := filepath.Join(golden, name)
			var want struct {
				Loss     []float64 `json:"loss"`
				GradNorm []float64 `json:"grad_norm_before_clip"`
				Count    float64   `json:"trainable_parameters"`
			}
			data, err := os.ReadFile(filepath.Join(dir, "trajectory.json"))
			if err == nil {
				err = json.Unmarshal(data, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := servertest.Result{Dir: filepath.Join(t.TempDir(), "out")}
			servertest.Run(t, "", "train", "--config", filepath.Join(dir, "run.json"), "--out", r.Dir)
			r.Read(t)
			if len(r.Losses) != len(want.Loss) {
				t.Fatalf("%d steps, want %d", len(r.Losses), len(want.Loss))
			}
			loss, norm := 0.0, 0.0
			for i, w := range want.Loss {
				loss, norm = max(loss, math.Abs(r.Losses[i]-w)), max(norm, math.Abs(r.Norms[i]/want.GradNorm[i]-1))
			}
			t.Logf("losses within %.2g, gradient norms within %.2g relative", loss, norm)
			if !(loss <= 2e-4 && norm <= 1e-3) {
				t.Errorf("losses are off by %v, gradient norms by %v relative", loss, norm)
			}
			if r.Summary["trainable_parameters"] != want.Count {
				t.Errorf("%v parameters train, want %v", r.Summary["trainable_parameters"], want.Count)
			}
			if exists(filepath.Join(dir, "final.safetensors")) {
				compareSaved(t, dir, r.Dir)
			} else if exists(filepath.Join(dir, "greedy.json")) && strings.HasPrefix(name, "stories/") {
				compareGreedy(t, dir)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// compareSaved compares what a run of the tiny model saved: its tensors, and the logits that eval computes with them.
func compareSaved(t *testing.T, golden, dir string) {
	t.Helper()
	format, args := compareTensors(t, golden, dir, 5e-3)
	compareLogits(t, golden, dir, format, args)
}

// compareTensors compares the tensors that a run of the tiny model saved. They may be off by the fraction within of the
// distance that they moved. It returns the format of the run's data, and the options of eval that name what was saved.
func compareTensors(t *testing.T, golden, dir string, within float64) (format string, args []string) {
	t.Helper()
	var run struct {
		Model, Adapter string
		Dataset        struct{ Format string }
		Peft           map[string]any
	}
	data, err := os.ReadFile(filepath.Join(golden, "run.json"))
	if err == nil {
		err = json.Unmarshal(data, &run)
	}
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(golden, run.Model)
	start := servertest.Tensors(t, filepath.Join(base, "model.safetensors"))
	var got map[string][]float32
	args = []string{"--model", filepath.Join(dir, "model")}
	if run.Peft == nil {
		got = servertest.Tensors(t, filepath.Join(dir, "model/model.safetensors"))
	} else {
		maps.Copy(start, servertest.Tensors(t, filepath.Join(golden, "init/adapter_model.safetensors")))
		got = servertest.Tensors(t, filepath.Join(dir, "adapter/adapter_model.safetensors"))
		args = []string{"--model", base, "--adapter", filepath.Join(dir, "adapter")}
	}
	if head := filepath.Join(golden, "head.safetensors"); exists(head) {
		saved := "model"
		if run.Peft != nil {
			saved = "adapter"
		}
		maps.Copy(start, servertest.Tensors(t, head))
		maps.Copy(got, servertest.Tensors(t, filepath.Join(dir, saved, "head.safetensors")))
	}
	want := servertest.Tensors(t, filepath.Join(golden, "final.safetensors"))
	for name := range want {
		for _, beside := range []string{name, strings.ReplaceAll(name, "_proj.", "_proj.base_layer.")} { // a base module that an adapter holds
			for _, prefix := range []string{"base_model.", "base_model.model."} { // the prefixes of prompt learning and of all other methods
				if x, ok := got[prefix+beside]; ok {
					got[name] = x
				}
			}
		}
		if _, ok := got[name]; !ok && run.Peft["prefix_projection"] == true {
			delete(want, name) // the encoder is part of checkpoints only
			continue
		}
		if _, ok := start[name]; !ok { // an untied head, or a base module that an adapter holds
			start[name] = start[strings.NewReplacer("base_model.model.", "", ".base_layer", "", "lm_head", "model.embed_tokens").Replace(name)]
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			delete(got, name) // a frozen tensor
		}
	}
	d := servertest.Distance(t, got, want, start)
	t.Logf("final tensors within %.2g of the distance moved", d)
	if !(d <= within) {
		t.Errorf("final tensors are off by %v of the distance moved", d)
	}
	return run.Dataset.Format, args
}

// compareLogits compares the logits that eval computes, with the model and adapter of args, with those of torch.
func compareLogits(t *testing.T, golden, dir, format string, args []string) {
	t.Helper()
	probe := "probe_classes.jsonl"
	if format != "classification" { // also of a run on conversations
		probe, format = "probe.jsonl", "tokens"
	}
	out := filepath.Join(dir, "probe")
	servertest.Run(t, "", append([]string{"eval", "--dataset", filepath.Join(golden, "../data", probe), "--format", format,
		"--dump-logits", out + ".safetensors", "--out", out + ".json"}, args...)...)
	logits, torch := servertest.Tensors(t, out+".safetensors")["logits"], servertest.Tensors(t, filepath.Join(golden, "logits.safetensors"))["logits"]
	if len(logits) != len(torch) {
		t.Fatalf("%d logits, want %d", len(logits), len(torch))
	}
	worst := 0.0
	for i, w := range torch {
		if w != 0 { // beyond the end of a row
			worst = max(worst, math.Abs(float64(logits[i]-w)))
		}
	}
	t.Logf("logits within %.2g", worst)
	if !(worst <= 5e-4) {
		t.Errorf("logits of what was saved are off by %v", worst)
	}
}

// compareGreedy continues a text with the initial adapter of a run on the stories model. It compares tokens up to the first
// one whose lead over the second likeliest is below the precision of float32.
func compareGreedy(t *testing.T, golden string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(golden, "greedy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Prompt string
		IDs    []int     `json:"output_ids"`
		Margin []float64 `json:"top2_margin"`
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	var got struct {
		IDs []int `json:"output_ids"`
	}
	out := servertest.Run(t, "", "generate", "--model", testfiles.Shared(t, "models/stories260k"), "--adapter", filepath.Join(golden, "init"),
		"--prompt", want.Prompt, "--max-new-tokens", strconv.Itoa(len(want.Margin)), "--json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	sure := len(want.IDs) - len(want.Margin)
	for _, m := range want.Margin {
		if m < 2e-3 {
			break
		}
		sure++
	}
	if len(got.IDs) < sure || !slices.Equal(got.IDs[:sure], want.IDs[:sure]) {
		t.Errorf("continues with %v, want %v", got.IDs, want.IDs)
	}
}
