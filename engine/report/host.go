package report

import (
	"fmt"
	"io"
	"io/fs"

	"llamatab/engine/device"
	"llamatab/engine/message"
)

// Files are the folders that a job reads from. A folder that the job does not have is nil. The files of weights must
// implement io.ReaderAt.
type Files struct {
	Model     fs.FS            // a Hugging Face folder
	Dataset   fs.FS            // holds one file
	Adapter   fs.FS            // a PEFT folder
	Compare   map[string]fs.FS // PEFT folders to compare, by AdapterMount
	Resume    fs.FS            // a checkpoint folder
	Head      fs.FS            // holds the first values of an added head: one file, or a folder with head.safetensors
	Tokenizer fs.FS            // holds tokenizer.json, where the model folder does not
	Base      fs.FS            // the model before its own weights were trained, where a chat compares it

	// DataRead is told how many bytes of a large data file have been read; nil where nobody wants to know.
	DataRead func(done, total int64)
}

// AdapterMount is the mount name of the i-th adapter of a comparison.
func AdapterMount(i int) string { return fmt.Sprintf("adapter-%d", i) }

// Host receives what a job produces.
type Host interface {
	// Emit queues messages in order. It does not wait until they arrive.
	Emit(...message.Envelope)
	// Create starts a file below the output folder. Readers see the file only after Commit.
	Create(path string) (io.WriteCloser, error)
	// Commit makes a file or a folder of files visible and replaces what was there. For a checkpoint it may return a
	// *NoRoom: the checkpoint is lost and the run goes on.
	Commit(path string) error
	// Remove deletes a file or folder, committed or not. It is no error if nothing is there.
	Remove(path string) error
	// Open reads a committed folder, for example the checkpoint that a run returns to. It returns fs.ErrNotExist if the
	// folder is not there.
	Open(path string) (fs.FS, error)
	// Control returns the person's latest request since the last call, "" if there is none.
	Control() message.Control
}

// Asker is a Host that hands over conversations while a chat job runs.
type Asker interface {
	Host
	// Ask waits for the next conversation. The error is io.EOF where no more will come.
	Ask() (message.Ask, error)
}

// Open opens a device. Its limits are at least want where the hardware allows it.
type Open func(want device.Limits) (device.Device, error)

// NoRoom is the error of a Commit whose checkpoint does not fit into the storage.
type NoRoom struct {
	Bytes int64 // size of the checkpoint
	Err   error
}

func (e *NoRoom) Error() string { return fmt.Sprintf("no room for %d bytes: %v", e.Bytes, e.Err) }
func (e *NoRoom) Unwrap() error { return e.Err }
