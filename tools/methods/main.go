// Command methods trains one model on one text by every fine-tuning method, with the same steps on the same rows, and prints
// the losses as a Markdown table. It runs the built program.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/forecast"
	"llamatab/engine/message"
	"llamatab/engine/plan"
)

var (
	program = flag.String("program", "bin/llamatab", "the built `FILE`")
	model   = flag.String("model", "", "the model's `FOLDER`")
	data    = flag.String("data", "", "a plain text `FILE`")
	steps   = flag.Int("steps", 100, "`N` optimizer steps")
	length  = flag.Int("length", 64, "`N` tokens of a row")
	only    = flag.String("only", "", "train only these `METHODS`, separated by commas")
	rate    = flag.Float64("rate", 0, "the learning `RATE` for all methods, instead of each method's own")
)

func main() {
	flag.Parse()
	if *model == "" || *data == "" {
		fmt.Fprintln(os.Stderr, "methods: give --model and --data")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "methods:", err)
		os.Exit(1)
	}
}

// result is the outcome of one method.
type result struct {
	first, after float64 // loss of the first step, before any update, and on the held-out rows after the last step
	trained      float64 // mean training loss of the last steps
	trainable    int64
	seconds      float64 // a step
	file         int64   // bytes of the weights that were written
}

func run() error {
	raw, err := os.ReadFile(filepath.Join(*model, "config.json"))
	if err != nil {
		return err
	}
	known, err := plan.Describe(filepath.Base(*model), raw)
	if err != nil {
		return err
	}
	text, err := filepath.Abs(*data)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(*model)
	if err != nil {
		return err
	}
	fmt.Printf("| method | learning rate | trainable | first training loss | held-out loss after %d steps | training loss of the last 10 | seconds a step | file |\n", *steps)
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, way := range forecast.Ways() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), way.Name) {
			continue
		}
		lr := way.Rate
		if *rate > 0 {
			lr = *rate
		}
		base, err := json.Marshal(map[string]any{
			"model": folder, "trainable": []string{"all"},
			"dataset": map[string]any{"path": text, "format": "text", "max_length": *length, "validation_split": 0.05},
			"training": map[string]any{
				"learning_rate": lr, "lr_scheduler_type": "cosine", "warmup_steps": *steps / 10, "max_steps": *steps,
				"per_device_train_batch_size": 4, "eval_steps": *steps, "weight_decay": 0,
			},
		})
		if err != nil {
			return err
		}
		cfg, err := config.Parse(base, "run.json")
		if err != nil {
			return err
		}
		if cfg, err = way.Apply(cfg, known.Layers()); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", way.Name, err)
			continue
		}
		r, err := trainOnce(cfg)
		if err != nil {
			return fmt.Errorf("%s: %w", way.Name, err)
		}
		fmt.Printf("| %s | %g | %d | %.3f | %.3f | %.3f | %.2f | %s |\n",
			way.Name, lr, r.trainable, r.first, r.after, r.trained, r.seconds, plan.Bytes(r.file))
	}
	return nil
}

// trainOnce runs the program once and reads its result.
func trainOnce(cfg *config.Config) (r result, err error) {
	dir, err := os.MkdirTemp("", "llamatab-methods-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "out")
	raw, err := json.Marshal(cfg)
	if err != nil {
		return r, err
	}
	file := filepath.Join(dir, "run.json")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return r, err
	}
	var said bytes.Buffer
	c := exec.Command(*program, "train", "--config", file, "--out", out)
	c.Stderr = &said
	if err := c.Run(); err != nil {
		return r, fmt.Errorf("%w\n%s", err, said.String())
	}
	lines, err := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
	if err != nil {
		return r, err
	}
	var all []message.Step
	for line := range strings.Lines(string(lines)) {
		var s message.Step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return r, err
		}
		all = append(all, s)
	}
	last := all[max(0, len(all)-10):]
	for _, s := range last {
		r.trained += float64(s.Loss) / float64(len(last))
		r.seconds += s.StepSeconds / float64(len(last))
	}
	if e := all[len(all)-1].EvalLoss; e != nil {
		r.after = float64(*e)
	}
	r.first = float64(all[0].Loss)
	var summary struct {
		Trainable int64 `json:"trainable_parameters"`
	}
	if raw, err = os.ReadFile(filepath.Join(out, "summary.json")); err == nil {
		err = json.Unmarshal(raw, &summary)
	}
	if err != nil {
		return r, err
	}
	r.trainable = summary.Trainable
	for _, name := range []string{"adapter/adapter_model.safetensors", "model/model.safetensors"} {
		info, err := os.Stat(filepath.Join(out, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return r, err
		}
		r.file += info.Size()
	}
	return r, nil
}
