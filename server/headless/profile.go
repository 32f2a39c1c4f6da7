package headless

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// removeProfile removes a profile folder, and the folder for a socket that Chromium makes beside it in the temporary
// folder: a link in the profile leads there.
func removeProfile(profile string) error {
	if socket, err := os.Readlink(filepath.Join(profile, "SingletonSocket")); err == nil {
		folder := filepath.Dir(socket)
		if filepath.Dir(folder) == filepath.Clean(os.TempDir()) && filepath.Base(socket) == "SingletonSocket" {
			os.RemoveAll(folder) // empty but for the socket; the profile is what counts
		}
	}
	return os.RemoveAll(profile)
}

// sweep removes profiles whose owner is dead: it was killed in a way that could not be caught.
func sweep() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), profilePrefix+"*"))
	for _, folder := range folders {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), profilePrefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && pid > 0 && !alive(pid) {
			removeProfile(folder) // where this fails, a later sweep tries again
		}
	}
}
