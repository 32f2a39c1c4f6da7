// Command fsdpguide writes the pages docs/fsdp.html and fsdp.zh.html.
//
//	go run ./tools/fsdpguide                      draws the pictures from the recorded traces and writes the pages
//	go run ./tools/fsdpguide record bin/llamatab  records the traces: it trains the built-in model in four tabs under each
//	                                              strategy
package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed text traces
var sources embed.FS

// pages are the files to write, by language.
var pages = map[string]string{"en": "fsdp.html", "zh": "fsdp.zh.html"}

// The folders of the pages and of the recorded traces.
const (
	folder = "docs"
	traces = "tools/fsdpguide/traces"
)

func main() {
	err := func() error {
		if len(os.Args) == 3 && os.Args[1] == "record" {
			return record(os.Args[2])
		}
		for lang, name := range pages {
			page, err := write(lang)
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, name), page, 0o644)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fsdpguide:", err)
		os.Exit(1)
	}
}

// write makes the page of a language.
func write(lang string) ([]byte, error) {
	runs, err := load(sources)
	if err != nil {
		return nil, err
	}
	w := languages[lang]
	text, err := template.New(lang+".html").Funcs(template.FuncMap{
		"holds":  func() template.HTML { return template.HTML(holds(runs, w)) },
		"memory": func() template.HTML { return template.HTML(memory(runs, w)) },
		"moves":  func() template.HTML { return template.HTML(moves(runs, w)) },
		"step": func(strategy string) (template.HTML, error) {
			s, err := timeline(runs[strategy], w)
			return template.HTML(s), err
		},
		"tabs":       func() int { return runs["FULL_SHARD"].Layout.Tabs },
		"slots":      func() int { return runs["FULL_SHARD"].Layout.Slots },
		"parameters": func() string { return thousands(runs["FULL_SHARD"].parameters()) },
		"class":      func(strategy, class string) string { return w.bytes(runs[strategy].memory()[class]) },
		"held":       func(strategy string) string { return w.bytes(held(runs[strategy])) },
		"together": func(strategy string) string {
			return w.bytes(held(runs[strategy]) * float64(runs[strategy].Layout.Tabs))
		},
		"up":   func(strategy string) string { return w.bytes(runs[strategy].Layout.Traffic.Measured.Up) },
		"down": func(strategy string) string { return w.bytes(runs[strategy].Layout.Traffic.Measured.Down) },
	}).ParseFS(sources, "text/"+lang+".html")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = text.Execute(&b, nil)
	return b.Bytes(), err
}

// held is the bytes of sharded classes of memory on a tab's GPU.
func held(r *run) (sum float64) {
	for _, s := range state {
		sum += r.memory()[s.class]
	}
	return sum
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// lesson is the run that the pictures show.
const lesson = `{
	"model": "builtin:tales", "dataset": {"path": "builtin:pirate", "max_length": 32}, "trainable": ["all"],
	"training": {"per_device_train_batch_size": 1, "max_steps": 5, "learning_rate": 1e-3, "lr_scheduler_type": "constant"},
	"fsdp": {"slots": 4, "sharding_strategy": "%s"}
}`

func record(program string) error {
	temp, err := os.MkdirTemp("", "llamatab-docs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for _, s := range strategies {
		config, out := filepath.Join(temp, s+".json"), filepath.Join(temp, s)
		if err := os.WriteFile(config, fmt.Appendf(nil, lesson, s), 0o644); err != nil {
			return err
		}
		cmd := exec.Command(program, "train", "--config", config, "--out", out, "--tabs", "4", "--trace")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
		}
		trace, err := os.ReadFile(filepath.Join(out, "trace.json"))
		if err == nil {
			trace, err = excerpt(trace)
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(traces, s+".json"), trace, 0o644); err != nil {
			return err
		}
	}
	return nil
}
