// Package temporary makes folders in the system's temporary folder that name the process that made them. A process that is
// killed cannot remove its folders, so a later start of the program does.
package temporary

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// prefix begins the name of a folder: the kind, the process id and a random part follow, with dashes between.
const prefix = "llamatab-"

// New makes a folder of a kind, a word without a dash.
func New(kind string) (string, error) {
	return os.MkdirTemp("", prefix+kind+"-"+strconv.Itoa(os.Getpid())+"-")
}

// Sweep calls remove for each folder of a kind whose process is dead. It leaves alone what is no folder or belongs to another
// user: anybody may make files in the temporary folder.
func Sweep(kind string, remove func(folder string) error) {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+kind+"-*"))
	for _, folder := range folders {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), prefix+kind+"-"), "-")
		if pid, err := strconv.Atoi(id); err == nil && pid > 0 && !Alive(pid) && Ours(folder) {
			remove(folder) // where this fails, a later sweep tries again
		}
	}
}

// Ours reports whether a path is a folder, and no link to one, that belongs to the user of this process.
func Ours(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir() && ownedByUs(info)
}
