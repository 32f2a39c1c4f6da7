package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// program is a program whose licences are collected: a pattern of Go packages, and the environment it is built in.
type program struct {
	packages string
	env      []string
}

// collectLicenses joins the licence texts of Go itself, of every Go module that the programs link, and of the npm
// packages that npm/package.json names.
func collectLicenses(programs []program, npm string) ([]byte, error) {
	folders := map[string]string{} // title → folder
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	folders["Go"] = strings.TrimSpace(goroot)
	for _, p := range programs {
		if err := p.modules(folders); err != nil {
			return nil, err
		}
	}
	if npm != "" {
		if err := npmPackages(npm, folders); err != nil {
			return nil, err
		}
	}

	var titles []string
	for title := range folders {
		titles = append(titles, title)
	}
	slices.Sort(titles)
	var text bytes.Buffer
	text.WriteString("llamatab ships parts of the works below, each under the licence printed with it.\n")
	for _, title := range titles {
		found, err := writeLicenses(&text, title, folders[title])
		if err != nil {
			return nil, err
		}
		if !found {
			fmt.Fprintf(os.Stderr, "pack: %s has no licence file in %s\n", title, folders[title])
		}
	}
	return text.Bytes(), nil
}

// modules adds the modules that the program links to folders.
func (p program) modules(folders map[string]string) error {
	command := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", p.packages)
	command.Env = append(os.Environ(), p.env...)
	command.Stderr = os.Stderr
	list, err := command.Output()
	if err != nil {
		return fmt.Errorf("go list %s: %w", p.packages, err)
	}
	for line := range strings.Lines(string(list)) {
		if title, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			folders[title] = dir
		}
	}
	return nil
}

// npmPackages adds the packages that npm/package.json names as dependencies to folders.
func npmPackages(npm string, folders map[string]string) error {
	data, err := os.ReadFile(filepath.Join(npm, "package.json"))
	if err != nil {
		return err
	}
	var manifest struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return fmt.Errorf("package.json: %w", err)
	}
	for name, version := range manifest.Dependencies {
		folders[name+" "+version] = filepath.Join(npm, "node_modules", filepath.FromSlash(name))
	}
	return nil
}

// writeLicenses appends the licence files of a folder and reports whether there are any.
func writeLicenses(text *bytes.Buffer, title, folder string) (found bool, err error) {
	for _, pattern := range []string{"LICENSE*", "LICENCE*", "COPYING*", "NOTICE*"} {
		names, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return false, err
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return false, err
			}
			fmt.Fprintf(text, "\n%s\n%s (%s)\n\n%s\n", strings.Repeat("=", 80), title, filepath.Base(name), bytes.TrimSpace(data))
			found = true
		}
	}
	return found, nil
}

func output(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
