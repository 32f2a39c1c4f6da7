package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	engine "llamatab/engine/train"
	"llamatab/server/job"
	"llamatab/server/room"
)

// library is what the server can hand to every page: what is built in, the folders that the person who started it offers,
// and what pages have handed over for their rooms. Names that start with "builtin:" mean the first, with "handed:" the last.
type library struct {
	own          builtin
	models, data string // folders; "" for none
	handed       shelf
}

// model is the folder of a model, nil if there is none.
func (l library) model(name string) fs.FS {
	if rest, ok := strings.CutPrefix(name, builtinPrefix); ok {
		files, _ := l.own.model(rest)
		return files
	}
	if rest, ok := strings.CutPrefix(name, handedPrefix); ok {
		return l.handed.folder(rest)
	}
	if l.models == "" || !plain(name) {
		return nil
	}
	return os.DirFS(filepath.Join(l.models, name))
}

// dataset is the folder and the name in it of a data file, nil if there is none.
func (l library) dataset(name string) (fs.FS, string) {
	if rest, ok := strings.CutPrefix(name, builtinPrefix); ok {
		folder, file, _ := l.own.dataset(rest)
		return folder, file
	}
	if rest, ok := strings.CutPrefix(name, handedPrefix); ok {
		return l.handed.dataset(rest)
	}
	if l.data == "" || !plain(name) {
		return nil, ""
	}
	return os.DirFS(l.data), name
}

// The most that a room of a class may ask of its server.
const (
	classConfig  = 64 << 10 // bytes of a run.json
	classTrained = 1 << 28  // parameters that train: the room holds each several times
)

// class makes rooms whose tabs are people's: all that a tab needs comes from the server.
type class struct {
	library

	mu    sync.Mutex
	plans map[string][]engine.Shard // by number of tabs and job
}

const plansKept = 256

// plan implements room.Rooms.Plan: the strategies side by side. Everybody in the room asks for the same, so it is kept.
func (c *class) plan(text json.RawMessage, tabs int) (any, error) {
	c.mu.Lock() // one at a time: each reads the data
	defer c.mu.Unlock()
	key := fmt.Sprint(tabs, string(text))
	if known, ok := c.plans[key]; ok {
		return known, nil
	}
	cfg, err := config.Parse(text, "run.json")
	if err != nil {
		return nil, err
	}
	files, err := c.files(cfg)
	if err != nil {
		return nil, err
	}
	large := device.DefaultLimits
	large.MaxBuffer, large.MaxBinding = 1<<50, 1<<50
	forecast, err := engine.Plan(cfg, files, engine.Conditions{Limits: large, Tabs: tabs})
	if err != nil {
		return nil, err
	}
	if len(c.plans) >= plansKept || c.plans == nil {
		c.plans = map[string][]engine.Shard{}
	}
	c.plans[key] = forecast.Sharding
	return forecast.Sharding, nil
}

// describe implements room.Rooms.Describe.
func (c *class) describe(run *fsdp.Run) error {
	if len(run.Job) == 0 {
		return &room.Refused{Code: "config", Reason: "the room has no job", Next: "send the run.json as run.job"}
	}
	if len(run.Job) > classConfig {
		return &room.Refused{Code: "config", Reason: fmt.Sprintf("a run.json of %d bytes, more than %d", len(run.Job), classConfig)}
	}
	cfg, err := config.Parse(run.Job, "run.json")
	if err != nil {
		return refusal(err)
	}
	files, err := c.files(cfg)
	if err != nil {
		return err
	}
	described, err := engine.RoomRun(run.ID, cfg, files)
	if err != nil {
		return refusal(err)
	}
	trained := 0
	for _, p := range described.Params {
		trained += p.Shape.Size()
	}
	if trained > classTrained {
		return &room.Refused{Code: "too_many_parameters", Reason: fmt.Sprintf("%d parameters train, and a room holds %d at most", trained, classTrained), Next: "use an adapter, or train fewer layers"}
	}
	job, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	*run = *described
	run.Job = job
	return nil
}

// refusal is an error of the engine as pages get it.
func refusal(err error) error {
	var ce *config.Error
	if errors.As(err, &ce) {
		return &room.Refused{Code: "config", Reason: ce.Error(), Next: ce.Next, Path: ce.Path, Kind: ce.Kind, About: ce.About}
	}
	f := engine.Failure(err)
	return &room.Refused{Code: f.Code, Reason: f.Message, Next: f.Next, Path: f.Path, Kind: f.Kind, About: f.About}
}

// files opens what a config names. Only what every tab can get from this server will do.
func (c *class) files(cfg *config.Config) (engine.Files, error) {
	var files engine.Files
	refuse := func(path, format string, args ...any) error {
		return &room.Refused{Code: "class_files", Path: path, Reason: fmt.Sprintf(format, args...), Next: "choose what this server offers: what is built in, or a folder of serve --models and a file of serve --data"}
	}
	switch {
	case cfg.FSDP == nil:
		return files, &room.Refused{Code: "config", Path: "fsdp", Reason: "fsdp is missing, so this is a run of one tab", Next: `add "fsdp": {}`}
	case cfg.Model.Random != nil:
		return files, refuse("model", "a class starts from a model, not from random weights")
	case cfg.InitAdapter != nil:
		return files, refuse("init_adapter", "a class starts without an adapter: the other tabs could not get it")
	}
	for _, part := range cfg.Parts() {
		if part.Head != nil && part.Head.Init != nil {
			return files, refuse("trainable", "a class starts an added head anew: the other tabs could not get its file")
		}
	}
	model := c.model(cfg.Model.Path)
	if model == nil || !regular(model, "config.json") {
		return files, refuse("model", "this server offers no model %s, so that other tabs cannot get it", cfg.Model.Path)
	}
	folder, file := c.dataset(cfg.Dataset.Path)
	if folder == nil || !regular(folder, file) {
		return files, refuse("dataset.path", "this server offers no data %s, so that other tabs cannot get it", cfg.Dataset.Path)
	}
	return engine.Files{Model: model, Dataset: oneFile{folder, file}}, nil
}

func regular(folder fs.FS, name string) bool {
	info, err := fs.Stat(folder, name)
	return err == nil && info.Mode().IsRegular()
}

// offered is a file of the library with its address.
type offered struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	URL  string `json:"url"`
}

// sources implements room.Rooms.Sources: the files of a job by mount.
func (c *class) sources(text json.RawMessage) (any, error) {
	cfg, err := config.Parse(text, "run.json")
	if err != nil {
		return nil, err
	}
	model := c.model(cfg.Model.Path)
	if model == nil {
		return nil, fmt.Errorf("this server offers the model %s no more", cfg.Model.Path)
	}
	list, err := job.List(model, ".")
	if err != nil {
		return nil, fmt.Errorf("this server offers the model %s no more: %w", cfg.Model.Path, err)
	}
	found := map[string][]offered{}
	for _, f := range list {
		found["model"] = append(found["model"], offered{f.Name, f.Size, address("models", cfg.Model.Path, f.Name)})
	}
	folder, file := c.dataset(cfg.Dataset.Path)
	if folder == nil {
		return nil, fmt.Errorf("this server offers the data %s no more", cfg.Dataset.Path)
	}
	info, err := fs.Stat(folder, file)
	if err != nil {
		return nil, fmt.Errorf("this server offers the data %s no more: %w", cfg.Dataset.Path, err)
	}
	found["dataset"] = []offered{{file, info.Size(), address("data", cfg.Dataset.Path)}}
	return found, nil
}

// address spells where pageHandler serves a file.
func address(elements ...string) string {
	for i := range elements {
		elements[i] = url.PathEscape(elements[i])
	}
	return "/api/" + strings.Join(elements, "/")
}
