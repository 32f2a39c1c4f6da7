package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/runner"
	"llamatab/server/tabs"
)

// train is the command train.
func train(ctx context.Context, args []string) error {
	f := newFlagSet("train")
	file := f.String("config", "", "the run.json `FILE` of the run; builtin:NAME is a ready run")
	out := f.String("out", "", "`DIR` that gets the results")
	var sets list
	f.Var(&sets, "set", "`path.to.key=value` changes one value of the config; may be repeated")
	tabCount := f.Int("tabs", 0, "train in `N` tabs that share the work of each step; with fsdp.slots fixed, the result does not depend on N")
	traced := f.Bool("trace", false, "with --tabs: also write "+tabs.TraceFile+", what each tab did and when, for ui.perfetto.dev; this slows the run")
	budget := f.budget()
	browser, hubs := f.browser(), f.hub()
	advice := f.String("recipe", "", "start from the settings of the recipe `NAME`, which the config and --set override; help lists the recipes")
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
	exit.OutliveReader()
	c, m, err := inputs.LoadConfig(*file, *advice, sets, hubs.finder(ctx))
	if err != nil {
		return err
	}
	defer m.Close()
	if err := tabs.Share(c, *tabCount); err != nil {
		return err
	}
	resolved, err := json.Marshal(c)
	if err != nil {
		return err
	}

	spec := message.Job{Command: message.Train, Config: resolved, MemoryBudget: int64(*budget), Spans: *traced}
	if *traced && c.FSDP == nil {
		return exit.Usagef("train: --trace shows a run over several tabs: give --tabs N as well")
	}
	if err := precheck(ctx, spec, m); err != nil {
		return err
	}
	if c.FSDP != nil {
		return tabs.Train(ctx, c, m, spec, *browser, *out)
	}
	j := m.Into(spec)
	dir, err := job.OpenDir(*out)
	if err != nil {
		return err
	}
	resumes := c.Training.Resume != nil && filepath.Dir(*c.Training.Resume) == filepath.Clean(*out)
	j.Store, j.Log = dir, job.NewLog(*out, resumes)
	j.Log.Inputs, j.Log.Earlier = slices.Collect(maps.Values(m.Paths())), runner.ReportEarlier
	j.Observe = runner.NewProgress().Observe
	err = runner.Start(ctx, runner.Run{Job: j, Browser: *browser, Graceful: true})
	err = runner.Finish(err, j.Log.Close, dir.Close)
	if err == nil && j.Outcome().Done.Stopped {
		return stopped(j.Outcome().Done.Files, *out)
	}
	return err
}

// stopped tells what a run has left that a signal stopped, and how it goes on. Before the first step it has left nothing,
// which is not success.
func stopped(files []string, out string) error {
	if len(files) == 0 {
		return &exit.Error{Code: exit.Interrupted, Err: errors.New("interrupted before the first step: nothing was trained, and nothing is saved")}
	}
	newest := 0
	for _, name := range files {
		if step, err := strconv.Atoi(strings.TrimPrefix(name, message.CheckpointPrefix)); err == nil {
			newest = max(newest, step)
		}
	}
	text := "stopped: the result so far is saved"
	if newest > 0 {
		text = fmt.Sprintf("stopped after step %d; to go on, set training.resume_from_checkpoint to %s", newest, filepath.Join(out, message.CheckpointPrefix+strconv.Itoa(newest)))
	}
	fmt.Fprintln(os.Stderr, text)
	return nil
}
