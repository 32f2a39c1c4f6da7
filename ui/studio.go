package ui

import (
	"encoding/json"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Studio is the screen where a run is put together. Its state is a run.json: every control reads and writes it, and
// what nobody has set is left out of it. The engine says what keys there are, checks every change and plans it.
type Studio struct {
	*Words
	Model, Data choice
	Models      []offer // of the server
	Datasets    []serverFile
	Config      Tree
	About       description
	Recipes     []recipe        // of the server
	Recipe      string          // the one that is looked at
	Budget      string          // GPU memory that may be planned, in GB as typed, "" for no limit but the adapter's
	Plan        *forecast       // of the config as it stands, nil while there is none
	Problem     Text            // why the run cannot start
	Fault       *message.Failed // what the engine says against the config
	Preview     *message.DataPreview
	DataFault   *message.Failed // what the engine says against the data
	More        bool            // all settings are shown
	JSON        bool            // run.json is shown
	Blocks      bool            // the plan is shown by block
	Comparing   bool            // all ways are shown side by side
	Ways        []way           // nil until the engine has planned them
	Shared      string          // the link that was copied
	TooLong     bool            // the settings do not go into a link
	Lesson      bool            // they came in a link for a lesson: model and data are to be chosen, no more
	Lock        bool            // a link is to be one for a lesson

	raw      map[string]string // texts of controls that are no values of their keys
	fields   map[string]*Field // by path
	auto     map[string]bool   // paths set by the page, as long as nobody sets them
	planning bool              // the engine has been asked
	stale    bool              // and something has changed since
	seen     string            // the data that the preview is of
	offered  bool              // the server has said what it has
	wanted   [2]string         // model and data that a config names, until then
	resuming *keptRun          // its files are to be chosen again
	page     *Page
}

// offer is a model of the server.
type offer struct {
	Name  string       `json:"name"`
	Files []serverFile `json:"files"`
}

// description is what the engine says that a run.json may hold.
type description struct {
	Defaults Tree                `json:"defaults"`
	Methods  []method            `json:"methods"`
	Choices  map[string][]option `json:"choices"`
	Parts    []option            `json:"parts"`
}

type option struct {
	Value   string `json:"value"`
	Refused string `json:"refused"`
}

type method struct {
	option
	Defaults Tree `json:"defaults"`
}

// recipe is a ready answer to "what should I do?".
type recipe struct {
	Name   string            `json:"name"`
	Title  map[string]string `json:"title"` // by language
	Why    map[string]string `json:"why"`
	Config Tree              `json:"config"`
}

func newStudio(p *Page) *Studio {
	s := &Studio{Words: p.Words, Budget: p.host.Remembered("budget"), page: p}
	s.reset(Tree{
		"dataset":  map[string]any{"max_length": 256.0},
		"peft":     map[string]any{"peft_type": "LORA", "r": 8.0, "lora_alpha": 16.0, "target_modules": "all-linear"},
		"training": map[string]any{"max_steps": 100.0},
	})
	return s
}

// reset takes over a config.
func (s *Studio) reset(config Tree) {
	s.Config, s.raw, s.fields, s.auto = config, map[string]string{}, map[string]*Field{}, map[string]bool{}
	s.suggest()
}

// describe takes the engine's description.
func (s *Studio) describe(text json.RawMessage) {
	var d description
	if json.Unmarshal(text, &d) == nil {
		s.About = d
	}
	s.changed()
}

// dataTypes are the endings of files that can be data.
var dataTypes = []string{".jsonl", ".json", ".txt", ".text", ".md", ".csv"}

// offer takes what the server has. Where it has just one model and nothing is chosen, that is chosen.
func (s *Studio) offer(models []offer, data []serverFile) {
	for i, m := range models {
		for j := range m.Files {
			models[i].Files[j].URL = "/api/models/" + escape(m.Name) + "/" + escape(m.Files[j].Name)
		}
	}
	data = slices.DeleteFunc(data, func(f serverFile) bool {
		return !strings.HasPrefix(f.Name, "builtin:") && !slices.Contains(dataTypes, path.Ext(f.Name))
	})
	for i := range data {
		data[i].URL = "/api/data/" + escape(data[i].Name)
	}
	s.Models, s.Datasets, s.offered = models, data, true
	if s.wanted != [2]string{} {
		s.find()
	}
	if len(models) > 0 && !s.Model.Usable() {
		s.TakeModel(models[0].Name)
	}
}

func escape(name string) string {
	return strings.NewReplacer("%", "%25", "/", "%2F", "?", "%3F", "#", "%23", " ", "%20").Replace(name)
}

// TakeModel chooses a model of the server.
func (s *Studio) TakeModel(name string) {
	for _, m := range s.Models {
		if m.Name == name {
			s.Model = choice{Name: m.Name, Source: source{From: "server", Files: m.Files}}
			for _, f := range m.Files {
				s.Model.Bytes += f.Size
			}
		}
	}
	s.suggest()
	s.changed()
}

// TakeData chooses a data file of the server.
func (s *Studio) TakeData(name string) {
	for _, f := range s.Datasets {
		if f.Name == name {
			s.Data = choice{Name: f.Name, Bytes: f.Size, Source: source{From: "server", Files: []serverFile{f}}}
		}
	}
	s.changed()
}

// choose takes files of this computer.
func (s *Studio) choose(kind string, files []file) {
	if len(files) == 0 { // nothing chosen in a dialog keeps what was
		return
	}
	if kind == "model" {
		s.Model = chooseModel(files)
		s.suggest()
	} else {
		s.Data = chooseData(files)
	}
	s.Problem = ""
	s.changed()
}

// load takes a run.json. Model and data are chosen as far as the server has them.
// arrive takes the settings of a file, a drop or a link.
func (s *Studio) arrive(item incoming) {
	if item.Newer {
		s.Problem = s.T("config.newer")
		return
	}
	s.load(item.Text)
	s.Lesson = item.Lesson && s.Problem == ""
}

func (s *Studio) load(text string) {
	config, err := parseTree([]byte(text))
	if err != nil || text == "" {
		why := s.say("config.cut")
		if err != nil && text != "" {
			why = err.Error()
		}
		s.Problem = s.T("config.bad", "why", why)
		return
	}
	s.Problem = ""
	model, _ := config["model"].(string)
	data, _ := config.Get("dataset.path")
	name, _ := data.(string)
	delete(config, "model")
	config.Delete("dataset.path")
	s.reset(config)
	s.wanted = [2]string{model, name}
	if s.offered {
		s.find()
	}
}

// find chooses the model and the data that a config names, where the server has them, and says what is missing.
func (s *Studio) find() {
	model, data := s.wanted[0], s.wanted[1]
	s.wanted = [2]string{}
	s.TakeModel(model)
	s.TakeData(data)
	if model != "" && path.Base(model) != path.Base(s.Model.Name) {
		s.Problem = s.T("config.model", "name", model)
	} else if data != "" && path.Base(data) != path.Base(s.Data.Name) {
		s.Problem = s.T("config.data", "name", data)
	}
}

// tinyModel is the size in bytes below which a model learns at rates that would wreck a larger one.
const tinyModel = 100e6

// suggest sets what depends on method and model, where nobody has set it.
func (s *Studio) suggest() {
	tiny := s.Model.Usable() && s.Model.Bytes < tinyModel
	rate := 2e-4
	switch whole := s.trains("all"); {
	case whole && tiny:
		rate = 5e-4
	case whole:
		rate = 2e-5
	case tiny:
		rate = 1e-3
	}
	s.propose("training.learning_rate", rate)
	if p := s.Preview; p != nil && p.Total >= heldOutRows {
		s.propose("dataset.validation_split", math.Round(1000*min(0.1, heldOutMost/float64(p.Total)))/1000)
		if steps, ok := s.Config.Get("training.max_steps"); ok {
			if n, _ := steps.(float64); n >= 10 {
				s.propose("training.eval_steps", float64(int(n)/10))
			}
		}
	}
}

// heldOutRows is how many rows a dataset must have for a part of it to be held out without being asked for, a tenth but
// no more than heldOutMost rows: on a software GPU each evaluation of those takes as long as several steps.
const (
	heldOutRows = 40
	heldOutMost = 24
)

func (s *Studio) propose(path string, v any) {
	if _, set := s.Config.Get(path); !set || s.auto[path] {
		s.Config.Set(path, v)
		s.auto[path] = true
		delete(s.raw, path)
	}
}

// set writes a key as the person means it.
func (s *Studio) set(path string, v any) {
	s.Config.Set(path, v)
	delete(s.auto, path)
	s.suggest()
	s.changed()
}

// config is the run.json of what the controls say.
func (s *Studio) config() Tree {
	c := s.Config.Clone()
	c.Set("model", s.Model.Name) // for the record: the files themselves are handed over
	c.Set("dataset.path", s.Data.Name)
	return c
}

func (s *Studio) sources() map[string]source {
	return map[string]source{"model": s.Model.Source, "dataset": s.Data.Source}
}

// ready reports whether model and data are chosen.
func (s *Studio) ready() bool { return s.Model.Usable() && s.Data.Usable() }

// changed has the engine plan again, and look at the data again where they have changed. While it is at work only the
// last change counts.
func (s *Studio) changed() {
	s.page.Run.ready = s.ready()
	s.islands()
	if !s.ready() || s.page.Run.Stage.Active() || s.page.Screen != screenStudio {
		return
	}
	if s.planning {
		s.stale = true
		return
	}
	s.planning, s.stale = true, false
	config := s.config()
	s.look(config)
	gpu := s.page.GPU
	job := message.Job{
		Command: message.Plan, Config: config.JSON(), Mounts: map[string]string{"model": "", "dataset": ""},
		Plan: &message.PlanJob{MaxBuffer: gpu.MaxBuffer, MaxBinding: gpu.MaxBinding}, MemoryBudget: s.limit(),
	}
	s.page.ask(job, s.sources(), func(e message.Envelope) {
		switch {
		case e.Result != nil:
			s.Plan, s.Fault = new(forecast), nil
			json.Unmarshal(e.Result, s.Plan)
		case e.Failed != nil:
			s.Plan, s.Fault = nil, e.Failed
		}
		if e.Done != nil || e.Failed != nil {
			s.planning = false
			if s.stale {
				s.changed()
			} else if s.Comparing {
				s.compare()
			}
		}
	})
}

// look has the engine spell the first rows of the data.
func (s *Studio) look(config Tree) {
	data, _ := config["dataset"].(map[string]any)
	seen := strconv.FormatBool(s.classifies()) + s.Model.Name + " " + string(Tree(data).JSON()) + " " + strconv.FormatInt(s.Data.Bytes, 10)
	if seen == s.seen {
		return
	}
	s.seen = seen
	only := Tree{"model": s.Model.Name, "dataset": data, "trainable": []any{"all"}}
	if s.classifies() {
		only["trainable"] = []any{"score"}
	}
	job := message.Job{
		Command: message.Preview, Config: only.JSON(), Mounts: map[string]string{"model": "", "dataset": ""},
		Preview: &message.PreviewJob{Rows: 3, Tokens: 160},
	}
	s.page.ask(job, s.sources(), func(e message.Envelope) {
		switch {
		case e.Result != nil:
			first := s.Preview == nil
			s.Preview, s.DataFault = new(message.DataPreview), nil
			json.Unmarshal(e.Result, s.Preview)
			if s.suggest(); first {
				s.changed()
			}
			s.islands()
		case e.Failed != nil:
			s.Preview, s.DataFault = nil, e.Failed
		}
	})
}

// islands fills what is beside vugu.
func (s *Studio) islands() {
	if s.page.Screen != screenStudio {
		return
	}
	if s.Preview != nil {
		s.page.host.Call("preview", s.Preview, map[string]string{"trained": s.say("preview.trained")})
	}
	if s.JSON {
		s.page.host.Call("text", "config-text", s.config().Indented())
	}
}

// Start begins the run that the controls describe.
func (s *Studio) Start(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault() // the form goes nowhere
	}
	switch {
	case s.page.Run.Stage.Active():
		return
	case !s.Model.Usable():
		s.Problem = s.T("model.first")
		s.page.host.Call("focus", "model-input")
		return
	case !s.Data.Usable():
		s.Problem = s.T("data.first")
		s.page.host.Call("focus", "data-input")
		return
	}
	for path := range s.raw {
		s.Problem = s.T("setting.bad", "name", s.label(path), "value", strconv.Quote(s.raw[path]))
		s.page.host.Call("focus", fieldID(path))
		return
	}
	name := strings.TrimSuffix(path.Base(strings.TrimPrefix(s.Data.Name, "builtin:")), path.Ext(s.Data.Name))
	s.begin(name+" · "+string(s.methodName()), tryout{})
	s.page.refresh(time.Now())
}

func (s *Studio) begin(name string, first tryout) {
	s.Problem, s.resuming = "", nil
	steps := 0
	if v, ok := s.Config.Get("training.max_steps"); ok {
		n, _ := v.(float64)
		steps = max(0, int(n))
	}
	if steps == 0 && s.Plan != nil {
		steps = s.Plan.Steps
	}
	now := time.Now()
	config := s.config()
	meta := runMeta{
		ID: now.UTC().Format("20060102-150405.000"), Name: name, Created: now.UTC().Format(time.RFC3339Nano),
		Config: config.JSON(), Steps: steps, tryout: first,
	}
	job := message.Job{Command: message.Train, Config: meta.Config, MemoryBudget: s.limit(), Mounts: map[string]string{"model": "", "dataset": ""}}
	s.page.start(job, s.sources(), meta, 0)
}

// Upload, Save, Share and Apply are what can be done with run.json.
func (s *Studio) SaveJSON(vugu.DOMEvent) { s.page.host.Call("save", "run.json", s.config().Indented()) }
func (s *Studio) Share(vugu.DOMEvent)    { s.page.host.Call("share", string(s.config().JSON()), s.Lock) }
func (s *Studio) Apply(vugu.DOMEvent) {
	s.load(s.page.host.Value("config-text"))
	s.changed()
}

// ShowJSON opens or closes the run.json.
func (s *Studio) ShowJSON(vugu.DOMEvent) {
	s.JSON = !s.JSON
	s.islands()
}

// --- what trains ---

// noAdapter is the method of a run without one; dora is LoRA with its switch set.
const (
	noAdapter = "NONE"
	dora      = "DORA"
)

// Methods lists what may be chosen, as the engine knows it.
func (s *Studio) Methods() []option {
	var all []option
	for _, m := range s.About.Methods {
		all = append(all, m.option)
	}
	return append(all, option{Value: noAdapter})
}

// Method is the one that the config has.
func (s *Studio) Method() string {
	v, _ := s.Config.Get("peft.peft_type")
	kind, _ := v.(string)
	switch on, _ := s.Config.Get("peft.use_dora"); {
	case kind == "":
		return noAdapter
	case kind == "LORA" && on == true:
		return dora
	}
	return kind
}

// Choose switches the method. Without an adapter everything trains, until something else is chosen.
func (s *Studio) Choose(value string) {
	var own Tree
	kind := value
	if value == dora {
		kind = "LORA"
	}
	for path := range s.raw {
		if strings.HasPrefix(path, "peft.") {
			delete(s.raw, path)
		}
	}
	switch kind {
	case noAdapter:
		s.Config["peft"] = nil
		if !s.has("trainable") && !s.has("unfreeze") {
			s.Config["trainable"] = []any{"all"}
		}
	case "LORA":
		own = Tree{"r": 8.0, "lora_alpha": 16.0, "target_modules": "all-linear"}
		if value == dora {
			own["use_dora"] = true
		}
	case "PREFIX_TUNING", "PROMPT_TUNING":
		own = Tree{"num_virtual_tokens": 8.0}
	case "ADAPTION_PROMPT":
		own = Tree{"adapter_len": 10.0, "adapter_layers": 2.0}
	default:
		own = Tree{}
	}
	if own != nil {
		own["peft_type"] = kind
		s.Config["peft"] = map[string]any(own)
		if slices.Equal(s.parts(), []string{"all"}) {
			s.Tick("all")
		}
	}
	s.fields = map[string]*Field{}
	s.suggest()
	s.changed()
}

func (s *Studio) has(path string) bool {
	v, ok := s.Config.Get(path)
	list, _ := v.([]any)
	return ok && len(list) > 0
}

// parts are the words in trainable.
func (s *Studio) parts() (words []string) {
	list, _ := s.Config["trainable"].([]any)
	for _, p := range list {
		if word, ok := p.(string); ok {
			words = append(words, word)
		}
	}
	return words
}

// trains reports whether a word is in trainable.
func (s *Studio) trains(part string) bool { return slices.Contains(s.parts(), part) }

// Parts are the words that can be ticked; those that need more go into the setting below.
func (s *Studio) Parts() []option {
	return slices.DeleteFunc(slices.Clone(s.About.Parts), func(o option) bool { return strings.HasPrefix(o.Value, "regex:") })
}

// Tick puts a part into trainable or takes it out.
func (s *Studio) Tick(part string) {
	list, _ := s.Config["trainable"].([]any)
	list = slices.Clone(list)
	if i := slices.Index(list, any(part)); i >= 0 {
		list = slices.Delete(list, i, i+1)
	} else {
		list = append(list, part)
	}
	s.setTrainable(list)
	s.suggest()
	s.changed()
}

func (s *Studio) PartText(o option) Text {
	if s.Has("part." + o.Value) {
		return s.T("part." + o.Value)
	}
	return Text(o.Value)
}

func (s *Studio) methodName() Text { return s.T("method." + s.Method()) }

// Why says why an option cannot be chosen here, or "".
func (s *Studio) Why(o option) Text {
	if o.Refused == "" {
		return ""
	}
	return s.T("refused")
}

// Take takes the recipe that is looked at. Model and data stay.
func (s *Studio) Take(vugu.DOMEvent) {
	r := s.recipe()
	if r == nil {
		return
	}
	config := r.Config.Clone()
	delete(config, "model")
	config.Delete("dataset.path")
	s.reset(config)
	s.changed()
}

func (s *Studio) recipe() *recipe {
	for i := range s.Recipes {
		if s.Recipes[i].Name == s.Recipe {
			return &s.Recipes[i]
		}
	}
	return nil
}

func (s *Studio) RecipeTitle(r recipe) Text { return Text(r.Title[s.Lang()]) }

// RecipeWhy says for what the recipe is that is looked at.
func (s *Studio) RecipeWhy() Text {
	if r := s.recipe(); r != nil {
		return Text(r.Why[s.Lang()])
	}
	return ""
}

// --- what it takes ---

// Choices are the changes with which the run fits, the least harm first.
func (s *Studio) Choices() []message.Choice {
	var all []message.Choice
	switch {
	case s.Plan != nil:
		all = s.Plan.Choices
	case s.Fault != nil:
		all = s.Fault.Choices
	}
	return slices.DeleteFunc(slices.Clone(all), func(c message.Choice) bool { return !c.Fits })
}

// OtherModel reports whether a choice is another model, which is for the person to choose.
func (s *Studio) OtherModel(c message.Choice) bool { return c.Code == "smaller_model" }

// Fix makes the changes of a choice.
func (s *Studio) Fix(c message.Choice) {
	for _, change := range c.Changes {
		var v any
		if json.Unmarshal(change.Value, &v) == nil {
			s.Config.Set(change.Path, v)
			delete(s.auto, change.Path)
			delete(s.raw, change.Path)
		}
	}
	s.suggest()
	s.changed()
}

// FixText says what a choice changes, and what the run takes then.
func (s *Studio) FixText(c message.Choice) Text {
	text := c.Text
	if key := "fix." + c.Code; s.Has(key) {
		text = s.say(key)
	}
	for _, change := range c.Changes {
		v := strings.Trim(string(change.Value), `"`)
		if key := "option." + change.Path + "." + v; s.Has(key) {
			v = s.say(key)
		}
		if len(v) < 24 {
			text += " · " + string(s.label(change.Path)) + " → " + v
		}
	}
	return Text(text + " (" + Bytes(c.Bytes) + ")")
}

// FaultText is what the engine has against the config, FaultDetail its own words.
func (s *Studio) FaultText() Text   { return s.against(s.fault()) }
func (s *Studio) FaultDetail() Text { return s.detail(s.fault()) }

// fault is that of the config, unless it is the data's, which stands beside the data.
func (s *Studio) fault() *message.Failed {
	if s.Fault == nil || s.DataFault != nil && s.Fault.Message == s.DataFault.Message {
		return nil
	}
	return s.Fault
}

// DataText says what is known of the data.
func (s *Studio) DataText() Text {
	p := s.Preview
	if p == nil || !s.Data.Usable() {
		return ""
	}
	format := Text(p.Format)
	if key := "option.dataset.format." + p.Format; s.Has(key) {
		format = s.T(key)
	}
	return s.T("preview.rows", "rows", p.Total, "tokens", count(int64(p.Tokens)), "trained", count(int64(p.Trained)), "format", format)
}

// DataRemarks are the engine's about the data.
func (s *Studio) DataRemarks() []message.Remark {
	if s.Preview == nil || !s.Data.Usable() {
		return nil
	}
	return s.Preview.Remarks
}

// DataFaultText is what the engine has against the data, DataFaultDetail its own words: file, line, column.
func (s *Studio) DataFaultText() Text   { return s.against(s.dataFault()) }
func (s *Studio) DataFaultDetail() Text { return s.detail(s.dataFault()) }

func (s *Studio) dataFault() *message.Failed {
	if !s.Data.Usable() {
		return nil
	}
	return s.DataFault
}

// methodID is the id of a method's control.
func methodID(value string) string {
	return "method-" + strings.ReplaceAll(strings.ToLower(value), "_", "-")
}

// chooseAgain asks for the files of a run that the browser has no copies of.
func (s *Studio) chooseAgain(r *Run) {
	s.reset(must(parseTree(r.Meta.Config)))
	delete(s.Config, "model")
	s.Config.Delete("dataset.path")
	s.Model, s.Data = choice{}, choice{}
	s.resuming = &keptRun{ID: r.ID, Meta: r.Meta, Checkpoint: r.checkpoint()}
	s.Problem = s.T("resume.choose", "name", r.Meta.Name)
	s.page.turn(screenStudio)
}

func must(t Tree, err error) Tree {
	if err != nil {
		return Tree{}
	}
	return t
}

// ResumeHere goes on with the run whose files were chosen again.
func (s *Studio) ResumeHere(vugu.DOMEvent) {
	r := s.page.Run
	if s.resuming == nil || r.ID != s.resuming.ID || !s.ready() || r.Stage.Active() {
		return
	}
	r.Meta.Inputs = s.sources()
	s.Problem, s.resuming = "", nil
	r.goOn(r.checkpoint())
}
