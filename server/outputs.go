package main

import (
	"os"
	"path/filepath"

	"llamatab/server/exit"
)

// outputFolder makes the path of a folder for results absolute. It refuses a file.
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

// outputFile makes the path of a file for a result absolute. It refuses a folder, and a file whose folder does not exist.
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
