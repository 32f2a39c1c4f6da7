package job_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/device"
	"llamatab/engine/job"
	"llamatab/engine/model"
	"llamatab/engine/op"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

const (
	float16    = "precision.param_dtype=float16"
	bfloat16   = "precision.param_dtype=bfloat16"
	stochastic = "precision.stochastic_rounding=true"
)

// A run in bfloat16 follows the one in float32, and is not the same.
func TestBF16Losses(t *testing.T) {
	for name, sets := range map[string][]string{
		"full": {full}, "lora": {lora, dropout, "peft.target_modules=all-linear"},
		"biases": {lora, "peft.bias=all", `peft.modules_to_save=["lm_head"]`},
	} {
		t.Run(name, func(t *testing.T) {
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16)}
			float := must(t, newJob(t, files, sets...))
			wide := float.losses()
			modes := [][]string{{bfloat16}}
			if name == "full" {
				modes = append(modes, []string{bfloat16, stochastic})
			}
			for _, mode := range modes {
				h := must(t, newJob(t, files, append(slices.Clone(sets), mode...)...))
				narrow := h.losses()
				near(t, fmt.Sprint(mode, " gradient norms"), norms(h), norms(float), 5e-2)
				near(t, fmt.Sprint(mode), narrow, wide, 2e-2)
				if slices.Equal(narrow, wide) {
					t.Errorf("%v: nothing was rounded", mode)
				}
			}
		})
	}
}

// In bfloat16, checkpointing and a resume change no bits, as in float32.
func TestBF16Equivalences(t *testing.T) {
	for name, sets := range map[string][]string{
		"full": {full}, "lora": {lora, dropout, "peft.target_modules=all-linear"}, "full, without masters": {full, stochastic},
	} {
		t.Run(name, func(t *testing.T) {
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16, 13)}
			sets := append(slices.Clone(sets), bfloat16, steps(6), "training.save_steps=3", "training.per_device_train_batch_size=2",
				"training.gradient_accumulation_steps=2", "precision.buffer_dtype=bfloat16")
			through := must(t, newJob(t, files, sets...))
			again := must(t, newJob(t, files, append(slices.Clone(sets), checkpointing+"1")...))
			files.Resume = through.folder("checkpoint-3")
			resumed := must(t, newJob(t, files, sets...))
			for what, h := range map[string]*host{"a block computed again": again, "resumed": resumed} {
				if got, want := h.losses(), through.losses()[6-len(h.losses()):]; !slices.Equal(got, want) {
					t.Errorf("%s: losses %v, want %v", what, got, want)
				}
				for name, data := range through.files {
					if strings.HasPrefix(name, "checkpoint-6/") && !namesSettings(name) && string(h.files[name]) != string(data) {
						t.Errorf("%s: %s differs", what, name)
					}
				}
			}
		})
	}
}

// roundedLoss is the mean loss of rows of ids, computed by plain loops in float64. Weights and the results of each operation are
// rounded to d, but not sums, norms, softmax and loss.
func roundedLoss(t *testing.T, files fs.FS, ids [][]int, d tensor.DType) float64 {
	t.Helper()
	c, err := weights.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	config, err := fs.ReadFile(files, "config.json")
	if err != nil {
		t.Fatal(err)
	}
	dec, err := model.New(config)
	if err != nil {
		t.Fatal(err)
	}
	round := func(x float64) float64 {
		f := []float32{float32(x)}
		if err := tensor.Round(f, d); err != nil {
			t.Fatal(err)
		}
		return float64(f[0])
	}
	param := func(name string) []float64 {
		at, ok := c.Tensor(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		h, err := c.ReadF32(at)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float64, len(h.Data))
		for i, v := range h.Data {
			x[i] = round(float64(v))
		}
		return x
	}
	linear := func(x, w []float64, out int) []float64 { // of one token
		y := make([]float64, out)
		for o := range y {
			for i, v := range x {
				y[o] += v * w[o*len(x)+i]
			}
		}
		return y
	}
	rounded := func(x []float64) []float64 {
		for i := range x {
			x[i] = round(x[i])
		}
		return x
	}
	norm := func(x, w []float64) []float64 {
		sum, y := 0.0, make([]float64, len(x))
		for _, v := range x {
			sum += v * v
		}
		for i, v := range x {
			y[i] = w[i] * v / math.Sqrt(sum/float64(len(x))+float64(dec.RMSNormEps))
		}
		return rounded(y)
	}
	add := func(x, y []float64) []float64 {
		z := make([]float64, len(x))
		for i := range x {
			z[i] = x[i] + y[i]
		}
		return rounded(z)
	}
	hd, embedding := dec.HeadDim, param("model.embed_tokens.weight")
	total, count := 0.0, 0
	for _, row := range ids {
		angles := op.RopeTable(dec.InvFreq, 1, 0, len(row))
		rotate := func(x []float64, at int) []float64 {
			for h := 0; h < len(x); h += hd {
				for j := range hd / 2 {
					cos, sin := float64(angles[at*hd+2*j]), float64(angles[at*hd+2*j+1])
					a, b := x[h+j], x[h+j+hd/2]
					x[h+j], x[h+j+hd/2] = a*cos-b*sin, b*cos+a*sin
				}
			}
			return rounded(x)
		}
		var xs [][]float64
		for _, id := range row {
			xs = append(xs, embedding[id*dec.Hidden:(id+1)*dec.Hidden])
		}
		for layer := range dec.Layers {
			w := func(name string) []float64 { return param(fmt.Sprintf("model.layers.%d.%s.weight", layer, name)) }
			var keys, values [][]float64
			for n, x := range xs {
				h := norm(x, w("input_layernorm"))
				q := rotate(linear(h, w("self_attn.q_proj"), dec.Heads*hd), n)
				keys = append(keys, rotate(linear(h, w("self_attn.k_proj"), dec.KVHeads*hd), n))
				values = append(values, rounded(linear(h, w("self_attn.v_proj"), dec.KVHeads*hd)))
				o := make([]float64, len(q))
				for head := range dec.Heads {
					kv := head / (dec.Heads / dec.KVHeads) * hd
					var p []float64
					sum := 0.0
					for m := range n + 1 {
						s := 0.0
						for j := range hd {
							s += q[head*hd+j] * keys[m][kv+j]
						}
						p = append(p, math.Exp(s/math.Sqrt(float64(hd))))
						sum += p[m]
					}
					for m := range n + 1 {
						for j := range hd {
							o[head*hd+j] += p[m] / sum * values[m][kv+j]
						}
					}
				}
				x = add(x, rounded(linear(rounded(o), w("self_attn.o_proj"), dec.Hidden)))
				h = norm(x, w("post_attention_layernorm"))
				gate, up := rounded(linear(h, w("mlp.gate_proj"), dec.Intermediate)), rounded(linear(h, w("mlp.up_proj"), dec.Intermediate))
				for i, g := range gate {
					gate[i] = g / (1 + math.Exp(-g)) * up[i]
				}
				xs[n] = add(x, rounded(linear(rounded(gate), w("mlp.down_proj"), dec.Hidden)))
			}
		}
		for n, x := range xs[:len(xs)-1] {
			logits := linear(norm(x, param("model.norm.weight")), embedding, dec.Vocab)
			sum := 0.0
			for _, l := range logits {
				sum += math.Exp(l)
			}
			total += math.Log(sum) - logits[row[n+1]]
			count++
		}
	}
	return total / float64(count)
}

// roundingTolerance is for a loss whose numbers were rounded where the reference's were: sums that differ in their last
// bits round apart now and then, by 2⁻⁸ of one of some thousand numbers. All the rounding together makes 2e-4.
const roundingTolerance = 5e-5

// The loss in bfloat16 is that of plain loops that round in the same places, and differs from that in float32.
func TestBF16Reference(t *testing.T) {
	ids := [][]int{{3, 1, 4, 1, 5, 9, 2, 6}, {5, 3, 5, 8, 9, 7, 9, 3, 2, 3}, {27, 18, 28}, {31, 36, 0, 12, 7}}
	text := ""
	for _, row := range ids {
		text += fmt.Sprintf("{\"input_ids\": %s}\n", strings.ReplaceAll(fmt.Sprint(row), " ", ", "))
	}
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: lines(text)}
	want, wide := roundedLoss(t, files.Model, ids, tensor.BF16), roundedLoss(t, files.Model, ids, tensor.F32)
	for _, sets := range [][]string{{full}, {lora}} {
		got := must(t, newJob(t, files, append(sets, bfloat16, steps(1))...)).losses()[0]
		if math.Abs(got-want) > roundingTolerance {
			t.Errorf("%v: loss %v, want %v", sets, got, want)
		}
		near(t, "float32", must(t, newJob(t, files, append(sets, steps(1))...)).losses(), []float64{wide}, 1e-5)
	}
	if math.Abs(want-wide) < 2*roundingTolerance {
		t.Errorf("loss %v in bfloat16, %v in float32: the test tells nothing apart", want, wide)
	}
}

// inHalf opens devices that have the feature shader-f16.
func inHalf(j *job.Job) *job.Job {
	open := j.Open
	j.Open = func(l device.Limits) (device.Device, error) {
		d, err := open(l)
		return half{d}, err
	}
	return j
}

// A run in float16 follows the one in float32, also where the loss scale is so large at first that steps are lost; and
// it is the same run when blocks are computed again or when it was resumed.
func TestF16(t *testing.T) {
	for name, sets := range map[string][]string{"full": {full}, "lora": {lora, dropout, "peft.target_modules=all-linear"}} {
		t.Run(name, func(t *testing.T) {
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16, 13)}
			sets := append(slices.Clone(sets), steps(6), "training.save_steps=3")
			wide := must(t, newJob(t, files, sets...))
			sets = append(sets, float16)
			through := must(t, inHalf(newJob(t, files, sets...)))
			again := must(t, inHalf(newJob(t, files, append(slices.Clone(sets), checkpointing+"true")...)))
			near(t, "losses", through.losses(), wide.losses(), 5e-3)
			near(t, "gradient norms", norms(through), norms(wide), 2e-2)
			if slices.Equal(through.losses(), wide.losses()) {
				t.Error("nothing was rounded")
			}
			for i, s := range through.steps() {
				if s.LossScale != 1024 {
					t.Errorf("step %d: loss scale %v", s.Step, s.LossScale)
				}
				for k, u := range s.Units {
					near(t, "gradient of "+u.Name, []float64{float64(u.GradNorm)}, []float64{float64(wide.steps()[i].Units[k].GradNorm)}, 2e-2)
				}
			}
			files.Resume = through.folder("checkpoint-3")
			resumed := must(t, inHalf(newJob(t, files, sets...)))
			for what, h := range map[string]*host{"blocks computed again": again, "resumed": resumed} {
				if got, want := h.losses(), through.losses()[6-len(h.losses()):]; !slices.Equal(got, want) {
					t.Errorf("%s: losses %v, want %v", what, got, want)
				}
			}
			// From a scale that no gradient survives: it is halved, and the lost steps are counted and not reported as not finite.
			large := through.folder("checkpoint-3")
			state := map[string]any{}
			if err := json.Unmarshal(large["trainer_state.json"].Data, &state); err != nil {
				t.Fatal(err)
			}
			state["loss_scale"] = map[string]any{"scale": 1 << 22, "steps": 1999, "overflows": 0}
			raw, err := json.Marshal(state)
			if err != nil {
				t.Fatal(err)
			}
			large["trainer_state.json"] = &fstest.MapFile{Data: raw}
			delete(large, "checksums.json") // those of the state before the change
			files.Resume = large
			lost := must(t, inHalf(newJob(t, files, append(slices.Clone(sets), "training.on_nonfinite=stop")...)))
			for i, s := range lost.steps() {
				if want := float64(int(1) << (21 - i)); s.LossScale != want {
					t.Errorf("step %d: loss scale %v, want %v", s.Step, s.LossScale, want)
				}
			}
			if n := len(lost.events("nonfinite_step_skipped")); n != 0 {
				t.Errorf("%d steps are called not finite", n)
			}
		})
	}
	mustFail(t, newJob(t, report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11)}, full, float16), "no_float16", 3, "shader-f16")
}
