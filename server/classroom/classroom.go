// Package classroom makes rooms whose tabs are people's: all that a tab needs comes from the server.
package classroom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"sync"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	engine "llamatab/engine/train"
	"llamatab/server/job"
	"llamatab/server/library"
	"llamatab/server/room"
)

// The most that a room of a class may ask of its server.
const (
	maxConfig  = 64 << 10 // bytes of a run.json
	maxTrained = 1 << 28  // parameters that train: the room holds each several times
)

// Class makes rooms whose tabs are people's: all that a tab needs comes from the server.
type Class struct {
	library.Library

	mu    sync.Mutex
	plans map[string][]engine.Shard // by number of tabs and job
}

const plansKept = 256

// Plan implements room.Rooms.Plan: the strategies side by side. Everybody in the room asks for the same, so it is kept.
func (c *Class) Plan(text json.RawMessage, tabs int) (any, error) {
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

// Describe implements room.Rooms.Describe.
func (c *Class) Describe(run *fsdp.Run) error {
	if len(run.Job) == 0 {
		return &room.Refused{Code: "config", Reason: "the room has no job", Next: "send the run.json as run.job"}
	}
	if len(run.Job) > maxConfig {
		return &room.Refused{Code: "config", Reason: fmt.Sprintf("a run.json of %d bytes, more than %d", len(run.Job), maxConfig)}
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
	if trained > maxTrained {
		return &room.Refused{Code: "too_many_parameters", Reason: fmt.Sprintf("%d parameters train, and a room holds %d at most", trained, maxTrained), Next: "use an adapter, or train fewer layers"}
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
func (c *Class) files(cfg *config.Config) (engine.Files, error) {
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
	model := c.Model(cfg.Model.Path)
	if model == nil || !regular(model, "config.json") {
		return files, refuse("model", "this server offers no model %s, so that other tabs cannot get it", cfg.Model.Path)
	}
	folder, file := c.Dataset(cfg.Dataset.Path)
	if folder == nil || !regular(folder, file) {
		return files, refuse("dataset.path", "this server offers no data %s, so that other tabs cannot get it", cfg.Dataset.Path)
	}
	return engine.Files{Model: model, Dataset: library.OneFile(folder, file)}, nil
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

// Sources implements room.Rooms.Sources: the files of a job by mount.
func (c *Class) Sources(text json.RawMessage) (any, error) {
	cfg, err := config.Parse(text, "run.json")
	if err != nil {
		return nil, err
	}
	model := c.Model(cfg.Model.Path)
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
	folder, file := c.Dataset(cfg.Dataset.Path)
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
