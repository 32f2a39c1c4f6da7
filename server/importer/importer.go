package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/config"
	_ "llamatab/engine/data" // registers the formats of data, which a run.json is checked against
	_ "llamatab/engine/peft" // registers the methods
)

// Note says what became of a setting that was not simply taken over.
type Note struct {
	Line int    // 1-based; 0 where the file has no lines, or the note is about no line of it
	Key  string // of the file
	Text string
}

func (n Note) String() string {
	if n.Line > 0 {
		return fmt.Sprintf("line %d: %s: %s", n.Line, n.Key, n.Text)
	}
	return fmt.Sprintf("%s: %s", n.Key, n.Text)
}

// Options say what a file cannot say.
type Options struct {
	From    string // a name of Trainers; "": found by the keys of the file
	Model   string // replaces the file's model
	Dataset string // replaces the file's dataset
}

// trainer is a program whose settings files are read.
type trainer struct {
	name string
	// marks are keys by which a file of this trainer is recognised, unless it has one of those of a trainer before it.
	marks []string
	// defaults are the settings that the trainer uses where a file has none, by path of run.json.
	defaults map[string]any
	// same maps keys to the paths of run.json that have their meaning and values.
	same map[string]string
	// finish takes over the settings that need more than another name.
	finish func(r *reading)
}

// trainers are asked in this order whether a file is theirs. The last takes what no other takes.
var trainers = []trainer{axolotl, llamaFactory, trl}

// Trainers names the trainers whose files are read.
func Trainers() (names []string) {
	for _, t := range trainers {
		names = append(names, t.name)
	}
	return names
}

// Import reads a settings file. It returns a run.json that llamatab accepts, the name of the trainer that the file is for, and
// what it did not take over. Errors are those of a file that cannot be read, or that names no model or dataset.
func Import(data []byte, o Options) (run []byte, from string, notes []Note, err error) {
	settings, err := read(data)
	if err != nil {
		return nil, "", nil, err
	}
	t, err := trainerOf(settings, o.From)
	if err != nil {
		return nil, "", nil, err
	}
	r := &reading{settings: settings, options: o, run: map[string]any{}}
	for path, value := range t.defaults {
		r.put(path, value)
	}
	// Hugging Face's Trainer decays neither norms nor biases.
	r.put("training.no_decay", []any{`\.bias$`, `norm\.weight$`})
	for i := range settings {
		if path, ok := t.same[settings[i].key]; ok {
			if s := r.take(settings[i].key); s.value != nil {
				r.set(s, path, s.value)
			}
		}
	}
	t.finish(r)
	for path, value := range map[string]string{"model": o.Model, "dataset.path": o.Dataset} {
		if value != "" {
			r.sources = append(r.sources, source{pairs: []pair{{path, value}}})
		}
	}
	if r.get("model") == nil {
		return nil, "", nil, errors.New("the file names no model: give --model")
	}
	if r.get("dataset.path") == nil {
		return nil, "", nil, errors.New("the file names no dataset: give --dataset")
	}
	r.explainRest()
	// Model and dataset come first: without them nothing else could be tried.
	r.put("model", r.get("model"))
	r.put("dataset.path", r.get("dataset.path"))
	base, err := json.Marshal(r.run)
	if err == nil {
		_, err = config.Parse(base, "")
	}
	if err != nil {
		return nil, "", nil, err
	}
	if err := r.accept(); err != nil {
		return nil, "", nil, err
	}
	slices.SortStableFunc(r.notes, func(a, b Note) int { return a.Line - b.Line })
	text, err := json.Marshal(r.run)
	if err != nil {
		return nil, "", nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return nil, "", nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), t.name, r.notes, nil
}

// trainerOf finds the trainer of a name, or the one whose keys the file has.
func trainerOf(settings []setting, name string) (*trainer, error) {
	for i, t := range trainers {
		if t.name == name {
			return &trainers[i], nil
		}
	}
	if name != "" {
		return nil, fmt.Errorf("unknown trainer %q: use one of %s", name, strings.Join(Trainers(), ", "))
	}
	for i, t := range trainers {
		if slices.ContainsFunc(settings, func(s setting) bool { return slices.Contains(t.marks, s.key) }) {
			return &trainers[i], nil
		}
	}
	return nil, errors.New("none of its keys is one of axolotl, LLaMA-Factory or Hugging Face's TrainingArguments")
}

// pair is a path of run.json and its value.
type pair struct {
	path  string
	value any
}

// source is what a setting of the file sets, all of it or nothing. from is nil for an option of the command.
type source struct {
	pairs []pair
	from  *setting
}

// reading is a file on its way into a run.json.
type reading struct {
	settings []setting
	options  Options
	taken    []string // keys that have been looked at
	run      map[string]any
	sources  []source // in the order in which they were set
	notes    []Note
}

// take returns a setting of the file, nil if there is none. It counts as looked at.
func (r *reading) take(key string) *setting {
	r.taken = append(r.taken, key)
	for i := range r.settings {
		if r.settings[i].key == key {
			return &r.settings[i]
		}
	}
	return nil
}

// value is the value of a setting of the file, nil if there is none.
func (r *reading) value(key string) any {
	if s := r.take(key); s != nil {
		return s.value
	}
	return nil
}

// note records what became of a setting.
func (r *reading) note(s *setting, format string, args ...any) {
	r.notes = append(r.notes, Note{s.line, clip(s.key), fmt.Sprintf(format, args...)})
}

// put sets a value of the run that the importer itself knows to be right.
func (r *reading) put(path string, value any) {
	section, key, nested := strings.Cut(path, ".")
	if !nested {
		r.run[path] = value
		return
	}
	object, _ := r.run[section].(map[string]any)
	if object == nil {
		object = map[string]any{}
		r.run[section] = object
	}
	object[key] = value
}

// set sets a value that stands in the file. If llamatab refuses it, it is left out again with a note.
func (r *reading) set(s *setting, path string, value any) {
	r.sources = append(r.sources, source{[]pair{{path, number(path, value)}}, s})
}

// get is the value at a path, nil for none.
func (r *reading) get(path string) any {
	for i := len(r.sources) - 1; i >= 0; i-- {
		for _, p := range r.sources[i].pairs {
			if p.path == path {
				return p.value
			}
		}
	}
	section, key, nested := strings.Cut(path, ".")
	if !nested {
		return r.run[path]
	}
	object, _ := r.run[section].(map[string]any)
	return object[key]
}

// texts are the paths whose values are texts. Everywhere else a text that spells a number is one: YAML in Python reads 2e-4 so.
var texts = []string{"model", "dataset.path", "dataset.format", "training.lr_scheduler_type", "training.resume_from_checkpoint"}

// number turns the text of a number into the number.
func number(path string, value any) any {
	text, ok := value.(string)
	if !ok || slices.Contains(texts, path) {
		return value
	}
	var f json.Number
	if json.Unmarshal([]byte(strings.TrimSpace(text)), &f) == nil && f != "" {
		return f
	}
	return value
}

// truth is the value of a setting that is true or false, as Python's YAML reads it.
func truth(s *setting) bool {
	if s == nil {
		return false
	}
	switch v := s.value.(type) {
	case bool:
		return v
	case string:
		return slices.Contains([]string{"true", "yes", "on", "auto"}, strings.ToLower(v))
	}
	return false
}

// count is the value of a setting that is a whole number.
func count(s *setting) (int, bool) {
	if s == nil {
		return 0, false
	}
	n, ok := s.value.(int64)
	if text, is := s.value.(string); is {
		var err error
		if n, err = json.Number(strings.TrimSpace(text)).Int64(); err == nil {
			ok = true
		}
	}
	return int(n), ok
}

// word is the value of a setting that is a text, "" for none.
func word(s *setting) string {
	if s == nil {
		return ""
	}
	text, _ := s.value.(string)
	return text
}

// empty reports whether a value asks for nothing.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case int64:
		return v == 0
	case float64:
		return v == 0
	case string:
		return v == "" || v == "no" || v == "none"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// explainRest makes a note for every setting that nobody has looked at and that asks for something.
func (r *reading) explainRest() {
	for i := range r.settings {
		s := &r.settings[i]
		if slices.Contains(r.taken, s.key) || empty(s.value) {
			continue
		}
		switch advice := config.TrainerAdvice(s.key); {
		case r.run["peft"] == nil && (strings.HasPrefix(s.key, "lora_") || strings.HasPrefix(s.key, "peft_")):
			r.note(s, "left out: the file asks for no LoRA adapter")
		case advice != "":
			r.note(s, "left out: %s", advice)
		default:
			r.note(s, "left out: llamatab has no such setting")
		}
	}
}

// accept puts each setting of the file into the run, as far as llamatab accepts it.
func (r *reading) accept() error {
	slices.SortStableFunc(r.sources, func(a, b source) int {
		return turn(a) - turn(b)
	})
	for _, s := range r.sources {
		before, err := json.Marshal(r.run)
		if err != nil {
			return err
		}
		for _, p := range s.pairs {
			r.put(p.path, p.value)
		}
		after, err := json.Marshal(r.run)
		if err != nil {
			return err
		}
		if _, err = config.Parse(after, ""); err == nil {
			continue
		}
		if s.from == nil {
			return err
		}
		reason := err.Error()
		if bad, ok := errors.AsType[*config.Error](err); ok {
			reason = strings.TrimSuffix(bad.Path+": "+bad.Message+"; "+bad.Next, "; ")
		}
		r.note(s.from, "left out: %s", reason)
		r.run = map[string]any{}
		if err := json.Unmarshal(before, &r.run); err != nil {
			return err
		}
	}
	return nil
}

// turn orders settings so that each comes after those that it needs: evaluations need held-out rows, and what depends on the
// best evaluation needs evaluations.
func turn(s source) int {
	switch path := s.pairs[0].path; {
	case strings.HasPrefix(path, "dataset."):
		return 0
	case path == "training.early_stopping_patience", path == "training.load_best_model_at_end":
		return 2
	}
	return 1
}
