package main

import (
	"context"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/runner"
)

// export is the command export.
func export(ctx context.Context, args []string) error {
	f := newFlagSet("export")
	model := f.String("model", "", "model `DIR`, a GGUF file, or its name on a hub")
	adapter := f.String("adapter", "", "PEFT adapter `DIR`, or its name on a hub")
	format := f.String("format", "", "`peft` (the adapter alone) or merged (a whole model with the adapter merged in)")
	out := f.String("out", "", "`DIR` that gets the result")
	browser, hubs := f.browser(), f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model", "format", "out"); err != nil {
		return err
	}
	switch *format {
	case "peft", "merged":
	case "gguf":
		return exit.Usagef("export: --format gguf is not available in this version; merged can be converted by other tools")
	default:
		return exit.Usagef("export: --format %q is neither peft nor merged", *format)
	}
	m := inputs.New("", hubs.finder(ctx))
	if err := m.Model("--model", model); err != nil {
		return err
	}
	if *adapter != "" {
		if err := m.Adapter("--adapter", adapter); err != nil {
			return err
		}
	} else if *format == "peft" {
		return exit.Usagef("export: --format peft needs --adapter")
	}
	if err := outputFolder("out", out); err != nil {
		return err
	}
	for name, path := range m.Paths() {
		if path == *out {
			return exit.Usagef("export: --out is the folder of --%s, which would be overwritten", name)
		}
	}

	j := m.Into(message.Job{Command: message.Export, Export: &message.ExportJob{Format: *format}})
	if err := precheck(ctx, j.Spec, m); err != nil {
		return err
	}
	dir, err := job.OpenDir(*out)
	if err != nil {
		return err
	}
	j.Store, j.Observe = dir, runner.NewProgress().Observe
	err = runner.Start(ctx, runner.Run{Job: j, Browser: *browser})
	return runner.Finish(err, dir.Close)
}
