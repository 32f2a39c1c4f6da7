package ui

import (
	"fmt"
	"testing"

	"llamatab/engine/config"
)

func TestChooseModel(t *testing.T) {
	for _, c := range []struct {
		paths []string
		name  string
		files string
		want  string // the problem, or the note
	}{
		{[]string{"llama/config.json", "llama/model.safetensors", "llama/tokenizer.json"}, "llama", "[0 1 2]", ""},
		{[]string{"config.json", "model.safetensors", "tokenizer.json"}, "model", "[0 1 2]", ""},
		// The model lies one folder deeper than what was chosen, beside other things.
		{[]string{"m/README.md", "m/llama/model.safetensors", "m/llama/config.json", "m/llama/tokenizer.json", "m/llama/old/config.json"}, "llama", "[1 2 3]", ""},
		{[]string{"b/x/config.json", "a/x/config.json", "a/x/model.safetensors", "a/x/tokenizer.json"}, "x", "[1 2 3]", ""},
		{[]string{"llama/config.json", "llama/model.safetensors"}, "llama", "[0 1]", "No tokenizer.json: only data that already consists of token ids can be used."},
		{[]string{"photos/1.jpg"}, "", "[]", "This folder has no config.json: choose the folder that holds it."},
		{[]string{"llama/config.json", "llama/sub/model.safetensors"}, "", "[]", "This folder has no *.safetensors: choose the folder that holds it."},
		{nil, "", "[]", "This folder has no config.json: choose the folder that holds it."},
	} {
		var files []file
		for _, p := range c.paths {
			files = append(files, file{p, 10})
		}
		got := chooseModel(files)
		var said Text
		for _, say := range []func(*Words) Text{got.Problem, got.Note} {
			if say != nil {
				said = say(NewWords("en"))
			}
		}
		if got.Name != c.name || fmt.Sprint(got.Files) != c.files || string(said) != c.want || got.Usable() != (c.files != "[]") {
			t.Errorf("%v: got %q %v %q", c.paths, got.Name, got.Files, said)
		}
	}
}

func TestChooseData(t *testing.T) {
	if c := chooseData([]file{{"dir/rows.jsonl", 5}}); !c.Usable() || c.Name != "rows.jsonl" || c.Bytes != 5 {
		t.Errorf("got %+v", c)
	}
	for _, files := range [][]file{nil, {{"a", 1}, {"b", 1}}, {{"empty", 0}}} {
		if c := chooseData(files); c.Usable() || len(files) > 0 && c.Problem == nil {
			t.Errorf("%v: got %+v", files, c)
		}
	}
}

var form = map[string]string{"max-steps": "100", "learning-rate": "1e-3", "batch-size": "4", "max-length": "256", "rank": "8", "alpha": "16"}

// What the form describes is a config that the engine takes.
func TestJob(t *testing.T) {
	for _, method := range []string{"lora", "full"} {
		s := &Setup{Words: NewWords("en"), Method: method, Model: choice{Name: "my-llama"}, Data: choice{Name: "rows.jsonl"}}
		job, err := s.job(form)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse(job.Config, "page")
		if err != nil {
			t.Fatalf("%s: %v\n%s", method, err, job.Config)
		}
		if (c.PEFT != nil) != (method == "lora") || c.Training.MaxSteps != 100 || c.Training.LearningRate != 1e-3 || c.Dataset.Path != "rows.jsonl" {
			t.Errorf("%s: got %s", method, job.Config)
		}
	}
	for _, bad := range []string{"", "x", "NaN", "Inf", "1e999"} {
		broken := map[string]string{}
		for k, v := range form {
			broken[k] = v
		}
		broken["learning-rate"] = bad
		s := &Setup{Words: NewWords("en")}
		if _, err := s.job(broken); err == nil || err.Error() != fmt.Sprintf("Learning rate: %q is not a number that can be used.", bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRate(t *testing.T) {
	s := &Setup{Method: "lora"}
	tiny, large := choice{Files: []int{0}, Bytes: 1e6}, choice{Files: []int{0}, Bytes: 1e9}
	for _, c := range []struct {
		method string
		model  choice
		want   string
	}{
		{"lora", choice{}, "0.0002"}, {"lora", tiny, "0.001"}, {"lora", large, "0.0002"}, {"full", tiny, "0.0005"}, {"full", large, "0.00002"},
	} {
		s.Method, s.Model = c.method, c.model
		if got := s.Rate(); got != c.want {
			t.Errorf("%s, %d bytes: %s, want %s", c.method, c.model.Bytes, got, c.want)
		}
	}
}
