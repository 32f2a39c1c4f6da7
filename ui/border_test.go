package ui

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// read is the text of all files that match.
func read(t *testing.T, pattern string) string {
	t.Helper()
	paths, _ := filepath.Glob(pattern)
	if len(paths) == 0 {
		t.Fatalf("no file is %s", pattern)
	}
	var all strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// found are the first groups of all matches, sorted, each once.
func found(text, pattern string) []string {
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The functions that js/page.js offers are those that Go calls, and each is a method of the same name.
func TestFunctionsOfJavaScript(t *testing.T) {
	_, object, ok := strings.Cut(read(t, "js/page.js"), "globalThis.llamatabPage = {")
	if !ok {
		t.Fatal("js/page.js offers no functions")
	}
	object, _, _ = strings.Cut(object, "\n};")
	values := regexp.MustCompile(`: (\([^)]*\) => )?[^,]*`).ReplaceAllString(object, "") // of functions that have another name
	offered := found(values, `(\w+)`)

	source := read(t, "browser_js.go")
	called := found(source, `page\.Call\("(\w+)"`)
	if !slices.Equal(offered, called) {
		t.Errorf("js/page.js offers %v\nGo calls %v", offered, called)
	}
	for _, m := range regexp.MustCompile(`(?s)\nfunc \(b jsBrowser\) (\w+)\(.*?page\.Call\("(\w+)"`).FindAllStringSubmatch(source, -1) {
		if strings.ToLower(m[1][:1])+m[1][1:] != m[2] {
			t.Errorf("the method %s calls the function %s", m[1], m[2])
		}
	}
	if len(called) < 40 {
		t.Errorf("found %d calls: Go makes them in another way now", len(called))
	}
}

// The topics of the messages that JavaScript sends are those that Go takes.
func TestTopics(t *testing.T) {
	sent := found(read(t, "js/*.js"), `\b(?:tell|tellText|answered)\("([a-z-]+)"`)
	var taken []string
	for topic := range topics {
		taken = append(taken, topic)
	}
	slices.Sort(taken)
	if !slices.Equal(sent, taken) {
		t.Errorf("JavaScript sends %v\nGo takes %v", sent, taken)
	}
}

// A message that cannot be read ends the run, and those after it arrive.
func TestUnreadableMessages(t *testing.T) {
	for _, text := range []string{`[{"topic":"envelopes","content":{"engine":7}},`, `[{"topic":"nothing","content":{}},`} {
		p := NewPage(&fakeBrowser{})
		p.Run.begin(runMeta{ID: "a"})
		p.Run.Stage = Training
		p.receive(now, []byte(text+`{"topic":"kept-runs","content":{"runs":[{"id":"b"}],"usage":5}}]`))
		if p.Run.Stage != Failed || p.Run.Failure.Code != "engine_crashed" {
			t.Errorf("%s: the run is %s, %+v", text, p.Run.Stage, p.Run.Failure)
		}
		if len(p.Home.Runs) != 1 || p.Home.Usage != 5 {
			t.Errorf("%s: what follows is lost", text)
		}
	}
}

// Settings go into a link and come out of it, as other programs write it, too.
func TestAddress(t *testing.T) {
	config := []byte(`{"model":"海?>~","training":{"max_steps":5}}`)
	for _, locked := range []bool{false, true} {
		link := settingsLink("https://host", config, locked)
		_, fragment, _ := strings.Cut(link, "#")
		a := parseAddress(fragment)
		if a.Screen != screenStudio || a.Settings == nil || a.Settings.Text != string(config) || a.Settings.Lesson != locked || a.Settings.Newer {
			t.Errorf("%s is read as %+v %+v", link, a, a.Settings)
		}
		escaped := strings.NewReplacer("-", "%2B", "_", "/").Replace(fragment[strings.LastIndex(fragment, "=")+1:]) + "%3D"
		if got := decodeSettings(escaped); got != string(config) {
			t.Errorf("%s is read as %q", escaped, got)
		}
	}
	if link := settingsLink("https://host", make([]byte, 1600), false); link != "" {
		t.Errorf("a link of %d characters", len(link))
	}
	for fragment, want := range map[string]address{
		"": {}, "run": {Screen: "run"}, "join=47-19_Ab": {Screen: screenHome, Code: "47-19_Ab"}, "join=": {Screen: "join="}, "join=a b": {Screen: "join=a b"},
		"studio?config=%%%":                {Screen: "studio", Settings: &settingsMessage{}},
		"studio?config=_w":                 {Screen: "studio", Settings: &settingsMessage{}}, // not UTF-8
		"studio?v=2&config=e30":            {Screen: "studio", Settings: &settingsMessage{Text: "{}", Newer: true}},
		"studio?v=x&lesson&config=e30&y=z": {Screen: "studio", Settings: &settingsMessage{Text: "{}", Lesson: true}},
		"studio?v=1":                       {Screen: "studio"},
	} {
		got := parseAddress(fragment)
		same := (got.Settings == nil) == (want.Settings == nil) && (got.Settings == nil || *got.Settings == *want.Settings)
		if got.Screen != want.Screen || got.Code != want.Code || !same {
			t.Errorf("%s is read as %+v %+v", fragment, got, got.Settings)
		}
	}
}

// The address is followed: a code and settings are read once, and what this tab was before a reload is asked for at first.
func TestArriving(t *testing.T) {
	b := &fakeBrowser{}
	p := NewPage(b)
	p.arrive(addressMessage{Fragment: "run", Origin: "https://host"})
	p.arrive(addressMessage{Fragment: "home"})
	if b.count("RecallRoom") != 1 || b.count("ReplaceAddress") != 0 || p.Screen != screenHome {
		t.Errorf("the browser was asked for %v, the screen is %s", b.calls, p.Screen)
	}
	p = NewPage(b)
	b.calls = nil
	p.arrive(addressMessage{Fragment: "join=471902"})
	if p.Room.TypedCode != "471902" || p.Screen != screenHome || b.count("RecallRoom") != 0 || b.count("ReplaceAddress join=471902 home") != 1 {
		t.Errorf("the code is %q, the screen %s, the browser was asked for %v", p.Room.TypedCode, p.Screen, b.calls)
	}
}

// The page about the page's state names files that are there, in both languages the same.
func TestStateIsDescribed(t *testing.T) {
	var named [2][]string
	for i, page := range []string{"../docs/page-state.md", "../docs/page-state.zh.md"} {
		named[i] = found(read(t, page), "`((?:ui|js|wasm|server)/[\\w./]+)`")
		for _, path := range named[i] {
			if strings.HasPrefix(path, "js/") {
				path = "ui/" + path
			}
			if _, err := os.Stat("../" + path); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if len(named[0]) < 20 || !slices.Equal(named[0], named[1]) {
		t.Errorf("the English page names %v\nthe Chinese page %v", named[0], named[1])
	}
}
