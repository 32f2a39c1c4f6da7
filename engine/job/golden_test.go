//go:build !js

package job_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/testfiles"
	"llamatab/engine/weights"
)

// goldens is the folder shared, with what torch, transformers and PEFT computed for a tiny model.
func goldens(t *testing.T) fs.FS {
	t.Helper()
	testfiles.Shared(t, "golden")
	return os.DirFS(testfiles.Shared(t, ""))
}

func sub(t *testing.T, fsys fs.FS, dir string) fs.FS {
	t.Helper()
	s, err := fs.Sub(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tensorOf reads one tensor of a file as the numbers it holds.
func tensorOf(t *testing.T, fsys fs.FS, file, name string) []float64 {
	t.Helper()
	c, err := weights.OpenFile(fsys, file)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, ok := c.Tensor(name)
	if !ok {
		t.Fatalf("%s has no %s", file, name)
	}
	var out []float64
	if err := c.ReadChunks(x, 1<<20, func(_ int64, b []byte) error {
		for ; len(b) >= 4; b = b[4:] {
			bits := binary.LittleEndian.Uint32(b)
			if x.DType.IsFloat() {
				out = append(out, float64(math.Float32frombits(bits)))
			} else {
				out = append(out, float64(int32(bits)))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// tokenRows makes a dataset of rows of T ids.
func tokenRows(ids []float64, T int) fstest.MapFS {
	var b strings.Builder
	for len(ids) >= T {
		line, _ := json.Marshal(map[string]any{"input_ids": ids[:T]})
		fmt.Fprintf(&b, "%s\n", line)
		ids = ids[T:]
	}
	return lines(b.String())
}

func exact(device.Limits) (device.Device, error) { return cpu.New(), nil }

func TestGoldenForward(t *testing.T) {
	shared := goldens(t)
	golden := sub(t, shared, "golden")
	const file, T, V = "forward_stories.safetensors", 64, 512
	h := must(t, &job.Job{
		Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "tokens", DumpLogits: "logits.safetensors"}},
		Files: report.Files{
			Model: sub(t, shared, "models/stories260k"), Dataset: tokenRows(tensorOf(t, golden, file, "input_ids")[:T], T),
		},
		Host: newHost(), Open: exact,
	})
	got, want := tensorOf(t, h.folder(""), "logits.safetensors", "logits"), tensorOf(t, golden, file, "logits")[:T*V]
	if len(got) != len(want) {
		t.Fatalf("%d logits, want %d", len(got), len(want))
	}
	worst := 0.0
	for i := range want {
		worst = max(worst, math.Abs(got[i]-want[i]))
	}
	if !(worst <= 1e-4) {
		t.Errorf("logits are off by %.3g", worst)
	}
	// The loss of the row follows from its logits.
	ids, loss := tensorOf(t, golden, file, "input_ids"), 0.0
	for i := range T - 1 {
		z, sum := want[i*V:(i+1)*V], 0.0
		for _, v := range z {
			sum += math.Exp(v)
		}
		loss += (math.Log(sum) - z[int(ids[i+1])]) / (T - 1)
	}
	for _, m := range h.sent {
		if m.Result != nil {
			var r struct{ Loss float64 }
			if err := json.Unmarshal(m.Result, &r); err != nil {
				t.Fatal(err)
			}
			near(t, "loss", []float64{r.Loss}, []float64{loss}, 2e-5)
		}
	}
}

// The first steps of two runs against those of torch.
func TestGoldenTrajectories(t *testing.T) {
	shared := goldens(t)
	golden := sub(t, shared, "golden")
	const most = 3
	data := tokenRows(tensorOf(t, golden, "train_batches.safetensors", "input_ids")[:most*4*64], 64)
	for _, run := range []string{"full_finetune", "lora_qv_r8"} {
		t.Run(run, func(t *testing.T) {
			raw, err := fs.ReadFile(golden, run+"/trajectory.json")
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				Loss []float64 `json:"loss"`
				Norm []float64 `json:"grad_norm_before_clip"`
			}
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			files := report.Files{Model: sub(t, shared, "models/stories260k"), Dataset: data}
			sets := []string{full}
			if run == "lora_qv_r8" {
				files.Adapter = sub(t, golden, run+"/adapter_init")
				sets = []string{`peft={"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}`}
			}
			j := newJob(t, files, append(sets, steps(most), "dataset.shuffle=false", "training.learning_rate=1e-3",
				"training.lr_scheduler_type=constant", "training.weight_decay=0.01", "training.max_grad_norm=1")...)
			j.Open = exact
			h := must(t, j)
			near(t, "losses", h.losses(), want.Loss[:most], 2e-4/4) // of losses of about 4
			near(t, "gradient norms", norms(h), want.Norm[:most], 1e-3)
		})
	}
}
