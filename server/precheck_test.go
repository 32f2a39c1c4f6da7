package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMistakesBeforeBrowser: mistakes in config, model and data end each command before a browser is looked for. The option
// --chrome names none, which would be the error otherwise.
func TestMistakesBeforeBrowser(t *testing.T) {
	whole := withModel(t, "model/", map[string]string{"run.json": runJSON, "data.jsonl": oneRow})
	change := func(name, old, new string) func(map[string]string) {
		return func(files map[string]string) {
			if !strings.Contains(files[name], old) {
				t.Fatalf("%s does not contain %q", name, old)
			}
			files[name] = strings.Replace(files[name], old, new, 1)
		}
	}
	const everywhere = "a number that does not fit" // tried with all commands
	header := func(old, new string) func(map[string]string) { return change("model/model.safetensors", old, new) }
	for _, c := range []struct {
		name string
		edit func(map[string]string)
		says string
	}{
		{"nothing is wrong", func(map[string]string) {}, "--chrome"},
		{"config.json is no JSON", change("model/config.json", "{", "["), "config.json"},
		{"another architecture", func(f map[string]string) {
			f["model/config.json"] = strings.NewReplacer("LlamaForCausalLM", "OPTForCausalLM", `"llama"`, `"opt"`).Replace(f["model/config.json"])
		}, "OPTForCausalLM"},
		{everywhere, change("model/config.json", `"num_hidden_layers": `, `"num_hidden_layers": 9`), "model.layers."},
		{"tokenizer.json is cut short", func(f map[string]string) { f["model/tokenizer.json"] = f["model/tokenizer.json"][:99] }, "tokenizer"},
		{"a model of the tokenizer that is not known", change("model/tokenizer.json", `"BPE"`, `"Unigram"`), "Unigram"},
		{"a dtype that is not known", header(`"BF16"`, `"X8_1"`), "X8_1"},
		{"a dtype that weights do not have", header(`"BF16"`, `"I16" `), "I16"},
		{"weights are cut short", func(f map[string]string) { f["model/model.safetensors"] = f["model/model.safetensors"][:2000] }, "model.safetensors"},
		{"a row is no JSON", func(f map[string]string) { f["data.jsonl"] += "{\n" }, "line 2"},
		{"a row of another format", func(f map[string]string) { f["data.jsonl"] = `{"words": "x"}` + "\n" }, "words"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := maps.Clone(whole)
			c.edit(files)
			dir := folder(t, files)
			at := func(name string) string { return filepath.Join(dir, name) }
			none := "--chrome=" + at("none")
			commands := map[string][]string{"train": {"train", "--config", at("run.json"), "--out", at("out"), none}}
			if c.name == everywhere {
				commands["train --tabs 2"] = append([]string{"train", "--tabs", "2"}, commands["train"][1:]...)
				commands["eval"] = []string{"eval", "--model", at("model"), "--dataset", at("data.jsonl"), "--out", at("eval.json"), none}
				commands["generate"] = []string{"generate", "--model", at("model"), "--prompt", "Once", none}
			}
			for name, args := range commands {
				code, stdout, stderr := run(t, args...)
				if c.says == "--chrome" {
					if code != 3 || !strings.Contains(stderr, c.says) {
						t.Errorf("%s: exit code %d, want 3 and %q:\n%s%s", name, code, c.says, stdout, stderr)
					}
					continue
				}
				if code != 2 || !strings.Contains(stderr, c.says) || strings.Contains(stderr, "--chrome") {
					t.Errorf("%s: exit code %d, want 2 and %q:\n%s%s", name, code, c.says, stdout, stderr)
				}
				if strings.Count(stderr, "what to do") != 1 {
					t.Errorf("%s does not say what to do:\n%s", name, stderr)
				}
			}
			if _, err := os.Stat(at("out")); !os.IsNotExist(err) && c.says != "--chrome" {
				t.Errorf("the output folder was made: %v", err)
			}
		})
	}
}
