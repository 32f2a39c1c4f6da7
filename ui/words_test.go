package ui

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
)

// Every text is there in both languages, with the same names to fill in.
func TestCatalogue(t *testing.T) {
	names := regexp.MustCompile(`\{\w+\}`)
	for key, entry := range catalogue {
		if strings.TrimSpace(entry.en) == "" || strings.TrimSpace(entry.zh) == "" {
			t.Errorf("%s: a language is missing", key)
		}
		en, zh := names.FindAllString(entry.en, -1), names.FindAllString(entry.zh, -1)
		slices.Sort(en)
		slices.Sort(zh)
		if !slices.Equal(en, zh) {
			t.Errorf("%s: %v in English, %v in Chinese", key, en, zh)
		}
	}
}

// Every key that the page asks for is in the catalogue, and every entry is asked for: by its name, or by that of its
// kind, such as "phase.".
func TestKeys(t *testing.T) {
	asked := map[string]bool{}
	use := regexp.MustCompile(`(?:\bT|\bsay)\("([^"]+)"`)
	quoted := regexp.MustCompile(`"([a-z][\w.-]*)"`)
	for _, pattern := range []string{"*.vugu", "*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "_gen.go") || file == "catalogue.go" {
				continue
			}
			for _, m := range use.FindAllSubmatch(source, -1) {
				key := string(m[1])
				if _, ok := catalogue[key]; !ok && !strings.HasSuffix(key, ".") {
					t.Errorf("%s asks for %q, which is not in the catalogue", file, key)
				}
			}
			for _, m := range quoted.FindAllSubmatch(source, -1) {
				asked[string(m[1])] = true
			}
		}
	}
	for key := range catalogue {
		kind, _, _ := strings.Cut(key, ".")
		if !asked[key] && !asked[kind+"."] {
			t.Errorf("nothing asks for %q", key)
		}
	}
}

// Every setting that the engine knows is said in plain words, in both languages, and none that it does not know.
func TestSettings(t *testing.T) {
	d := config.Describe()
	about := description{}
	text, _ := json.Marshal(d)
	if err := json.Unmarshal(text, &about); err != nil {
		t.Fatal(err)
	}
	for _, path := range about.Defaults.topped() {
		if _, ok := keys[path]; !ok && path != "model" && path != "peft" && path != "dataset.path" && path != "training.resume_from_checkpoint" {
			t.Errorf("%s has no words", path)
		}
	}
	for path, k := range keys {
		for _, text := range []string{k.en, k.zh, k.helpEN, k.helpZH} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: a language is missing", path)
			}
		}
	}
	w := NewWords("en")
	for _, m := range about.Methods {
		if !w.Has("method."+m.Value) || !w.Has("about."+m.Value) {
			t.Errorf("method %s has no words", m.Value)
		}
	}
}

// The catalogue of errors has every code with which the engine fails, a cause and an action in both languages.
func TestTroubles(t *testing.T) {
	fails := regexp.MustCompile(`\bfail\("(\w+)"|(?:Failed|Error)\{Code: +"(\w+)"`)
	known := map[string]bool{}
	for _, pattern := range []string{"../engine/train/*.go", "../engine/bench/*.go", "*.js", "../wasm/*.go", "../wasm/*.js"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range fails.FindAllSubmatch(source, -1) {
				known[string(m[1])+string(m[2])] = true
			}
		}
	}
	w := NewWords("en")
	for code := range known {
		if code == "" || w.Has("event."+code) {
			continue
		}
		if _, ok := troubleOf[code]; !ok {
			t.Errorf("the engine fails with %q, of which the catalogue has nothing", code)
		}
	}
	for code, trouble := range troubleOf {
		if !w.Has("failed."+code) || !w.Has("do."+trouble.Do) || !w.Has("advice."+trouble.Do) || !strings.HasPrefix(trouble.Code, "E-") {
			t.Errorf("%s: %+v lacks a text", code, trouble)
		}
	}
	for key := range catalogue {
		if code, ok := strings.CutPrefix(key, "mend."); ok && troubleOf[code].Code == "" {
			t.Errorf("%s: no trouble has this code", key)
		}
	}
}

// Every event that the engine tells has words in both languages: its own are English.
func TestEvents(t *testing.T) {
	tells := regexp.MustCompile(`\bevent\([\w.]+, "\w+", "(\w+)"`)
	w, n := NewWords("en"), 0
	for _, pattern := range []string{"../engine/*/*.go", "../wasm/*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range tells.FindAllSubmatch(source, -1) {
				if n++; !w.Has("event." + string(m[1])) {
					t.Errorf("%s: the event %q has no words", file, m[1])
				}
			}
		}
	}
	if n < 15 {
		t.Errorf("found %d events: the engine tells them in another way now", n)
	}
}

func TestSpelling(t *testing.T) {
	en, zh := NewWords("en-GB"), NewWords("zh-CN")
	for _, c := range [][2]string{
		{Bytes(0), "0 B"}, {Bytes(999), "999 B"}, {Bytes(1000), "1 kB"}, {Bytes(999_600), "1.00 MB"}, {Bytes(41_300_000), "41.3 MB"},
		{Bytes(5_200_000_000), "5.20 GB"}, {Bytes(1 << 60), "1152921505 GB"},
		{en.Duration(0), "0 s"}, {en.Duration(59.2), "1 min 0 s"}, {en.Duration(3725), "1 h 2 min"}, {zh.Duration(61), "1 分 1 秒"},
		{en.Duration(-1), "–"}, {en.Duration(1e9), "–"},
		{string(en.T("no such key")), "no such key"}, {string(zh.T("status.stopped", "step", 7)), "已在第 7 步后停止。可以下载训练所得。"},
		{Text(`<a> & "损失"`).HTML(), "&#60;a&#62; &#38; &#34;&#25439;&#22833;&#34;"},
		{NewWords("zh").Lang(), "zh"}, {NewWords("ZH-tw").Lang(), "zh"}, {NewWords("").Lang(), "en"}, {NewWords("zhuang").Lang(), "en"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}
