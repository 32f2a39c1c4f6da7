package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"llamatab/server/servertest"
)

// training is how long TestMemoryIsFlat trains, 0 where the long tests are off. LLAMATAB_SOAK sets another duration, such
// as "15m".
var training time.Duration

func init() {
	if servertest.Soak {
		training = time.Hour
	}
}

// memoryUse is the memory of a run at a moment, in bytes.
type memoryUse struct{ heap, page, renderers, gpu float64 }

// TestMemoryIsFlat trains for an hour in the page. The page's JavaScript objects, the memory of its Go program, and the
// processes of page, worker and GPU must not grow.
func TestMemoryIsFlat(t *testing.T) {
	if d, err := time.ParseDuration(os.Getenv("LLAMATAB_SOAK")); err == nil {
		training = d
	}
	if training == 0 {
		t.Skip("one of the long tests")
	}
	v := visit(t, training+10*time.Minute)
	v.begin(serving(t), `{ model: "builtin:tales", dataset: { path: "builtin:translate", validation_split: 0.02 }, peft: { peft_type: "LORA", r: 2, target_modules: ["q_proj"] },
		training: { max_steps: 1000000, learning_rate: 0.0001, per_device_train_batch_size: 1, save_steps: 500, eval_steps: 1000 } }`)
	v.stage("training")
	began := time.Now()
	const samples = 60
	var all []memoryUse
	for i := range samples {
		time.Sleep(time.Until(began.Add(training * time.Duration(i+1) / samples)))
		w := v.memoryUse()
		all = append(all, w)
		t.Logf("%5.1f min, step %s: objects of the page %.1f MB, its program %.1f MB, renderers %.0f MB, GPU process %.0f MB, on the GPU %s",
			time.Since(began).Minutes(), v.text("step"), w.heap/1e6, w.page/1e6, w.renderers/1e6, w.gpu/1e6, v.text("memory"))
	}
	v.press("stop")
	v.stage("stopped")
	for _, x := range []struct {
		what string
		of   func(memoryUse) float64
	}{
		{"the page's objects", func(w memoryUse) float64 { return w.heap }},
		{"the memory of the page's program", func(w memoryUse) float64 { return w.page }},
		{"the renderers", func(w memoryUse) float64 { return w.renderers }},
		{"the GPU's process", func(w memoryUse) float64 { return w.gpu }},
	} {
		median := func(ws []memoryUse) float64 {
			var xs []float64
			for _, w := range ws {
				xs = append(xs, x.of(w))
			}
			slices.Sort(xs)
			return xs[len(xs)/2]
		}
		// By the second quarter the run has done everything that it repeats: steps, evaluations and checkpoints.
		early, late := median(all[samples/4:samples/2]), median(all[3*samples/4:])
		t.Logf("%s: %.1f MB in the second quarter, %.1f MB in the last", x.what, early/1e6, late/1e6)
		if late > 1.1*early+8e6 {
			t.Errorf("%s grew from %.1f to %.1f MB", x.what, early/1e6, late/1e6)
		}
	}
}

func (v visitor) memoryUse() (w memoryUse) {
	v.Helper()
	var err error
	if w.heap, err = v.browser.Heap(v.ctx); err != nil {
		v.Fatal(err)
	}
	if err := v.browser.Evaluate(v.ctx, `wasm.instance.exports.mem.buffer.byteLength`, &w.page); err != nil {
		v.Fatal(err)
	}
	for kind, into := range map[string]*float64{"renderer": &w.renderers, "gpu-process": &w.gpu} {
		if *into, err = resident(kind); err != nil {
			v.Fatal(err)
		}
	}
	return w
}

// resident is the resident memory of this test's browser processes of a kind.
func resident(kind string) (sum float64, err error) {
	all, err := processes(kind)
	if err != nil {
		return 0, err
	}
	for _, folder := range all {
		status, err := os.ReadFile(filepath.Join(folder, "statm"))
		if err != nil {
			continue // the process has ended
		}
		pages, err := strconv.ParseFloat(strings.Fields(string(status))[1], 64)
		if err != nil {
			return 0, err
		}
		sum += pages * float64(os.Getpagesize())
	}
	if sum == 0 {
		return 0, fmt.Errorf("no process of the kind %s", kind)
	}
	return sum, nil
}

// processes are the folders in /proc of this test's browser processes of a kind.
func processes(kind string) (all []string, err error) {
	parents, commands := map[string]string{}, map[string][]byte{}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(folders) == 0 {
		return nil, fmt.Errorf("no /proc: %w", err)
	}
	for _, folder := range folders {
		status, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err != nil {
			continue // the process has ended
		}
		after := strings.Fields(string(status[bytes.LastIndexByte(status, ')')+1:])) // the name may contain any character
		id := filepath.Base(folder)
		parents[id] = after[1]
		commands[id], _ = os.ReadFile(filepath.Join(folder, "cmdline"))
	}
	mine := func(id string) bool {
		for id != "" && id != "0" && id != strconv.Itoa(os.Getpid()) {
			id = parents[id]
		}
		return id == strconv.Itoa(os.Getpid())
	}
	for id, command := range commands {
		if bytes.Contains(command, []byte("--type="+kind)) && mine(id) {
			all = append(all, filepath.Join("/proc", id))
		}
	}
	return all, nil
}
