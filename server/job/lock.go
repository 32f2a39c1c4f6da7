package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"llamatab/server/filelock"
)

// lockName is the file in an output folder that a run locks while it writes there. The operating system holds the lock, so
// it ends with the process, however the process ends.
const lockName = ".lock"

// ErrLocked is wrapped by the error of a folder that another run writes to.
var ErrLocked = errors.New("the output folder is in use by another run")

// lock locks the folder. The error names the process that has locked it.
func lock(root *os.Root, folder string) (*os.File, error) {
	name := filepath.Join(folder, lockName)
	for {
		file, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, fmt.Errorf("job: locking the output folder: %w", err)
		}
		if err := filelock.TryLock(file); err != nil {
			owner, _ := io.ReadAll(io.LimitReader(file, 256))
			file.Close()
			if errors.Is(err, filelock.ErrTaken) {
				return nil, fmt.Errorf("job: %s: %w: %s; choose another folder, or end that run", folder, ErrLocked, owner)
			}
			return nil, fmt.Errorf("job: locking %s: %w", name, err)
		}
		// The run that had the lock may have removed the file meanwhile: then another run locks a new file.
		mine, err := file.Stat()
		there, gone := root.Stat(lockName)
		if err != nil || gone != nil || !os.SameFile(mine, there) {
			file.Close()
			continue
		}
		host, _ := os.Hostname()
		text := fmt.Sprintf("process %d on %s, since %s", os.Getpid(), host, time.Now().Format(time.DateTime))
		if err := errors.Join(file.Truncate(0), sign(file, text)); err != nil {
			file.Close()
			return nil, fmt.Errorf("job: locking %s: %w", name, err)
		}
		return file, nil
	}
}

func sign(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
