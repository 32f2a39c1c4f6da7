package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/peft"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// change says what becomes of a setting that differs between a checkpoint's run and the run that resumes from it.
type change int

const (
	refused  change = iota // it decides what the steps before the checkpoint computed, or which rows they trained on
	reported               // it applies to the steps that follow, and a remark names both values
	free                   // it does not change what is computed
	rows                   // it is one of the settings that decide the rows: free if the rows are the same
)

// changes are the settings that may differ, by path. Every other setting is refused, so a new setting is refused until
// somebody has decided that it is harmless.
var changes = map[string]change{
	"model":        reported, // a folder may have been moved
	"kernels":      free,     // the checkpoint's table is used
	"init_adapter": free,     // the checkpoint's adapter is used
	"fsdp":         free,     // a run over tabs does not resume from a checkpoint

	"dataset.path":            rows,
	"dataset.format":          rows,
	"dataset.columns":         rows,
	"dataset.max_length":      rows,
	"dataset.packing":         rows,
	"dataset.train_on_prompt": rows,
	"dataset.template":        rows,
	"dataset.on_bad_row":      rows,

	"training.learning_rate":           reported, // the page's advice for a loss that is not finite is to resume at half of it
	"training.max_steps":               reported,
	"training.num_train_epochs":        reported,
	"training.gradient_checkpointing":  free, // a block that is computed again has the same bits
	"training.eval_on_start":           free,
	"training.eval_steps":              reported,
	"training.save_steps":              free,
	"training.save_total_limit":        free,
	"training.resume_from_checkpoint":  free,
	"training.early_stopping_patience": reported,
	"training.load_best_model_at_end":  reported,
	"training.on_nonfinite":            reported,
	"training.on_spike":                reported,
}

// difference is a setting with the value of this run and that of the checkpoint's run.
type difference struct {
	path      string
	now, then any
}

func (d difference) String() string {
	return fmt.Sprintf("%s is %s, the checkpoint's is %s", d.path, spelled(d.now), spelled(d.then))
}

// spelled is a value as JSON, cut to a length that fits into a message.
func spelled(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const most = 120
	if s := []rune(string(text)); len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(text)
}

// compareWithCheckpoint compares the run with that of the checkpoint it resumes from. A setting that decided what the steps
// before the checkpoint computed is an error that names both values. One that applies only to the steps that follow is a
// remark.
func (s *Setup) compareWithCheckpoint(cfg *config.Config) error {
	files := s.Model.Files.Resume
	fail := func(next string, err error) error {
		return report.Fail("resume", report.ExitConfig, next, fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	const complete = "Choose a complete checkpoint-N folder."
	if err := s.verifyCheckpoint(); err != nil {
		return err
	}
	raw, err := pretrained.ReadSmall(files, message.StateFile)
	if err != nil {
		return fail(complete, err)
	}
	var state struct {
		Fingerprint string `json:"dataset_fingerprint"`
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return fail(complete, fmt.Errorf("%s: %w", message.StateFile, err))
	}
	if raw, err = pretrained.ReadSmall(files, "run.json"); err != nil {
		return fail(complete, err)
	}
	then, err := config.Parse(raw, "run.json")
	if err != nil {
		return fail(complete, err)
	}
	bad, remarks, err := s.differences(cfg, then, state.Fingerprint)
	if err != nil {
		return fail("", err)
	}
	if len(bad) > 0 {
		next := "Use the settings of the checkpoint's run."
		switch {
		case s.sameAdapter(cfg.PEFT, then.PEFT) != nil: // init_adapter would refuse it as well
		case cfg.PEFT != nil:
			next += " To begin a new run from its weights, set init_adapter to its folder and leave training.resume_from_checkpoint out."
		default:
			next += " To begin a new run from its weights, set model to its folder and leave training.resume_from_checkpoint out."
		}
		return fail(next, errors.New(strings.Join(bad, "; ")))
	}
	if len(remarks) > 0 {
		s.Model.Remarks = append(s.Model.Remarks, message.NewRemark("resumed_with_changes", "the resumed run differs from the checkpoint's from here on: {changes}", "changes", strings.Join(remarks, "; ")))
	}
	return nil
}

// verifyCheckpoint holds the files of the checkpoint that the run resumes from against their checksums. A checkpoint without any
// is a remark.
func (s *Setup) verifyCheckpoint() error {
	checked, err := pretrained.Verify(s.Model.Files.Resume)
	switch {
	case errors.As(err, new(*pretrained.Damaged)):
		return report.Fail("damaged", report.ExitFailed, "Choose an earlier checkpoint-N folder, or begin the run again. If its files were changed on purpose, remove its checksums.json.", fmt.Errorf("resume_from_checkpoint: %w", err))
	case err != nil:
		return report.Fail("resume", report.ExitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: %w", err))
	case !checked:
		s.Model.Remarks = append(s.Model.Remarks, message.NewRemark("checkpoint_unchecked", "the checkpoint has no checksums: damage to its files would not be noticed"))
	}
	return nil
}

// differences lists what differs between a run and that of a checkpoint: what is refused, and what is reported. fingerprint is
// that of the checkpoint's dataset, "" if the checkpoint does not say it.
func (s *Setup) differences(now, then *config.Config, fingerprint string) (bad, remarks []string, err error) {
	if err := s.sameAdapter(now.PEFT, then.PEFT); err != nil {
		bad = append(bad, err.Error())
	}
	a, err := settingsOf(now)
	if err != nil {
		return nil, nil, err
	}
	b, err := settingsOf(then)
	if err != nil {
		return nil, nil, err
	}
	sameRows := fingerprint == s.Fingerprint
	if now.Training.WarmupRatio > 0 || then.Training.WarmupRatio > 0 {
		// Such a warm-up is as long as that part of the resumed run, as in transformers.
		delete(a, "training.warmup_steps")
		delete(b, "training.warmup_steps")
	}
	paths := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		d := difference{path, a[path], b[path]}
		if spelled(d.now) == spelled(d.then) {
			continue
		}
		switch kind := changes[path]; {
		case kind == free, kind == rows && sameRows:
		case kind == reported && !s.movesRows(path, now, then), kind == rows && fingerprint == "" && path == "dataset.path":
			remarks = append(remarks, d.String())
		default:
			bad = append(bad, d.String())
		}
	}
	if fingerprint != "" && !sameRows && !slices.ContainsFunc(bad, func(b string) bool { return strings.HasPrefix(b, "dataset.") }) {
		bad = append(bad, fmt.Sprintf("%s has other rows or other token ids than the checkpoint's dataset had", s.Train.Name))
	}
	return bad, remarks, nil
}

// movesRows reports whether a change of the run's length also changes which rows the steps before the checkpoint took: a run of
// epochs ends each epoch with a smaller step, a run of max_steps does not.
func (s *Setup) movesRows(path string, now, then *config.Config) bool {
	if path != "training.max_steps" || (now.Training.MaxSteps > 0) == (then.Training.MaxSteps > 0) {
		return false
	}
	return s.Train.Len()%(now.Training.BatchSize*now.Micro()) != 0
}

// sameAdapter compares adapters after the defaults of the model have been filled in. The settings that decide only how an
// adapter starts may differ.
func (s *Setup) sameAdapter(now, then *config.PEFT) error {
	if (now == nil) != (then == nil) {
		return errors.New("peft is null in one of the runs, and an adapter in the other")
	}
	if now == nil {
		return nil
	}
	a, b := *now, *then
	if err := errors.Join(peft.Resolve(s.Model.Decoder, &a), peft.Resolve(s.Model.Decoder, &b)); err != nil {
		return nil // Model.Adapt reports it
	}
	if err := a.SameMaths(&b); err != nil {
		return errors.New("peft: " + strings.TrimPrefix(err.Error(), "config: "))
	}
	return nil
}

// settingsOf lists the settings of a config by path, except peft. Settings that describe the same run have the same spelling.
func settingsOf(c *config.Config) (map[string]any, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	all := map[string]any{}
	for key, value := range tree {
		section, isObject := value.(map[string]any)
		switch {
		case key == "peft":
		case key == "trainable":
			all[key] = sortedParts(value)
		case isObject && (key == "dataset" || key == "training" || key == "precision"):
			for name, v := range section {
				all[key+"."+name] = v
			}
		default:
			all[key] = value
		}
	}
	return all, nil
}

// sortedParts are the entries of trainable in an order of their own, without the file that an added head starts from.
func sortedParts(value any) any {
	list, _ := value.([]any)
	var parts []string
	for _, part := range list {
		if head, ok := part.(map[string]any); ok {
			delete(head, "init")
		}
		parts = append(parts, spelled(part))
	}
	slices.Sort(parts)
	return parts
}
