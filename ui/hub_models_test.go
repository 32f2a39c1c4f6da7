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
