package forecast

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// Way is one way of fine-tuning, as settings of run.json.
type Way struct {
	Name   string
	Trains string  // in words
	Rate   float64 // a learning rate at which a small model learns well from a hundred steps
	// Settings puts values in place of peft, trainable and unfreeze, for a model of so many layers.
	Settings func(layers int) []message.Change
}

// Ways are the ways of fine-tuning that are compared, from all weights to a few numbers: the examples of the parts of a
// model and of the registered methods.
func Ways() (all []Way) {
	for _, e := range config.Examples() {
		all = append(all, Way{e.Name, e.Trains, e.Rate, func(layers int) []message.Change {
			return []message.Change{change(e.Key, e.Value(layers))}
		}})
	}
	return all
}

// Method is one row of a comparison.
type Method = message.MethodPlan

// all are the way's settings with those of every other way undone.
func (w Way) all(layers int) []message.Change {
	none := []string{}
	return over([]message.Change{
		change("peft", nil), change("trainable", none), change("unfreeze", none), change("init_adapter", nil), change("training.resume_from_checkpoint", nil),
	}, w.Settings(layers))
}

// Apply is cfg with the way's settings in place of its own.
func (w Way) Apply(cfg *config.Config, layers int) (*config.Config, error) {
	return with(cfg, w.all(layers))
}

// Compare plans every way of fine-tuning with the rest of cfg. The rows are read once.
func Compare(cfg *config.Config, files report.Files, c Conditions) ([]Method, error) {
	s, err := planned(cfg, files, c)
	if err != nil {
		return nil, err
	}
	defer s.Model.Close()
	var all []Method
	for _, w := range Ways() {
		row := Method{Name: w.Name, Trains: w.Trains, Settings: w.Settings(s.Model.Decoder.Layers)}
		t, err := changed(s, w.all(s.Model.Decoder.Layers))
		if err == nil {
			if err = t.PlanFor(c.Limits, c.Budget); err == nil {
				row.Forecast, err = describe(t, c)
			}
		}
		if err != nil {
			row.Refused = err.Error()
		}
		all = append(all, row)
	}
	return all, nil
}
