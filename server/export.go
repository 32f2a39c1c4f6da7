package main

import (
	"context"

	"llamatab/engine/message"
	"llamatab/server/job"
)

// export is the command export.
func export(ctx context.Context, args []string) error {
	f := newFlagSet("export")
	model := f.String("model", "", "model `DIR`")
	adapter := f.String("adapter", "", "PEFT adapter `DIR`")
	format := f.String("format", "", "`peft` (the adapter alone) or merged (a whole model)")
	out := f.String("out", "", "`DIR` for the result")
	var browser browserFlags
	browser.register(f)
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model", "format", "out"); err != nil {
		return err
	}
	switch *format {
	case "peft", "merged":
	case "gguf":
		return usageError("export: --format gguf is not available in this version; merged can be converted by other tools")
	default:
		return usageError("export: --format %q is neither peft nor merged", *format)
	}
	m := newMounts("")
	if err := m.model("--model", model); err != nil {
		return err
	}
	if *adapter != "" {
		if err := m.adapter("--adapter", adapter); err != nil {
			return err
		}
	} else if *format == "peft" {
		return usageError("export: --format peft needs --adapter")
	}
	if err := outputFolder("out", out); err != nil {
		return err
	}
	for name, path := range m.names {
		if path == *out {
			return usageError("export: --out is the folder of --%s, which would be overwritten", name)
		}
	}

	j := m.into(message.Job{Command: message.Export, Export: &message.ExportJob{Format: *format}})
	dir, err := job.OpenDir(*out)
	if err != nil {
		return err
	}
	j.Store, j.Observe = dir, newProgress().observe
	err = runHeadless(ctx, headlessRun{job: j, browser: browser})
	return finish(err, dir.Close)
}
