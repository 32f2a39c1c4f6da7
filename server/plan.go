package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"llamatab/engine/device"
	memory "llamatab/engine/plan"
	engine "llamatab/engine/train"
)

// plan is the command plan.
func plan(_ context.Context, args []string) error {
	f := newFlagSet("plan")
	file := f.String("config", "", "the run's `FILE`, see run.json")
	var sets list
	f.Var(&sets, "set", "`path.to.key=value` changes one value of the config; may be repeated")
	asJSON := f.Bool("json", false, "print JSON")
	budget := f.budget()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("config"); err != nil {
		return err
	}
	c, m, err := loadConfig(*file, sets)
	if err != nil {
		return err
	}
	var files engine.Files
	for name, path := range m.names {
		switch name {
		case "model":
			files.Model = os.DirFS(path)
		case "dataset":
			files.Dataset = oneFile{os.DirFS(filepath.Dir(path)), filepath.Base(path)}
		case "adapter":
			files.Adapter = os.DirFS(path)
		case "resume":
			files.Resume = os.DirFS(path)
		case "tokenizer":
			files.Tokenizer = os.DirFS(path)
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				files.Tokenizer = oneFile{os.DirFS(filepath.Dir(path)), filepath.Base(path)}
			}
		}
	}
	forecast, err := engine.Plan(c, files, device.DefaultLimits, int64(*budget))
	if err != nil {
		failed := engine.Failure(err)
		return &exitError{failed.Exit, fmt.Errorf("%w\n  what to do: %s", err, failed.Next)}
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(forecast)
	}
	for _, w := range forecast.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
	fmt.Printf("%d of %d parameters train, %d steps, %d launches a micro-batch\n\n%s\n", forecast.Trainable, forecast.Total, forecast.Steps, forecast.Launches, forecast.Table)
	fmt.Printf("largest buffer %s; activations would take %s if none shared memory\n", memory.Bytes(forecast.Largest), memory.Bytes(forecast.Unshared))
	if !forecast.Fits {
		fmt.Printf("does not fit WebGPU's default limits or the budget: %s\n%s\n", forecast.Reason, forecast.Advice)
	}
	return nil
}

// oneFile is a folder in which one file is seen.
type oneFile struct {
	fs.FS
	name string
}

// Open implements fs.FS.
func (o oneFile) Open(name string) (fs.File, error) {
	if name != o.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return o.FS.Open(name)
}

// ReadDir implements fs.ReadDirFS.
func (o oneFile) ReadDir(string) ([]fs.DirEntry, error) {
	info, err := fs.Stat(o.FS, o.name)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}
