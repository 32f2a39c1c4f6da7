package main

import (
	"context"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/runner"
)

// The names of the files that the engine writes for eval.
const (
	logitsName    = "logits.safetensors"
	gradientsName = "gradients.safetensors"
)

// eval is the command eval.
func eval(ctx context.Context, args []string) error {
	f := newFlagSet("eval")
	model := f.String("model", "", "model `DIR`, a GGUF file, or its name on a hub")
	var adapters list
	f.Var(&adapters, "adapter", "PEFT adapter `DIR`, or its name on a hub; several are compared with each other and with the base model")
	dataset := f.String("dataset", "", "dataset `FILE`")
	format := f.String("format", "auto", "format of the data: `auto`, "+strings.Join(config.Formats()[1:], ", "))
	maxLength := f.Int("max-length", 0, "`tokens` of a row at most; 0 means min(1024, the model's context)")
	batch := f.Int("batch-size", 4, "`rows` of a micro-batch")
	logits := f.String("dump-logits", "", "`FILE.safetensors` that gets the logits")
	gradients := f.String("dump-gradients", "", "`FILE.safetensors` that gets the gradients of the mean loss")
	var trainable list
	f.Var(&trainable, "trainable", "`PART` of the base model whose gradients are dumped, named as in trainable of run.json: "+strings.Join(config.PartForms(), ", ")+" (default all); may be repeated")
	out := f.String("out", "", "`FILE` that gets the result")
	browser, hubs := f.browser(), f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model", "dataset", "out"); err != nil {
		return err
	}
	if *maxLength < 0 || *batch < 1 {
		return exit.Usagef("eval: --max-length wants 0 or more, --batch-size 1 or more")
	}
	m := inputs.New("", hubs.finder(ctx))
	defer m.Close()
	if err := m.Model("--model", model); err != nil {
		return err
	}
	if err := m.Add("dataset", "--dataset", dataset); err != nil {
		return err
	}
	if err := inputs.DataFile("--dataset", *dataset); err != nil {
		return err
	}
	compare, err := m.Adapters("--adapter", adapters)
	if err != nil {
		return err
	}
	if compare != nil && (*logits != "" || *gradients != "") {
		return exit.Usagef("eval: --dump-logits and --dump-gradients take one --adapter, and %d are given", len(compare))
	}
	if err := outputFile("out", out); err != nil {
		return err
	}
	spec := message.EvalJob{Format: *format, MaxLength: *maxLength, BatchSize: *batch, Trainable: trainable}
	if len(trainable) == 0 && len(adapters) == 0 {
		spec.Trainable = []string{"all"}
	}
	dumps := job.Files{}
	if *logits != "" {
		if err := outputFile("dump-logits", logits); err != nil {
			return err
		}
		spec.DumpLogits, dumps[logitsName] = logitsName, *logits
	}
	if *gradients != "" {
		if err := outputFile("dump-gradients", gradients); err != nil {
			return err
		}
		spec.DumpGradients, dumps[gradientsName] = gradientsName, *gradients
	}

	j := m.Into(message.Job{Command: message.Eval, Eval: &spec, Compare: compare})
	j.Store = dumps
	if err := precheck(ctx, j.Spec, m); err != nil {
		return err
	}
	err = runner.ForResult(ctx, j, *browser, *out)
	return runner.Finish(err, dumps.Close)
}
