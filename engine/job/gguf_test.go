//go:build !js

package job_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"llamatab/engine/gguf"
	"llamatab/engine/gguf/gguftest"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// trained runs a scenario of testdata/golden on another base model and returns the losses.
func trained(t *testing.T, s *scenario, model fs.FS) []float64 {
	t.Helper()
	in := report.Files{Model: model, Dataset: one(t, s.files, s.at(s.cfg.Dataset.Path))}
	if s.cfg.InitAdapter != nil {
		in.Adapter = sub(t, s.files, s.at(*s.cfg.InitAdapter))
	}
	raw, err := json.Marshal(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost()
	if err := job.Run(context.Background(), &job.Job{Job: message.Job{Command: message.Train, Config: raw}, Files: in, Host: h, Open: exact}); err != nil {
		t.Fatal(err)
	}
	return h.losses()
}

// A GGUF file trains as the safetensors that it was made of: to the same bits in F32, else within what the type rounds away.
func TestTrainingOnGGUF(t *testing.T) {
	files := os.DirFS("../../testdata/golden")
	for _, dir := range []string{"tiny/lora_all", "tiny/full", "tiny/qwen2_lora", "tiny/qwen3_lora", "tiny/mistral_window_lora", "tiny/full_biased"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			s := openScenario(t, files, dir)
			model := sub(t, files, s.at(s.cfg.Model.Path))
			want := trained(t, s, model)
			for kind, tolerance := range map[gguf.TensorType]float64{gguf.F32: 0, gguf.F16: 1e-3, gguf.BF16: 1e-2} {
				got := trained(t, s, fstest.MapFS{"m.gguf": {Data: gguftest.Convert(model, kind, "gpt-2")}})
				if len(got) != len(want) || tolerance == 0 && !slices.Equal(got, want) {
					t.Fatalf("%v: losses %v, want %v", kind, got, want)
				}
				for i := range want {
					if math.Abs(got[i]-want[i]) > tolerance*want[i] {
						t.Errorf("%v: losses %v, want %v", kind, got, want)
						break
					}
				}
			}
		})
	}
}
