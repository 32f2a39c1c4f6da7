package recipe

import (
	"strings"
	"testing"

	_ "llamatab/engine/data" // registers the formats of data
	"llamatab/engine/peft"
)

// Every recipe is a run once it is given a model and data, and says why in both languages.
func TestRecipes(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range All {
		c, err := Parse([]byte(`{"model": "m", "dataset": {"path": "d"}}`), "run.json", r.Name, nil)
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
			continue
		}
		if c.Training.MaxSteps <= 0 || c.Dataset.ValidationSplit == 0 || c.Dataset.Path != "d" {
			t.Errorf("%s: %+v", r.Name, c)
		}
		for _, lang := range []string{"en", "zh"} {
			if r.Title.In(lang) == "" || len(r.Why.In(lang)) < 100 || strings.Contains(r.Why.In(lang), "\n") || seen[r.Title.In(lang)] {
				t.Errorf("%s: title or why in %s", r.Name, lang)
			}
			seen[r.Title.In(lang)] = true
		}
	}
	if _, err := Parse([]byte(`{"model": "m", "dataset": {"path": "d"}}`), "run.json", "lora", nil); err == nil || !strings.Contains(err.Error(), "lora-first") {
		t.Errorf("an unknown recipe: %v", err)
	}
}

// A recipe gives way to the config, and both to what is set.
func TestRecipePrecedence(t *testing.T) {
	const file = `{"model": "m", "dataset": {"path": "d"}, "training": {"max_steps": 7}, "peft": {"r": 4}}`
	c, err := Parse([]byte(file), "run.json", "lora-first", []string{"training.eval_steps=3"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Training.MaxSteps != 7 || c.Training.EvalSteps != 3 || c.Training.WarmupSteps != 10 || c.PEFT.Own.(*peft.LoRAConfig).R != 4 || c.PEFT.Own.(*peft.LoRAConfig).Alpha != 16 || c.PEFT.TargetModules.Pattern != "all-linear" {
		t.Errorf("%+v, %+v", c.Training, c.PEFT)
	}
	c, err = Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "IA3"}}`), "run.json", "lora-first", nil)
	if err != nil || c.PEFT.Type != "IA3" || !c.PEFT.TargetModules.IsZero() {
		t.Errorf("another adapter: %+v, %v", c.PEFT, err)
	}
	c, err = Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": null, "trainable": ["norm"]}`), "run.json", "hybrid", nil)
	if err != nil || c.PEFT != nil || len(c.Trainable) != 1 {
		t.Errorf("no adapter: %v, %v", c, err)
	}
}
