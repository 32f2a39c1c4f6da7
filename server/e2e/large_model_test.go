package e2e

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"llamatab/engine/model"
	_ "llamatab/engine/model/llama"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
	"llamatab/server/servertest"
)

// TestLargeModel loads a model of Llama-3.2-1B's sizes with random weights in bfloat16, a file of 2.5 GB, and trains a LoRA
// adapter for one step. The weights pass through the engine in pieces: its wasm memory stays below 512 MB. The renderer
// takes more, as the browser keeps pieces that it has delivered until it collects garbage.
func TestLargeModel(t *testing.T) {
	if !servertest.Soak {
		t.Skip("one of the long tests")
	}
	dir := t.TempDir()
	base := filepath.Join(dir, "model")
	randomModel(t, base, "Llama-3.2-1B")
	rows := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(rows, []byte(`{"input_ids": [5, 9, 100, 128255, 7, 9, 100, 3]}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ended, largest := make(chan struct{}), make(chan [3]float64, 1)
	end := sync.OnceFunc(func() { close(ended) })
	defer end() // where the run fails
	go func() {
		var mapping, renderers, gpu float64
		for {
			select {
			case <-ended:
				largest <- [3]float64{mapping, renderers, gpu}
				return
			case <-time.After(200 * time.Millisecond):
			}
			mapping = max(mapping, largestMapping("renderer"))
			for kind, into := range map[string]*float64{"renderer": &renderers, "gpu-process": &gpu} {
				if n, err := resident(kind); err == nil { // else the browser has not started, or has ended
					*into = max(*into, n)
				}
			}
		}
	}()
	start := time.Now()
	r := servertest.Train(t, map[string]any{
		"model": base, "dataset": map[string]any{"path": rows, "format": "tokens"},
		"peft":      map[string]any{"peft_type": "LORA", "r": 2, "target_modules": []string{"q_proj", "v_proj"}},
		"precision": map[string]any{"param_dtype": "bfloat16"},
		"training":  map[string]any{"max_steps": 1, "per_device_train_batch_size": 1},
	})
	end()
	found := <-largest
	t.Logf("a step in %v, loss %v: wasm memory at most %.0f MB, renderers %.0f MB, GPU process %.0f MB",
		time.Since(start).Round(time.Second), r.Losses, found[0]/1e6, found[1]/1e6, found[2]/1e6)
	if found[0] == 0 || found[0] > 512e6 {
		t.Errorf("the engine's wasm memory took up to %.0f MB, want at most 512 MB", found[0]/1e6)
	}
}

// largestMapping is the resident memory of the largest private mapping without a file in this test's browser processes of a
// kind. Wasm memory is one such mapping and so not larger. It is 0 while there is no such process.
func largestMapping(kind string) (largest float64) {
	folders, err := processes(kind)
	if err != nil {
		return 0
	}
	for _, folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "smaps"))
		if err != nil {
			continue // the process has ended
		}
		private := false
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			switch {
			case len(fields) >= 5 && strings.Contains(fields[0], "-"): // addresses, permissions, offset, device, inode, file
				private = len(fields) == 5 && strings.HasSuffix(fields[1], "p")
			case private && len(fields) == 3 && fields[0] == "Rss:":
				kB, err := strconv.ParseFloat(fields[1], 64)
				if err == nil {
					largest = max(largest, kB*1024)
				}
			}
		}
	}
	return largest
}

// randomModel writes the folder of a known model with random weights in bfloat16. All tensors repeat the same numbers, which
// are near 0.
func randomModel(t *testing.T, dir, name string) {
	t.Helper()
	known, ok := plan.FindModel(name)
	if !ok {
		t.Fatalf("there is no known model %s", name)
	}
	d, err := model.New(known.Config)
	if err != nil {
		t.Fatal(err)
	}
	var specs []weights.Spec
	for _, p := range d.Params() {
		specs = append(specs, weights.Spec{Name: p.Name, DType: tensor.BF16, Shape: p.Shape})
	}
	var config map[string]any
	if err := json.Unmarshal(known.Config, &config); err != nil {
		t.Fatal(err)
	}
	config["torch_dtype"] = known.DType
	raw, err := json.Marshal(config)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	numbers := make([]byte, 2<<20)
	rand.Read(numbers)
	for i := 1; i < len(numbers); i += 2 {
		numbers[i] = numbers[i]&0x80 | 0x3c // the sign, and an exponent of about 2⁻⁷
	}
	writeWeights(t, dir, specs, func(w *weights.Writer, s weights.Spec) error {
		return w.WriteTensor(s.Name, func(out io.Writer) error {
			for left := s.Bytes(); left > 0; {
				n, err := out.Write(numbers[:min(left, int64(len(numbers)))])
				if left -= int64(n); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
