package headless

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// ErrNoBrowser is wrapped by every error that means: no usable browser on this machine.
var ErrNoBrowser = errors.New("no usable browser")

// Find returns the Chromium to start: path itself where given, else $CHROME, else the first of the usual
// names and places of this system.
func Find(path string) (string, error) {
	if path == "" {
		path = os.Getenv("CHROME")
	}
	if path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("headless: %w: %s: %w: --chrome or CHROME must name a Chromium or Chrome program", ErrNoBrowser, path, err)
		}
		return found, nil
	}
	for _, name := range usualPlaces() {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("headless: %w: no Chromium or Chrome found in the usual places: install one (Debian: apt-get install chromium), or name it with --chrome PATH", ErrNoBrowser)
}

func usualPlaces() []string {
	switch runtime.GOOS {
	case "darwin":
		var places []string
		home, _ := os.UserHomeDir()
		for _, dir := range []string{"/Applications", filepath.Join(home, "Applications")} {
			for _, app := range []string{"Google Chrome", "Chromium", "Google Chrome Canary", "Microsoft Edge"} {
				places = append(places, filepath.Join(dir, app+".app", "Contents", "MacOS", app))
			}
		}
		return append(places, "chromium", "google-chrome")
	case "windows":
		var places []string
		for _, dir := range []string{os.Getenv("ProgramFiles"), os.Getenv("ProgramFiles(x86)"), os.Getenv("LocalAppData")} {
			if dir == "" {
				continue
			}
			places = append(places,
				filepath.Join(dir, "Google", "Chrome", "Application", "chrome.exe"),
				filepath.Join(dir, "Chromium", "Application", "chrome.exe"),
				filepath.Join(dir, "Microsoft", "Edge", "Application", "msedge.exe"))
		}
		return append(places, "chrome.exe", "msedge.exe")
	default:
		// The headless shell has no window to draw: a short run takes two thirds of the processor time.
		return []string{"chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "/snap/bin/chromium", "microsoft-edge"}
	}
}
