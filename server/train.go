package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/recipe"
	"llamatab/server/job"
)

// train is the command train.
func train(ctx context.Context, args []string) error {
	f := newFlagSet("train")
	file := f.String("config", "", "the run's `FILE`, see run.json; builtin:NAME is a ready run")
	out := f.String("out", "", "`DIR` for the results")
	var sets list
	f.Var(&sets, "set", "`path.to.key=value` changes one value of the config; may be repeated")
	tabs := f.Int("tabs", 0, "train in `N` tabs that share each step; the result does not depend on how many there are")
	traced := f.Bool("trace", false, "with --tabs: also write "+traceFile+", what each tab did and when, for ui.perfetto.dev; takes time")
	budget := f.budget()
	var browser browserFlags
	browser.register(f)
	advice := f.String("recipe", "", "start from the settings of a recipe `NAME`, over which the config and --set go; help lists them")
	if err := f.parse(args); err != nil {
		return err
	}
	if *advice == "help" {
		listRecipes(os.Stdout)
		return nil
	}
	if err := f.require("config", "out"); err != nil {
		return err
	}
	if err := outputFolder("out", out); err != nil {
		return err
	}
	c, m, err := loadConfig(*file, *advice, sets)
	if err != nil {
		return err
	}
	if err := shareTabs(c, *tabs); err != nil {
		return err
	}
	resolved, err := json.Marshal(c)
	if err != nil {
		return err
	}

	spec := message.Job{Command: message.Train, Config: resolved, MemoryBudget: int64(*budget), Spans: *traced}
	if *traced && c.FSDP == nil {
		return usageError("train: --trace shows what tabs do for each other: give --tabs N")
	}
	if c.FSDP != nil {
		return trainInRoom(ctx, c, m, spec, browser, *out)
	}
	j := m.into(spec)
	dir, err := job.OpenDir(*out)
	if err != nil {
		return err
	}
	resumes := c.Training.Resume != nil && within(*c.Training.Resume, *out)
	j.Store, j.Log = dir, job.NewLog(*out, resumes)
	j.Observe = newProgress().observe
	err = runHeadless(ctx, headlessRun{job: j, browser: browser, graceful: true})
	err = finish(err, j.Log.Close, dir.Close)
	if err == nil && j.Outcome().Done.Stopped {
		fmt.Fprintln(os.Stderr, "stopped; go on with training.resume_from_checkpoint")
	}
	return err
}

// loadConfig reads a run.json over a recipe ("" for none), makes its paths absolute and mounts what they name.
func loadConfig(file, name string, sets []string) (*config.Config, *mounts, error) {
	var data []byte
	var err error
	if name, ok := strings.CutPrefix(file, builtinPrefix); ok {
		data, err = newBuiltin().run(name)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, usageError("--config: %v", err)
	}
	c, err := recipe.Parse(data, file, name, sets)
	if err != nil {
		return nil, nil, err
	}
	m := newMounts(filepath.Dir(file))
	if r := c.Model.Random; r != nil {
		if r.Config.Object == nil {
			path := r.Config.Path
			if err := m.resolve("model.config", &path); err != nil {
				return nil, nil, err
			}
			if r.Config.Object, err = inline("model.config", path); err != nil {
				return nil, nil, err
			}
		}
		if r.Tokenizer != nil {
			if err := m.add("tokenizer", "model.tokenizer", r.Tokenizer); err != nil {
				return nil, nil, err
			}
		}
	} else if err := m.model("model", &c.Model.Path); err != nil {
		return nil, nil, err
	}
	if err := m.add("dataset", "dataset.path", &c.Dataset.Path); err != nil {
		return nil, nil, err
	}
	if err := datasetFile("dataset.path", c.Dataset.Path); err != nil {
		return nil, nil, err
	}
	if c.InitAdapter != nil {
		if err := m.adapter("init_adapter", c.InitAdapter); err != nil {
			return nil, nil, err
		}
	}
	for _, part := range c.Parts() {
		if part.Head != nil && part.Head.Init != nil {
			if err := m.add("head", "an added head's init", part.Head.Init); err != nil {
				return nil, nil, err
			}
		}
	}
	if c.Training.Resume != nil {
		if err := m.add("resume", "training.resume_from_checkpoint", c.Training.Resume); err != nil {
			return nil, nil, err
		}
	}
	return c, m, nil
}
