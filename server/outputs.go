package main

import (
	"os"
	"path/filepath"
	"strings"

	"llamatab/server/exit"
)

// outputFolder checks that a folder for results exists or can be made.
func outputFolder(option string, path *string) error {
	full, err := filepath.Abs(*path)
	if err != nil {
		return exit.Usagef("--%s: %v", option, err)
	}
	if info, err := os.Stat(full); err == nil && !info.IsDir() {
		return exit.Usagef("--%s: %s is a file, and the results are a folder", option, full)
	}
	*path = full
	return nil
}

// outputFile checks that a file for a result has a folder to lie in.
func outputFile(option string, path *string) error {
	full, err := filepath.Abs(*path)
	if err != nil {
		return exit.Usagef("--%s: %v", option, err)
	}
	if info, err := os.Stat(filepath.Dir(full)); err != nil || !info.IsDir() {
		return exit.Usagef("--%s: there is no folder %s", option, filepath.Dir(full))
	}
	if info, err := os.Stat(full); err == nil && info.IsDir() {
		return exit.Usagef("--%s: %s is a folder, and the result is a file", option, full)
	}
	*path = full
	return nil
}

// within reports whether path lies in folder or is it; both absolute.
func within(path, folder string) bool {
	rest, err := filepath.Rel(folder, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}
