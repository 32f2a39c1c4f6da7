package headless

import (
	"os"
	"path/filepath"

	"llamatab/server/temporary"
)

// removeProfile removes a profile folder, and the folder for a socket that Chromium makes beside it in the temporary
// folder: a link in the profile leads there.
func removeProfile(profile string) error {
	if socket, err := os.Readlink(filepath.Join(profile, "SingletonSocket")); err == nil {
		folder := filepath.Dir(socket)
		if filepath.Dir(folder) == filepath.Clean(os.TempDir()) && filepath.Base(socket) == "SingletonSocket" && temporary.Ours(folder) {
			os.RemoveAll(folder) // empty but for the socket; the profile is what counts
		}
	}
	return os.RemoveAll(profile)
}

// sweep removes profiles whose owner is dead: it was killed in a way that could not be caught.
func sweep() { temporary.Sweep(profileKind, removeProfile) }
