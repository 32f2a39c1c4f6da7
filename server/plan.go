package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	memory "llamatab/engine/plan"
	"llamatab/engine/report"
	"llamatab/server/exit"
	"llamatab/server/inputs"
)

// plan is the command plan: the forecast of a run, or of known models by every method.
func plan(ctx context.Context, args []string) error {
	f := newFlagSet("plan")
	var p planner
	file := f.String("config", "", "the run.json `FILE` of the run")
	model := f.String("model", "", "instead of --config: a known model `NAME` or a folder with a config.json, without weights and data; several are separated by commas")
	models := f.Bool("models", false, "list the known models")
	method := f.String("method", "", "with --model: plan one `METHOD` in full; without it all methods are compared")
	batch := f.Int("batch", 4, "with --model: `N` rows of a micro-batch")
	length := f.Int("length", 512, "with --model: `N` tokens of a row")
	f.Var(&p.sets, "set", "`path.to.key=value` changes one value of the config; may be repeated")
	f.IntVar(&p.Tabs, "tabs", 0, "compare the sharding strategies of `N` tabs")
	link := f.String("link", "1gbit", "the `NETWORK` between the tabs: "+strings.Join(linkNames(), ", ")+" or a rate a second such as 20MB")
	flops := f.Float64("tflops", 0, "`N` * 10^12 floating-point operations a second of one device, from which the seconds of a step are forecast")
	f.BoolVar(&p.json, "json", false, "print the forecast as JSON")
	f.BoolVar(&p.markdown, "markdown", false, "print the comparison as a table in Markdown")
	budget, hubs := f.budget(), f.hub()
	f.Var(budget, "memory", "the memory `SIZE` of one device; the same as --memory-budget")
	buffer := bytesFlag(2 << 30)
	f.Var(&buffer, "max-buffer", "the largest `SIZE` of one buffer on the device; WebGPU guarantees 128 MiB, and common hardware allows 2 GiB or more")
	if err := f.parse(args); err != nil {
		return err
	}
	p.Budget, p.FLOPS = int64(*budget), *flops*1e12
	p.Limits = device.DefaultLimits
	p.Limits.MaxBuffer, p.Limits.MaxBinding = int64(buffer), int64(buffer)
	var err error
	if p.Link, err = parseLink(*link); err != nil {
		return err
	}
	switch given := f.given(); {
	case *models:
		return p.listModels()
	case *file != "" && *model != "":
		return exit.Usagef("plan: give either --config or --model")
	case *file != "":
		for _, name := range []string{"method", "batch", "length", "markdown"} {
			if given[name] {
				return exit.Usagef("plan: --%s goes with --model; with --config use --set", name)
			}
		}
		return p.run(*file, hubs.finder(ctx))
	case *model == "":
		return exit.Usagef("plan: --config or --model is missing; llamatab plan --help lists the options")
	}
	var known []memory.Known
	for name := range strings.SplitSeq(*model, ",") {
		m, err := findModel(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		known = append(known, m)
	}
	base := fmt.Sprintf(`{"model": "any", "dataset": {"path": "any", "max_length": %d}, "trainable": ["all"], "training": {"per_device_train_batch_size": %d}}`, *length, *batch)
	cfg, err := config.ParseWithSets([]byte(base), "", p.sets)
	if err != nil {
		return err
	}
	if *method != "" {
		return p.one(known, cfg, *method)
	}
	return p.compare(known, cfg)
}

// planner is the conditions of a plan and the form in which it is printed.
type planner struct {
	forecast.Conditions
	sets           list
	json, markdown bool
}

// run plans the run of a config over its files.
func (p *planner) run(file string, find inputs.Finder) error {
	c, m, err := inputs.LoadConfig(file, "", p.sets, find)
	if err != nil {
		return err
	}
	defer m.Close()
	files, err := m.Open()
	if err != nil {
		return err
	}
	forecast, err := forecast.Plan(c, files, p.Conditions)
	if err != nil {
		return planError(err)
	}
	if p.json {
		return p.print(forecast)
	}
	for _, r := range forecast.Remarks {
		fmt.Fprintln(os.Stderr, r.Level()+":", r.Message)
	}
	fmt.Printf("%s, %d steps\n%s\n\n", counts(forecast), forecast.Steps, rowCounts(forecast.Dataset))
	p.forecast(os.Stdout, forecast)
	return nil
}

// one plans one method for each known model.
func (p *planner) one(models []memory.Known, cfg *config.Config, method string) error {
	var names []string
	ways := forecast.Ways()
	for _, w := range ways {
		names = append(names, w.Name)
	}
	at := slices.Index(names, method)
	if at < 0 {
		best, _ := config.Nearest(method, names)
		return exit.Usagef("plan: no method %q; the nearest is %s, all are %s", method, best, strings.Join(names, ", "))
	}
	var all []*forecast.Forecast
	for _, m := range models {
		run, err := ways[at].Apply(cfg, m.Layers())
		if err != nil {
			return err
		}
		files, err := forecast.Imagine(m, run)
		if err != nil {
			return planError(err)
		}
		forecast, err := forecast.Plan(run, files, p.Conditions)
		if err != nil {
			return planError(err)
		}
		if all = append(all, forecast); !p.json {
			fmt.Printf("%s, %s: %s\n%s\n\n", m.Name, method, counts(forecast), shapeOf(cfg))
			p.forecast(os.Stdout, forecast)
		}
	}
	switch {
	case !p.json:
		return nil
	case len(all) == 1:
		return p.print(all[0])
	}
	return p.print(all)
}

// compare plans every method for each known model.
func (p *planner) compare(models []memory.Known, cfg *config.Config) error {
	type comparison struct {
		Model   memory.Known      `json:"model"`
		Methods []forecast.Method `json:"methods"`
	}
	all := []comparison{}
	for _, m := range models {
		files, err := forecast.Imagine(m, cfg)
		if err != nil {
			return planError(err)
		}
		methods, err := forecast.Compare(cfg, files, p.Conditions)
		if err != nil {
			return planError(err)
		}
		all = append(all, comparison{m, methods})
	}
	switch {
	case p.json:
		return p.print(all)
	case p.markdown:
		var names []string
		var rows [][]forecast.Method
		for _, c := range all {
			names, rows = append(names, c.Model.Name), append(rows, c.Methods)
		}
		markdown(os.Stdout, names, rows)
		fmt.Printf("\n%s\n", shapeOf(cfg))
		return nil
	}
	for _, c := range all {
		fmt.Printf("%s: %d parameters\n%s\n\n", c.Model.Name, c.Model.Parameters, shapeOf(cfg))
		p.methods(os.Stdout, c.Methods)
	}
	return nil
}

func (p *planner) listModels() error {
	if p.json {
		return p.print(memory.Models)
	}
	t := newTable("name", "parameters", "files", "repository")
	for _, m := range memory.Models {
		t.row(m.Name, fmt.Sprint(m.Parameters), m.DType, m.Repo)
	}
	t.print(os.Stdout)
	return nil
}

func (p *planner) print(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// planError turns a failure of the engine into the error that ends the program.
func planError(err error) error {
	failed := report.Failure(err)
	return &exit.Error{Code: failed.Exit, Err: fmt.Errorf("%w\n  what to do: %s", err, failed.Next)}
}

// findModel finds a known model by its name, or describes the model of a folder with a config.json.
func findModel(name string) (memory.Known, error) {
	if m, ok := memory.FindModel(name); ok {
		return m, nil
	}
	raw, err := os.ReadFile(filepath.Join(name, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		best, _ := config.Nearest(name, memory.ModelNames())
		return memory.Known{}, exit.Usagef("plan: %q is no known model, and no folder with a config.json; the nearest known is %s, all are %s",
			name, best, strings.Join(memory.ModelNames(), ", "))
	} else if err != nil {
		return memory.Known{}, exit.Usagef("plan: --model: %v", err)
	}
	m, err := memory.Describe(filepath.Base(name), raw)
	if err != nil {
		return m, exit.Usagef("plan: %s: %v", name, err)
	}
	return m, nil
}

func linkNames() (names []string) {
	for _, l := range memory.Links {
		names = append(names, l.Name)
	}
	return names
}

// parseLink reads the name of a network, or a rate in bytes a second.
func parseLink(s string) (memory.Link, error) {
	for _, l := range memory.Links {
		if l.Name == s {
			return l.Link, nil
		}
	}
	var rate bytesFlag
	if err := rate.Set(strings.TrimSuffix(s, "/s")); err != nil {
		return memory.Link{}, exit.Usagef("plan: --link %q is neither one of %s nor a rate such as 20MB", s, strings.Join(linkNames(), ", "))
	}
	return memory.Link{Rate: float64(rate)}, nil
}
