package forecast

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// together is the code of a choice of several remedies.
const together = "together"

// remedy is one kind of change that saves memory.
type remedy struct {
	code string
	// try lists the changes that can be made to a run, the least harm first and each saving more than the one before.
	try func(s *replay.Setup) [][]message.Change
	// text says what the last change made means, given the changed run.
	text func(s *replay.Setup) string
}

// remedies in the order of the harm that they do: to the time of a step, to what a step sees, to how exactly it
// computes, to what can be learnt.
var remedies = []remedy{
	{"checkpointing", tryCheckpointing, func(*replay.Setup) string {
		return "Compute activations again in the backward pass instead of keeping them: the result is the same, a step takes about a third longer"
	}},
	{"micro_batch", tryMicroBatch, func(s *replay.Setup) string {
		return fmt.Sprintf("Take micro-batches of %d: a step still sees %d rows", s.BatchRows, s.BatchRows*s.Config.Training.Accumulation)
	}},
	{"max_length", tryLength, func(s *replay.Setup) string {
		if s.Train.Stats.Packed > 0 {
			return fmt.Sprintf("Pack rows of %d tokens: of a longer sample the rest is lost", s.Train.Length)
		}
		return fmt.Sprintf("Cut rows to %d tokens: what is longer is lost", s.Longest())
	}},
	{"bf16", tryBF16, func(*replay.Setup) string {
		return "Keep weights and activations in bfloat16: half the bytes, about three digits"
	}},
	{"fewer_layers", tryFewerLayers, func(s *replay.Setup) string {
		return fmt.Sprintf("Train fewer blocks: %s", s.Config.Trainable[0])
	}},
	{"lora", tryLoRA, func(s *replay.Setup) string {
		trainable, _ := s.Layout.Counts()
		return fmt.Sprintf("Train a LoRA adapter of %d parameters beside the frozen model", trainable)
	}},
	{"smaller_model", trySmallerModel, func(s *replay.Setup) string {
		_, total := s.Layout.Counts()
		return fmt.Sprintf("Take a smaller model: %s has %d parameters", s.Config.Model.Path, total)
	}},
}

// change spells one; value is anything that JSON can hold.
func change(path string, value any) message.Change {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // a fault of ours
	}
	return message.Change{Path: path, Value: raw}
}

func tryCheckpointing(s *replay.Setup) [][]message.Change {
	if s.Recompute >= s.Model.Decoder.Layers || s.Config.Training.Checkpointing == config.CheckpointAuto {
		return nil
	}
	return [][]message.Change{{change("training.gradient_checkpointing", true)}}
}

func tryMicroBatch(s *replay.Setup) (all [][]message.Change) {
	rows := s.BatchRows * s.Config.Training.Accumulation
	for b := s.BatchRows - 1; b > 0; b-- {
		if rows%b == 0 {
			all = append(all, []message.Change{change("training.per_device_train_batch_size", b), change("training.gradient_accumulation_steps", rows/b)})
		}
	}
	return all
}

// shortest is the row length, in tokens, below which there is little left to learn from.
const shortest = 32

func tryLength(s *replay.Setup) (all [][]message.Change) {
	least := shortest
	if _, free := s.Model.Files.Dataset.(imaginedFolder); s.Train.Format == "tokens" && !free {
		if s.Train.Stats.Packed == 0 {
			return nil // rows of tokens are never cut
		}
		least = max(least, s.Train.LongestPart())
	}
	for n := 1 << 20; n >= least; n /= 2 {
		if n < s.Longest() {
			all = append(all, []message.Change{change("dataset.max_length", n)})
		}
	}
	return all
}

func tryBF16(s *replay.Setup) [][]message.Change {
	if s.Config.Precision.ParamDType != "float32" {
		return nil
	}
	return [][]message.Change{{change("precision.param_dtype", "bfloat16")}}
}

func tryFewerLayers(s *replay.Setup) (all [][]message.Change) {
	if len(s.Config.Trainable) != 1 || s.Config.PEFT != nil {
		return nil
	}
	most := s.Model.Decoder.Layers
	switch text := s.Config.Trainable[0].Select; {
	case text == "all":
	case strings.HasPrefix(text, "layers:last:"):
		if n, err := strconv.Atoi(strings.TrimPrefix(text, "layers:last:")); err == nil {
			most = min(most, n-1)
		}
	default:
		return nil
	}
	for n := most; n > 0; n /= 2 {
		all = append(all, []message.Change{change("trainable", []string{fmt.Sprintf("layers:last:%d", n)})})
	}
	return all
}

func tryLoRA(s *replay.Setup) [][]message.Change {
	if s.Config.PEFT != nil {
		return nil
	}
	adapter := map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": []string{"q_proj", "v_proj"}}
	return [][]message.Change{{change("trainable", []string{}), change("unfreeze", []string{}), change("peft", adapter)}}
}

func trySmallerModel(s *replay.Setup) (all [][]message.Change) {
	_, total := s.Layout.Counts()
	for _, m := range slices.Backward(plan.Models) {
		if m.Parameters < total && m.Parameters >= leastKnown {
			all = append(all, []message.Change{change("model", m.Repo)})
		}
	}
	return all
}

// leastKnown keeps the models that are made for tests from being offered.
const leastKnown = 100e6

// choices lists what would make the run fit, the least harm first. A remedy that is not enough by itself is listed with
// the most that it saves; where none that does as little harm is enough, several are put together.
func choices(s *replay.Setup, l device.Limits, budget int64) (all []message.Choice) {
	if s.Config == nil {
		return nil
	}
	// apply makes the first change of a remedy that is enough, or the last where none is.
	apply := func(s *replay.Setup, r remedy) (*replay.Setup, []message.Change) {
		ways := r.try(s)
		made := make([]*replay.Setup, len(ways))
		enough := func(i int) bool {
			if made[i] == nil {
				t, err := changed(s, ways[i])
				if err == nil {
					err = t.PlanFor(l, budget)
				}
				if err != nil {
					return false // this program, or this run, does not offer it
				}
				made[i] = t
			}
			return made[i].Memory.Check(l, budget) == nil
		}
		i := len(ways) - 1
		if i >= 0 && enough(i) {
			i = sort.Search(i, enough)
		}
		if i < 0 || made[i] == nil {
			return nil, nil
		}
		return made[i], ways[i]
	}
	at, enough := s, false // with all remedies so far
	var changes []message.Change
	var texts []string
	for _, r := range remedies {
		t, made := apply(s, r)
		if t != nil && t.Memory.Total() < s.Memory.Total() {
			c := message.Choice{Code: r.code, Changes: made, Bytes: t.Memory.Total(), Fits: t.Memory.Check(l, budget) == nil}
			c.Text = sentence(r.text(t), c.Changes, c.Bytes)
			all = append(all, c)
			enough = enough || c.Fits
		}
		if enough {
			continue
		}
		if t, made = apply(at, r); t == nil || t.Memory.Total() >= at.Memory.Total() {
			continue
		}
		at, changes, texts = t, over(changes, made), append(texts, r.text(t))
		if enough = at.Memory.Check(l, budget) == nil; enough && len(texts) > 1 {
			all = append(all, message.Choice{
				Code: together, Changes: changes, Bytes: at.Memory.Total(), Fits: true,
				Text: sentence(strings.Join(texts, ". "), changes, at.Memory.Total()),
			})
		}
	}
	return all
}

// over puts later changes over earlier ones of the same path.
func over(changes, more []message.Change) []message.Change {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c message.Change) bool {
		return slices.ContainsFunc(more, func(m message.Change) bool { return m.Path == c.Path })
	})
	return append(changes, more...)
}

// sentence is a choice in words.
func sentence(text string, changes []message.Change, bytes int64) string {
	var sets []string
	for _, c := range changes {
		sets = append(sets, fmt.Sprintf("%s %s", c.Path, c.Value))
	}
	return fmt.Sprintf("%s. Set %s (%s).", text, strings.Join(sets, ", "), plan.Bytes(bytes))
}

// with is cfg with other values.
func with(cfg *config.Config, changes []message.Change) (*config.Config, error) {
	raw, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	var sets []string
	for _, c := range changes {
		sets = append(sets, c.Path+"="+string(c.Value))
	}
	return config.ParseWithSets(raw, "run.json", sets)
}

// changed is the run with other values in its config, prepared over the same files.
func changed(s *replay.Setup, changes []message.Change) (*replay.Setup, error) {
	cfg, err := with(s.Config, changes)
	if err != nil {
		return nil, err
	}
	files := s.Model.Files
	if cfg.Model.Path != s.Config.Model.Path {
		known, _ := plan.FindModel(cfg.Model.Path)
		if files, err = Imagine(known, cfg); err != nil {
			return nil, err
		}
	}
	files.Resume, files.Adapter = nil, nil // what they hold takes no memory of its own
	m, err := pretrained.OpenWithoutTokenizer(files, cfg.Model.Random, cfg.Training.Seed)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	t := replay.NewSetup(cfg, m, s.Limits)
	t.Train, t.Valid = cut(s.Train, cfg), cut(s.Valid, cfg)
	t.Model.Files.Dataset = s.Model.Files.Dataset
	return t, t.Prepare(cfg)
}

// cut shortens the rows of a dataset that may be nil to dataset.max_length. Packed rows are packed again.
func cut(ds *data.Dataset, cfg *config.Config) *data.Dataset {
	most := cfg.Dataset.MaxLength
	if ds == nil || most == nil || ds.Longest() <= *most {
		return ds
	}
	short := ds.Unpack().Cut(*most)
	if ds.Stats.Packed > 0 {
		return short.Pack(cfg.Dataset.Shuffle, cfg.Training.Seed)
	}
	return short
}

// check refuses what does not fit, and says by how much and what would make it fit.
func check(s *replay.Setup, l device.Limits, budget int64) error {
	err := s.Memory.Check(l, budget)
	if err == nil {
		return nil
	}
	refusal := &report.Error{Code: "does_not_fit", Exit: report.ExitFailed, Err: fmt.Errorf("memory: %w", err), Choices: choices(s, l, budget)}
	enough := slices.IndexFunc(refusal.Choices, func(c message.Choice) bool { return c.Fits })
	switch {
	case s.Decodes:
		refusal.Next = "Ask for fewer new tokens with --max-new-tokens, or choose a smaller model."
	case enough >= 0:
		refusal.Next = refusal.Choices[enough].Text
	default:
		refusal.Next = "Choose a smaller model, or an adapter (GPU) with larger limits."
	}
	return refusal
}

// Fit plans for limits and a budget, and checks the plan.
func Fit(s *replay.Setup, l device.Limits, budget int64) error {
	if err := s.PlanFor(l, budget); err != nil {
		return err
	}
	return check(s, l, budget)
}
