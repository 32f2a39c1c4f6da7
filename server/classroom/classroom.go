// Package classroom runs the rooms of `llamatab serve`. Their tabs belong to people, who join by a code, so all that a tab
// needs comes from the server: its library, and files that the room's owner uploads.
package classroom

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"llamatab/server/library"
	"llamatab/server/room"
	"llamatab/server/temporary"
)

// Classroom is the rooms of a server and the files that they use.
type Classroom struct {
	*room.Rooms
	lessons   *lessons
	uploads   library.Uploads
	temporary *temporary.Folder // the folder to remove at the end, nil for one that stays
}

// roomsKind is the kind of the temporary folder.
const roomsKind = "rooms"

// Open opens the rooms that a folder keeps, and those that are opened later. state "" is a temporary folder, which Close
// removes. Rooms train what the library offers; Open adds to it the files that pages upload.
func Open(state string, offers *library.Library, log *slog.Logger) (*Classroom, error) {
	c := &Classroom{}
	if state == "" {
		temporary.Sweep(roomsKind, os.RemoveAll) // what servers left that were killed
		made, err := temporary.New(roomsKind)
		if err != nil {
			return nil, err
		}
		c.temporary, state = made, made.Path
	}
	c.uploads = library.Uploads{Dir: filepath.Join(state, "handed")}
	offers.Uploads = c.uploads
	c.lessons = &lessons{Library: *offers}
	if err := c.open(filepath.Join(state, "rooms"), log); err != nil {
		if c.temporary != nil {
			c.temporary.Remove(os.RemoveAll)
		}
		return nil, err
	}
	return c, nil
}

func (c *Classroom) open(dir string, log *slog.Logger) error {
	local, err := room.OpenLocal(dir)
	if err != nil {
		return err
	}
	if c.Rooms, err = room.OpenRooms(local, log); err != nil {
		return err
	}
	c.Describe, c.Plan, c.Sources = c.lessons.describe, c.lessons.plan, c.lessons.sources
	go c.CountTokens() // tokenizing the data of old rooms takes time, and nothing waits for it
	if err := c.removeOldUploads(); err != nil {
		return fmt.Errorf("files of earlier rooms cannot be removed: %w", err)
	}
	return nil
}

// Handler answers all that concerns rooms below /api/.
func (c *Classroom) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/rooms", c.Rooms.Handler())
	mux.Handle("/api/rooms/", c.Rooms.Handler())
	mux.HandleFunc("PUT "+library.UploadPath, c.upload)
	return mux
}

// Close ends the rooms. Their tabs are told to come back.
func (c *Classroom) Close() error {
	err := c.Rooms.Close()
	if c.temporary != nil {
		c.temporary.Remove(os.RemoveAll)
	}
	return err
}
