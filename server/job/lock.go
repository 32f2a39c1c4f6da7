package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// lockName is the file in an output folder by which a run holds the folder for itself. It is locked with the system, so
// that the lock ends with the process, however that ends.
const lockName = ".lock"

// ErrLocked is wrapped by the error of a folder that another run writes to.
var ErrLocked = errors.New("the output folder is in use by another run")

var errTaken = errors.New("locked") // of tryLock

// lock takes the folder, or names who has it.
func lock(root *os.Root, folder string) (*os.File, error) {
	name := filepath.Join(folder, lockName)
	for {
		file, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, fmt.Errorf("job: locking the output folder: %w", err)
		}
		if err := tryLock(file); err != nil {
			said, _ := io.ReadAll(io.LimitReader(file, 256))
			file.Close()
			if errors.Is(err, errTaken) {
				return nil, fmt.Errorf("job: %s: %w: %s; choose another folder, or end that run", folder, ErrLocked, said)
			}
			return nil, fmt.Errorf("job: locking %s: %w", name, err)
		}
		// Whoever had it may have removed it meanwhile: then it is another file that counts.
		mine, err := file.Stat()
		there, gone := root.Stat(lockName)
		if err != nil || gone != nil || !os.SameFile(mine, there) {
			file.Close()
			continue
		}
		host, _ := os.Hostname()
		text := fmt.Sprintf("process %d on %s, since %s", os.Getpid(), host, time.Now().Format(time.DateTime))
		if err := errors.Join(file.Truncate(0), write(file, text)); err != nil {
			file.Close()
			return nil, fmt.Errorf("job: locking %s: %w", name, err)
		}
		return file, nil
	}
}

func write(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
