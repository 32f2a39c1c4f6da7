package inputs

import (
	"os"
	"path/filepath"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/recipe"
	"llamatab/server/exit"
	"llamatab/server/library"
)

// LoadConfig reads a run.json, or a ready run builtin:NAME, over the settings of a recipe, "" for none. It applies sets,
// values of the form path.to.key=value, makes paths absolute and mounts them. find looks up names of a hub.
func LoadConfig(file, recipeName string, sets []string, find Finder) (_ *config.Config, _ *Mounts, err error) {
	var data []byte
	if name, ok := strings.CutPrefix(file, library.BuiltinPrefix); ok {
		data, err = library.NewBuiltin().Run(name)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, exit.Usagef("--config: %v", err)
	}
	c, err := recipe.Parse(data, file, recipeName, sets)
	if err != nil {
		return nil, nil, err
	}
	m := New(filepath.Dir(file), find)
	defer func() {
		if err != nil {
			_ = m.Close() // a start sweeps what is left
		}
	}()
	if r := c.Model.Random; r != nil {
		if r.Config.Object == nil {
			path := r.Config.Path
			if err := m.Resolve("model.config", &path); err != nil {
				return nil, nil, err
			}
			if r.Config.Object, err = inline("model.config", path); err != nil {
				return nil, nil, err
			}
		}
		if r.Tokenizer != nil {
			if err := m.Add("tokenizer", "model.tokenizer", r.Tokenizer); err != nil {
				return nil, nil, err
			}
		}
	} else if err := m.Model("model", &c.Model.Path); err != nil {
		return nil, nil, err
	}
	if err := m.Add("dataset", "dataset.path", &c.Dataset.Path); err != nil {
		return nil, nil, err
	}
	if err := DataFile("dataset.path", c.Dataset.Path); err != nil {
		return nil, nil, err
	}
	if c.InitAdapter != nil {
		if err := m.Adapter("init_adapter", c.InitAdapter); err != nil {
			return nil, nil, err
		}
	}
	for _, part := range c.Parts() {
		if part.Head != nil && part.Head.Init != nil {
			if err := m.Add("head", "an added head's init", part.Head.Init); err != nil {
				return nil, nil, err
			}
		}
	}
	if c.Training.Resume != nil {
		if err := m.Checkpoint("training.resume_from_checkpoint", c.Training.Resume); err != nil {
			return nil, nil, err
		}
	}
	return c, m, nil
}
