package classroom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/fsdp"
	"llamatab/engine/fsdp/rank"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/server/library"
	"llamatab/server/room"
)

// maxConfig bounds a run.json in bytes, which protects the server.
const maxConfig = 64 << 10

// lessons turns the run.json of a room's owner into a run over files that every tab can fetch from this server.
type lessons struct {
	library.Library

	mu    sync.Mutex
	plans map[string][]forecast.Shard // forecasts by number of tabs and job
}

// maxPlans bounds the forecasts that are kept.
const maxPlans = 256

// plan implements room.Rooms.Plan: it forecasts a job under each sharding strategy. Every page of the room asks for the
// same forecast, so it is kept.
func (l *lessons) plan(text json.RawMessage, tabs int) (any, error) {
	l.mu.Lock() // one forecast at a time, as each reads the data
	defer l.mu.Unlock()
	key := fmt.Sprint(tabs, string(text))
	if known, ok := l.plans[key]; ok {
		return known, nil
	}
	cfg, err := config.Parse(text, "run.json")
	if err != nil {
		return nil, err
	}
	files, err := l.files(cfg)
	if err != nil {
		return nil, err
	}
	planned, err := forecast.Plan(cfg, files, forecast.Conditions{Limits: device.UnboundedLimits(), Tabs: tabs})
	if err != nil {
		return nil, err
	}
	if l.plans == nil || len(l.plans) >= maxPlans {
		l.plans = map[string][]forecast.Shard{}
	}
	l.plans[key] = planned.Sharding
	return planned.Sharding, nil
}

// describe implements room.Rooms.Describe: it checks the run.json of a room, completes the run from it and counts
// the tokens of its slots.
func (l *lessons) describe(run *fsdp.Run) (room.Tokens, error) {
	if len(run.Job) == 0 {
		return nil, &message.Refusal{Code: "config", Reason: "the room has no job", Next: "send the run.json as run.job"}
	}
	if len(run.Job) > maxConfig {
		return nil, &message.Refusal{Code: "config", Reason: fmt.Sprintf("a run.json of %d bytes, more than %d", len(run.Job), maxConfig)}
	}
	cfg, err := config.Parse(run.Job, "run.json")
	if err != nil {
		return nil, refusal(err)
	}
	files, err := l.files(cfg)
	if err != nil {
		return nil, err
	}
	described, tokens, err := rank.NewRun(run.ID, cfg, files)
	if err != nil {
		return nil, refusal(err)
	}
	trained := 0
	for _, p := range described.Params {
		trained += p.Shape.Size()
	}
	if trained > room.MaxTrained {
		return nil, &message.Refusal{Code: "too_many_parameters", Reason: fmt.Sprintf("%d parameters train, and a room holds %d at most", trained, room.MaxTrained), Next: "use an adapter, or train fewer layers"}
	}
	job, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	*run = *described
	run.Job = job
	return room.Tokens(tokens), nil
}

// refusal turns an error of the engine into the answer that pages get.
func refusal(err error) error {
	var ce *config.Error
	if errors.As(err, &ce) {
		return &message.Refusal{Code: "config", Reason: ce.Error(), Next: ce.Next, Path: ce.Path, Kind: ce.Kind, About: ce.About}
	}
	f := report.Failure(err)
	return &message.Refusal{Code: f.Code, Reason: f.Message, Next: f.Next, Path: f.Path, Kind: f.Kind, About: f.About}
}

// files opens the model and the dataset that a config names. It refuses what other tabs could not fetch from this server.
func (l *lessons) files(cfg *config.Config) (report.Files, error) {
	var files report.Files
	refuse := func(path, format string, args ...any) error {
		return &message.Refusal{Code: "class_files", Path: path, Reason: fmt.Sprintf(format, args...), Next: "choose what this server offers: a built-in model and dataset, or a folder of serve --models and a file of serve --data"}
	}
	switch {
	case cfg.FSDP == nil:
		return files, &message.Refusal{Code: "config", Path: "fsdp", Reason: "fsdp is missing, so this is a run of one tab", Next: `add "fsdp": {}`}
	case cfg.Model.Random != nil:
		return files, refuse("model", "a run in a room starts from a model, not from random weights")
	case cfg.InitAdapter != nil:
		return files, refuse("init_adapter", "a run in a room starts without an adapter: the other tabs could not fetch it")
	}
	for _, part := range cfg.Parts() {
		if part.Head != nil && part.Head.Init != nil {
			return files, refuse("trainable", "a run in a room starts an added head from random weights: the other tabs could not fetch its file")
		}
	}
	model := l.Model(cfg.Model.Path)
	if model == nil || !regular(model, "config.json") {
		return files, refuse("model", "this server offers no model %s, so other tabs cannot fetch it", cfg.Model.Path)
	}
	folder, file := l.Dataset(cfg.Dataset.Path)
	if folder == nil || !regular(folder, file) {
		return files, refuse("dataset.path", "this server offers no data %s, so other tabs cannot fetch it", cfg.Dataset.Path)
	}
	return report.Files{Model: model, Dataset: library.OneFile(folder, file)}, nil
}

// TrainsWith reports whether an open room trains with a model of that name.
func (c *Classroom) TrainsWith(model string) bool {
	return slices.ContainsFunc(c.Jobs(), func(job json.RawMessage) bool {
		cfg, err := config.Parse(job, "run.json")
		return err == nil && cfg.Model.Path == model
	})
}

func regular(folder fs.FS, name string) bool {
	info, err := fs.Stat(folder, name)
	return err == nil && info.Mode().IsRegular()
}

// sources implements room.Rooms.Sources: it lists the files of a job by mount.
func (l *lessons) sources(text json.RawMessage) (map[string][]message.ServerFile, error) {
	cfg, err := config.Parse(text, "run.json")
	if err != nil {
		return nil, err
	}
	model := l.Model(cfg.Model.Path)
	if model == nil {
		return nil, fmt.Errorf("this server no longer offers the model %s", cfg.Model.Path)
	}
	list, err := library.ModelFiles(model)
	if err != nil {
		return nil, fmt.Errorf("this server no longer offers the model %s: %w", cfg.Model.Path, err)
	}
	found := map[string][]message.ServerFile{}
	for _, f := range list {
		found["model"] = append(found["model"], message.ServerFile{Name: f.Name, Size: f.Size, URL: library.ModelURL(cfg.Model.Path, f.Name)})
	}
	folder, file := l.Dataset(cfg.Dataset.Path)
	if folder == nil {
		return nil, fmt.Errorf("this server no longer offers the data %s", cfg.Dataset.Path)
	}
	info, err := fs.Stat(folder, file)
	if err != nil {
		return nil, fmt.Errorf("this server no longer offers the data %s: %w", cfg.Dataset.Path, err)
	}
	found["dataset"] = []message.ServerFile{{Name: file, Size: info.Size(), URL: library.DatasetURL(cfg.Dataset.Path)}}
	return found, nil
}
