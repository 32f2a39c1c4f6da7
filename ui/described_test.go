package ui

import (
	"encoding/json"
	"slices"
	"testing"

	"llamatab/engine/message"
	"llamatab/engine/pretrained"
)

// describingBrowser is a browser whose page gets a description of the settings.
type describingBrowser struct {
	fakeBrowser
	text json.RawMessage
}

func (b *describingBrowser) Description() json.RawMessage { return b.text }

// A method and a format that only the description names can be chosen on the page, with their words and controls.
func TestDescriptionMakesControls(t *testing.T) {
	about := pretrained.Describe()
	about.Methods = append(about.Methods, message.Method{
		Value: "GAIN", Title: message.Both("Gain", "增益"), About: message.Both("scales queries", "缩放查询"), Type: "GAIN",
		Defaults: json.RawMessage(`{"peft_type": "GAIN", "gain_start": 1, "gain_end": 2}`), Start: map[string]any{"peft_type": "GAIN", "gain_start": 0.5},
		Main: []string{"gain_start"},
		Settings: []message.Setting{
			{Key: "gain_start", Name: message.Both("First gain", "初始增益"), Help: message.Both("To start from.", "起始因子。")},
			{Key: "gain_end", Name: message.Both("Last gain", "最终增益"), Help: message.Both("To end with.", "最终因子。")},
			{Key: "gain_rare", Name: message.Both("Rare", "少见"), Help: message.Both("Not among the defaults.", "不在默认值中。")},
		},
	})
	title := message.Both("questions", "问答")
	about.Choices["dataset.format"] = append(about.Choices["dataset.format"], message.Option{Value: "questions", Title: &title})
	text, err := json.Marshal(about)
	if err != nil {
		t.Fatal(err)
	}
	s := NewPage(&describingBrowser{text: text}).Studio
	if s.Method() != "LORA" || s.T("about.DORA") != "LoRA that learns length and direction apart" {
		t.Errorf("the page begins with %s", s.Method())
	}
	for value, want := range map[string]string{
		"DORA": `{"lora_alpha":16,"peft_type":"LORA","r":8,"target_modules":"all-linear","use_dora":true}`,
		"GAIN": `{"gain_start":0.5,"peft_type":"GAIN"}`,
	} {
		s.Choose(value)
		if got, _ := json.Marshal(s.Config["peft"]); string(got) != want || s.Method() != value {
			t.Errorf("%s: peft is %s, want %s; the method is %s", value, got, want, s.Method())
		}
		s.Choose("GAIN")
	}
	if i := slices.IndexFunc(s.Methods(), func(o message.Option) bool { return o.Value == "GAIN" }); i < 0 || s.T("method.GAIN") != "Gain" {
		t.Errorf("offered are %v", s.Methods())
	}
	main := s.Main()
	if f := main[len(main)-1]; f.Path != "peft.gain_start" || f.Label() != "First gain" || f.Help() != "To start from." || f.Text() != "0.5" {
		t.Errorf("the last of the main settings is %s, %q", f.Path, f.Label())
	}
	var more []string
	for _, g := range s.Groups() {
		if g.Name == "peft" {
			for _, f := range g.Fields {
				more = append(more, f.Path)
			}
		}
	}
	if !slices.Equal(more, []string{"peft.gain_end"}) {
		t.Errorf("further settings are %v", more)
	}
	format := s.Field("dataset.format")
	if o := format.choices(); format.OptionText(o[len(o)-1]) != "questions" {
		t.Errorf("the last format is %q", format.OptionText(o[len(o)-1]))
	}
}

// A setting of training that is left out of a written run.json where it says nothing has a control all the same.
func TestUnwrittenSettingsHaveControls(t *testing.T) {
	about, err := json.Marshal(pretrained.Describe())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	s := NewPage(&describingBrowser{text: about}).Studio
	for _, g := range s.Groups() {
		for _, f := range g.Fields {
			kinds[f.Path] = f.Kind()
		}
	}
	for path, want := range map[string]string{
		"training.warmup_ratio": "text", "training.lr_scheduler_kwargs": "text", "training.group_by_length": "switch",
		"training.neftune_noise_alpha": "text", "training.label_smoothing_factor": "text",
	} {
		if kinds[path] != want {
			t.Errorf("the control of %s is %q, want %q", path, kinds[path], want)
		}
	}
}
