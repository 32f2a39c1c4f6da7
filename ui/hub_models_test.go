package ui

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"llamatab/engine/message"
)

// hubPage is a page whose server fetches models of a hub.
func hubPage(t *testing.T) (*Page, *fakeBrowser) {
	t.Helper()
	b := &fakeBrowser{}
	p := NewPage(b)
	tellPage(t, p, "hub", hubMessage{Host: "hub.example", Fetches: []hubFetch{}})
	return p, b
}

func tellPage(t *testing.T, p *Page, topic string, content any) {
	t.Helper()
	text, err := json.Marshal([]map[string]any{{"topic": topic, "content": content}})
	if err != nil {
		t.Fatal(err)
	}
	p.receive(now, text)
}

const fetchedName = "org/name@0123456789012345678901234567890123456789"

// TestHubModel: a model that the person names is chosen once the server has it.
func TestHubModel(t *testing.T) {
	p, b := hubPage(t)
	h := &p.Studio.Hub
	h.Name = "  https://huggingface.co/org/name/tree/main "
	h.Fetch(nil)
	if b.count("FetchModel https://huggingface.co/org/name/tree/main") != 1 {
		t.Fatalf("the browser was asked for %q", b.calls)
	}
	f := hubFetch{Name: "org/name", State: "fetching", Done: 25e6, Total: 100e6, Rate: 5e6}
	tellPage(t, p, "hub", hubMessage{Host: "hub.example", Began: "org/name", Fetches: []hubFetch{f}})
	if text := string(h.StateText(f)); text != "org/name: 25 MB of 100 MB, 5 MB a second, 15 s left" || h.Part(f) != "0.250" || len(h.Shown()) != 1 || h.Name != "" {
		t.Errorf("it says %q, %s, %v", text, h.Part(f), h.Shown())
	}
	h.Pause(f)
	h.Continue(f)
	h.Cancel(f)
	if b.count("PauseFetch org/name") != 1 || b.count("FetchModel org/name") != 1 || b.count("CancelFetch org/name") != 1 {
		t.Errorf("the browser was asked for %q", b.calls)
	}
	tellPage(t, p, "offers", offersMessage{Models: []offer{{Name: "builtin:small", Files: []message.ServerFile{{Name: "config.json", Size: 2}}}, {Name: fetchedName, Files: []message.ServerFile{{Name: "config.json", Size: 2}, {Name: "model.safetensors", Size: 98}}}}})
	if p.Studio.Model.Name != "builtin:small" {
		t.Errorf("the model is %q", p.Studio.Model.Name)
	}
	f.State, f.Model = "fetched", fetchedName
	tellPage(t, p, "hub", hubMessage{Host: "hub.example", Fetches: []hubFetch{f}})
	if p.Studio.Model.Name != fetchedName || p.Studio.Model.Bytes != 100 || len(h.Shown()) != 0 || !strings.HasPrefix(string(p.Studio.ModelText()), "org/name@0123456 ·") {
		t.Errorf("the model is %q of %d bytes: %s", p.Studio.Model.Name, p.Studio.Model.Bytes, p.Studio.ModelText())
	}
	if url := p.Studio.Model.Source.Files[1].URL; url != "/api/models/org%2Fname@0123456789012345678901234567890123456789/model.safetensors" {
		t.Errorf("its weights are at %s", url)
	}
	p.Studio.TakeModel("builtin:small")
	tellPage(t, p, "hub", hubMessage{Host: "hub.example", Fetches: []hubFetch{f}})
	if p.Studio.Model.Name != "builtin:small" {
		t.Errorf("the choice of another model is undone: %q", p.Studio.Model.Name)
	}
	if kept := h.Kept(); len(kept) != 1 || kept[0] != fetchedName {
		t.Errorf("kept: %v", kept)
	}
	h.Remove(fetchedName)
	if b.count("RemoveModel") != 0 || h.RemoveKey(fetchedName) != "home.sure" {
		t.Error("one press removes a model")
	}
	h.Remove(fetchedName)
	if b.count("RemoveModel "+fetchedName) != 1 {
		t.Errorf("the browser was asked for %q", b.calls)
	}
}

// storedKey is the key of a model in the browser's storage.
const storedKey = "org--name@0123456789012345678901234567890123456789"

func stored() []hubStored {
	return []hubStored{{Key: storedKey, Name: fetchedName, Revision: "v1", Host: "hub.example", Bytes: 100e6, Tokenizer: true}}
}

// TestDirectModel: where no server fetches, or where the person wants it, the browser does, and a model that it has can be chosen
// and removed.
func TestDirectModel(t *testing.T) {
	b := &fakeBrowser{}
	p := NewPage(b)
	h := &p.Studio.Hub
	if h.From() != "" {
		t.Errorf("the panel is shown before a hub is known: %q", h.From())
	}
	tellPage(t, p, "hub-direct", directMessage{Host: "hub.example"})
	if h.Way() != byBrowser || h.From() != "hub.example" || !strings.Contains(string(h.WayText()), "no server") {
		t.Errorf("without a server: %s from %s: %s", h.Way(), h.From(), h.WayText())
	}
	tellPage(t, p, "hub", hubMessage{})
	if h.Way() != byBrowser || !strings.Contains(string(h.WayText()), "the server fetches nothing") {
		t.Errorf("with a server that fetches nothing: %s: %s", h.Way(), h.WayText())
	}
	tellPage(t, p, "hub", hubMessage{Host: "other.example"})
	if h.Way() != byServer || h.From() != "other.example" || !strings.Contains(string(h.WayText()), "The server fetches it") {
		t.Errorf("with a server that fetches: %s from %s: %s", h.Way(), h.From(), h.WayText())
	}
	h.Chosen = true
	if h.Way() != byBrowser || h.From() != "hub.example" || !strings.Contains(string(h.WayText()), "as you have chosen") {
		t.Errorf("by choice: %s from %s: %s", h.Way(), h.From(), h.WayText())
	}
	h.Name = "org/name@v1"
	h.Fetch(nil)
	if b.count("FetchModel org/name@v1 browser") != 1 {
		t.Fatalf("the browser was asked for %q", b.calls)
	}
	f := hubFetch{Name: "org/name@v1", State: "fetching", Done: 25e6, Total: 100e6, Rate: 5e6, Trouble: &hubProblem{Code: "hub_busy", Message: "hub.example has had too many requests"}, Again: 77}
	tellPage(t, p, "hub-direct", directMessage{Host: "hub.example", Began: f.Name, Fetches: []hubFetch{f}})
	shown := h.Shown()
	if len(shown) != 1 || shown[0].Way != byBrowser || h.Name != "" || h.TroubleText(shown[0]) != "The hub has had too many requests. Trying again in 1 min 17 s." {
		t.Fatalf("shown: %+v: %s", shown, h.TroubleText(f))
	}
	h.Pause(shown[0])
	h.Continue(shown[0])
	h.Cancel(shown[0])
	if b.count("PauseFetch org/name@v1 browser") != 1 || b.count("FetchModel org/name@v1 browser") != 2 || b.count("CancelFetch org/name@v1 browser") != 1 {
		t.Errorf("the browser was asked for %q", b.calls)
	}
	f.Checking, f.Done, f.Trouble = true, f.Total, nil
	if text := h.StateText(f); text != "org/name@v1: checking 100 MB" || h.TroubleText(f) != "" {
		t.Errorf("it says %q, %q", text, h.TroubleText(f))
	}
	f.State, f.Model, f.Checking = "fetched", storedKey, false
	tellPage(t, p, "hub-direct", directMessage{Host: "hub.example", Fetches: []hubFetch{f}}) // the storage has not been read again yet
	if p.Studio.Model.Usable() {
		t.Errorf("the model is %+v", p.Studio.Model)
	}
	tellPage(t, p, "hub-direct", directMessage{Host: "hub.example", Fetches: []hubFetch{f}, Kept: stored()})
	if m := p.Studio.Model; m.Name != fetchedName || m.Source.From != "fetched" || m.Source.Key != storedKey || m.Bytes != 100e6 || m.Note != nil || len(h.Shown()) != 0 {
		t.Errorf("the model is %+v, shown: %+v", m, h.Shown())
	}
	if text := h.StoredText(h.Stored[0]); text != "100 MB · v1 · hub.example" {
		t.Errorf("of the model it says %q", text)
	}
	h.RemoveStored(h.Stored[0])
	if b.count("RemoveModel") != 0 || h.RemoveKey(storedKey) != "home.sure" {
		t.Error("one press removes a model")
	}
	h.RemoveStored(h.Stored[0])
	if b.count("RemoveModel "+storedKey+" browser") != 1 || !p.Studio.Model.Usable() {
		t.Errorf("the browser was asked for %q; the model is %+v", b.calls, p.Studio.Model)
	}
	tellPage(t, p, "hub-problem", hubProblem{Code: "hub_used", Way: byBrowser, Runs: []string{"pirate · LoRA", "tales"}})
	if text := h.Cause(h.Problem); text != "This model is in use by a run: pirate · LoRA, tales. End the run first." {
		t.Errorf("it says %q", text)
	}
	tellPage(t, p, "hub-direct", directMessage{Host: "hub.example"})
	if p.Studio.Model.Usable() {
		t.Errorf("a model that is gone is chosen: %+v", p.Studio.Model)
	}
}

// TestFetchedElsewhere: what another tab fetches is shown, and a model that settings name is found in the browser's storage.
func TestFetchedElsewhere(t *testing.T) {
	p := NewPage(&fakeBrowser{})
	h := &p.Studio.Hub
	tellPage(t, p, "hub-direct", directMessage{Host: "hub.example", Fetches: []hubFetch{{Name: "org/name", State: "elsewhere", Done: 25e6, Total: 100e6}}})
	if text := h.StateText(h.Shown()[0]); text != "org/name: another tab fetches it, 25 MB of 100 MB" {
		t.Errorf("it says %q", text)
	}
	for _, order := range []string{"storage first", "settings first", "storage known"} {
		p := NewPage(&fakeBrowser{})
		steps := []func(){
			func() { tellPage(t, p, "hub-direct", directMessage{Host: "hub.example", Kept: stored()}) },
			func() {
				tellPage(t, p, "settings", settingsMessage{Text: `{"model": "` + fetchedName + `", "dataset": {"path": "x.txt"}}`})
			},
			func() { tellPage(t, p, "offers", offersMessage{Models: []offer{{Name: "builtin:small"}}}) },
		}
		for _, i := range map[string][]int{"storage first": {0, 1, 2}, "settings first": {1, 2, 0}, "storage known": {2, 0, 1}}[order] {
			steps[i]()
		}
		if m := p.Studio.Model; m.Name != fetchedName || m.Source.From != "fetched" {
			t.Errorf("%s: the model is %+v", order, m)
		}
	}
}

// TestHubProblems: every kind of problem that the server names has a cause and an action in both languages.
func TestHubProblems(t *testing.T) {
	p, _ := hubPage(t)
	h := &p.Studio.Hub
	tellPage(t, p, "hub-problem", hubProblem{Code: "hub_name", Message: "\"x\" is not the name of a model"})
	if h.Problem == nil || h.Cause(h.Problem) != "This is not the name of a model. Write org/name, or paste the address of the model's page." || h.Detail(h.Problem) != `"x" is not the name of a model` {
		t.Errorf("it says %q, %q", h.Cause(h.Problem), h.Detail(h.Problem))
	}
	if text := h.Cause(&hubProblem{Code: "unknown"}); text != "The server cannot fetch the model." {
		t.Errorf("of an unknown problem it says %q", text)
	}
	full := &hubProblem{Code: "hub_disk", Way: byBrowser, Needed: 2.5e9, Free: 1e9}
	if text := h.Cause(full); text != "This browser has too little room: 2.50 GB are needed, 1 GB are free. Remove models or old runs from this browser, or make room on the disk, then go on." {
		t.Errorf("of full storage it says %q", text)
	}
	if text := h.Cause(&hubProblem{Code: "hub_name", Way: byBrowser}); !strings.HasPrefix(string(text), "This is not the name of a model.") {
		t.Errorf("of a wrong name it says %q", text)
	}
	if h.Cause(nil) != "" || h.Detail(nil) != "" {
		t.Error("it says something where there is no problem")
	}
	source, err := os.ReadFile("../server/hub/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`Kind = "(hub_\w+)"`).FindAllSubmatch(source, -1)
	if len(kinds) < 10 {
		t.Errorf("%d kinds of problems in server/hub", len(kinds))
	}
	for _, kind := range kinds {
		if !h.Has("hub_problem." + string(kind[1])) {
			t.Errorf("the page has no words for %s", kind[1])
		}
	}
	var modules []byte
	for _, name := range []string{"hub_name", "hub_files", "hub_net", "hub_download", "hub_fetches", "hub_direct"} {
		text, err := os.ReadFile("js/" + name + ".js")
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, text...)
	}
	codes := regexp.MustCompile(`"(hub_\w+|storage)"`).FindAllSubmatch(modules, -1)
	if len(codes) < 20 {
		t.Errorf("%d codes of problems in the page's modules", len(codes))
	}
	for _, code := range codes {
		if c := string(code[1]); !h.Has("hub_problem."+c) && !h.Has("hub_problem.direct."+c) {
			t.Errorf("the page has no words for %s", c)
		}
	}
	for key := range catalogue {
		code, isCause := strings.CutPrefix(key, "hub_problem.")
		if isCause && code != "other" && !h.Has("hub_mend."+code) {
			t.Errorf("%s has no action", key)
		}
	}
}

// TestZipOfModel: an archive that cannot be read is no model, and the page says why.
func TestZipOfModel(t *testing.T) {
	p, _ := hubPage(t)
	tellPage(t, p, "files-chosen", filesMessage{Kind: "model", Problem: "it holds no config.json"})
	if s := p.Studio; s.Model.Usable() || s.ChoiceProblem(&s.Model) != "The archive cannot be used: it holds no config.json." {
		t.Errorf("it says %q", s.ChoiceProblem(&s.Model))
	}
	tellPage(t, p, "files-chosen", filesMessage{Kind: "model", Files: []file{{Path: "m/config.json", Size: 2}, {Path: "m/model.safetensors", Size: 9}, {Path: "m/tokenizer.json", Size: 3}}})
	if s := p.Studio; !s.Model.Usable() || s.Model.Name != "m" {
		t.Errorf("the model is %q", s.Model.Name)
	}
}

func TestShortName(t *testing.T) {
	for name, want := range map[string]Text{fetchedName: "org/name@0123456", "builtin:tales": "tales", "folder": "folder", "org/name@012": "org/name@012"} {
		if got := shortName(name); got != want {
			t.Errorf("%s is shown as %s, want %s", name, got, want)
		}
	}
}
