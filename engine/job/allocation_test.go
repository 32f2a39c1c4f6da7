package job_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/forecast"
	"llamatab/engine/job"
	"llamatab/engine/model"
	"llamatab/engine/nn"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/train"
	"llamatab/engine/weights"
)

// shapes are models that differ in all sizes that a plan depends on.
var shapes = []string{
	fmt.Sprintf(tinyConfig, false, true),
	fmt.Sprintf(tinyConfig, true, false),
	`{"architectures": ["Qwen2ForCausalLM"], "vocab_size": 300, "hidden_size": 40, "intermediate_size": 96, "num_hidden_layers": 5,
		"num_attention_heads": 5, "num_key_value_heads": 1, "max_position_embeddings": 64, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}`,
}

// rowsFor are rows of the given lengths. The rows of a classifier have one label each.
func rowsFor(way string, lengths ...int) fstest.MapFS {
	if !strings.Contains(way, "score") && !strings.Contains(way, "classifier") {
		return rows(lengths...)
	}
	var all strings.Builder
	for i, n := range lengths {
		ids := make([]int, n)
		for j := range ids {
			ids[j] = 1 + (i+j)%9
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids, "label": i % 2})
		all.Write(append(line, '\n'))
	}
	return lines(all.String())
}

// settings are the ways of training that this version takes: the examples that are compared, every adapter that the
// configuration describes, every entry of trainable, both together, and stages. A new adapter or entry is among them without a
// change here.
func settings(t *testing.T, layers int) map[string][]string {
	t.Helper()
	all := map[string][]string{
		"classifier beside an adapter": {`peft={"peft_type": "LORA", "task_type": "SEQ_CLS"}`},
		"classifier of added layers":   {`trainable=[{"add": "fc", "at": "classify", "sizes": [8], "num_labels": 2}]`},
		"added layers":                 {`trainable=[{"add": "fc", "at": "between", "sizes": [8]}]`},
		"projected prefix":             {`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true}`},
		"quantized base":               {lora, `quantization="int8"`},
		"hybrid":                       {lora, `trainable=["norm", "layers:last:1"]`},
		"unfreeze":                     {`unfreeze=[{"step": 0, "trainable": ["lm_head"]}, {"step": 2, "trainable": ["lm_head", "layers:last:1"]}]`},
	}
	for _, w := range forecast.Ways() {
		all[w.Name] = nil
		for _, c := range w.Settings(layers) {
			all[w.Name] = append(all[w.Name], c.Path+"="+string(c.Value))
		}
	}
	d := config.Describe()
	for _, m := range d.Methods {
		if m.Refused == "" {
			all["peft "+m.Value] = []string{"peft=" + string(m.Defaults)}
		}
	}
	for _, p := range d.Parts {
		quoted, _ := json.Marshal([]string{p.Value})
		if p.Refused == "" && p.Value != "all" { // which is full
			all["trainable "+p.Value] = []string{"trainable=" + string(quoted)}
		}
	}
	maps.DeleteFunc(all, func(_ string, sets []string) bool {
		_, err := config.ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}}`), "", sets)
		return err != nil
	})
	return all
}

// taken are the values of a key that this version accepts.
func taken(path string) (values []string) {
	for _, c := range config.Describe().Choices[path] {
		if c.Refused == "" {
			values = append(values, path+"="+c.Value)
		}
	}
	return values
}

// folder is a model folder of random weights in the type that its config.json names.
func folder(t *testing.T, m plan.Known) fstest.MapFS {
	t.Helper()
	d, err := model.New(m.Config)
	if err != nil {
		t.Fatal(err)
	}
	var specs []weights.Spec
	values := map[string][]float32{}
	for _, p := range d.Params() {
		s := weights.Spec{Name: p.Name, Shape: p.FileShape()}
		if m.DType == "bfloat16" {
			s.DType = tensor.BF16
		}
		x := make([]float32, p.Shape.Size())
		nn.Init{Kind: nn.Normal, Scale: 0.25}.Fill(x, 7, p.Name)
		specs, values[p.Name] = append(specs, s), x
	}
	return fstest.MapFS{"config.json": {Data: m.Config}, "model.safetensors": {Data: safetensors(t, specs, values, nil)}}
}

// The forecast of a run without files is what the run allocates, by kind of memory, and the size of its result: for every
// method, with and without checkpointing, in every precision, on three shapes of models. On the reference device they are equal
// to the byte.
func TestForecastIsAllocation(t *testing.T) {
	all := enginetest.Devices(t)
	adapter := all[len(all)-1].Info()
	gpu := adapter.Backend != "cpu"
	kinds := shapes
	if gpu || testing.Short() {
		kinds = shapes[2:]
	}
	for i, text := range kinds {
		m, err := plan.Describe("tiny", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files := report.Files{Model: folder(t, m)}
		for name, way := range settings(t, m.Layers()) {
			for _, precision := range taken("precision.param_dtype") {
				if strings.HasSuffix(precision, "=float16") && gpu && !adapter.F16 {
					continue // such a run is refused
				}
				ways := taken("training.gradient_checkpointing")
				if m.Layers() > 2 {
					ways = append(ways, checkpointing+"1")
				}
				for _, blocks := range ways {
					if strings.HasSuffix(blocks, "auto") { // one of the others, as long as nothing is to be fitted
						continue
					}
					if gpu && !strings.HasSuffix(blocks, "true") && name != "full" {
						continue
					}
					sets := append([]string{
						"dataset.max_length=9", "training.per_device_train_batch_size=2", steps(1), precision, blocks,
					}, way...)
					what := fmt.Sprintf("shape %d, %s, %s, %s", i, name, precision, blocks)
					files.Dataset = rowsFor(name, 9, 9)
					j := inHalf(newJob(t, files, sets...))
					cfg, err := config.Parse(j.Config, "run.json")
					if err != nil {
						t.Fatal(err)
					}
					imagined, err := forecast.Imagine(m, cfg)
					if err != nil {
						t.Fatal(err)
					}
					f, err := forecast.Plan(cfg, imagined, forecast.Conditions{Limits: device.DefaultLimits})
					if err != nil {
						t.Errorf("%s: %v", what, err)
						continue
					}
					whole := strings.HasSuffix(precision, "float32") && strings.HasSuffix(blocks, "false") || gpu
					var allocated map[string]int64
					if whole {
						h := must(t, j)
						s := h.summary(t)
						allocated = s.Allocated
						if f.Trainable != s.Trainable || f.Total != s.Total {
							t.Errorf("%s: %d of %d parameters forecast to train, %d of %d did", what, f.Trainable, f.Total, s.Trainable, s.Total)
						}
						var n int64
						for name, data := range h.files {
							if strings.HasSuffix(name, ".safetensors") {
								n += int64(len(data))
							}
						}
						if math.Abs(float64(f.Result-n)) > 0.01*float64(n) {
							t.Errorf("%s: a file of %d bytes forecast, %d written", what, f.Result, n)
						}
					} else {
						allocated = built(t, j, cfg)
					}
					for class, n := range f.Bytes {
						a, tolerance := allocated[class], 0.0
						switch {
						case gpu: // one step alone is never in flight with another: 512 bytes are not there
							tolerance = 0.05*float64(a) + 512
						case class == "staging" || class == "total": // the reference device stages nothing
							continue
						}
						if math.Abs(float64(n-a)) > tolerance {
							t.Errorf("%s: %s: %d bytes forecast, %d allocated", what, class, n, a)
						}
					}
				}
			}
		}
	}
}

// built is the memory that a run has allocated before its first step.
func built(t *testing.T, j *job.Job, cfg *config.Config) map[string]int64 {
	t.Helper()
	dev, err := j.Open(device.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	s, err := replay.Prepare(cfg, j.Files, dev.Limits())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Model.Close()
	run, err := train.New(s, cfg, dev, j.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if err := run.Build(); err != nil {
		t.Fatal(err)
	}
	return dev.Usage().Map()
}
