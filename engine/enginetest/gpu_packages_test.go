//go:build !js

package enginetest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestGPUPackages holds that make test runs every package of the engine whose tests compute on a device in Chromium too:
// a package that is missing in GPU_DIRS would be compared with itself only.
func TestGPUPackages(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^GPU_DIRS\s*=(.*)$`).FindSubmatch(makefile)
	if line == nil {
		t.Fatal("the Makefile has no GPU_DIRS")
	}
	listed := strings.Fields(string(line[1]))
	tests, err := filepath.Glob(filepath.Join(root, "engine", "*", "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, path := range tests {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if pkg := filepath.Base(filepath.Dir(path)); pkg != "enginetest" && strings.Contains(string(text), "enginetest.") {
			found[pkg] = true
		}
	}
	if len(found) < 3 {
		t.Fatalf("only %v use devices: this test looks in the wrong place", found)
	}
	for pkg := range found {
		if !slices.Contains(listed, pkg) {
			t.Errorf("GPU_DIRS in the Makefile lacks %s, whose tests use devices", pkg)
		}
	}
}
