package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"llamatab/server/exit"
	"llamatab/server/room"
)

// roomCommand is the command room. It works on the folder of a room that no server has open: DIR/.room/run in the output folder
// of a run over tabs, rooms/ID in the folder that serve --state names.
func roomCommand(_ context.Context, args []string) error {
	f := newFlagSet("room")
	if len(args) == 0 || isHelp(args[0]) {
		return f.parse([]string{"--help"})
	}
	if len(args) != 2 {
		return exit.Usagef("room: want verify, repair or replay, and the folder of a room")
	}
	dir, err := filepath.Abs(args[1])
	if err != nil {
		return exit.Usagef("room: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "log")); err != nil || !info.Mode().IsRegular() {
		return exit.Usagef("room: %s holds no log, so it is no room's folder", dir)
	}
	storage, err := room.OpenLocal(filepath.Dir(dir))
	if err != nil {
		return err
	}
	id := filepath.Base(dir)
	switch args[0] {
	case "verify":
		i, err := storage.Inspect(id)
		if err != nil {
			return err
		}
		return verified(os.Stdout, i)
	case "repair":
		i, err := storage.Repair(id)
		if errors.Is(err, room.ErrNothing) {
			return verified(os.Stdout, i)
		}
		if err != nil {
			return err
		}
		fmt.Printf("cut off the log's last %d bytes, which are kept as log.cut.%d: %v\n", i.Rest, i.Bytes, i.Err)
		fmt.Printf("the room goes on with step %d of %d\n", i.Step, i.Steps)
		return nil
	case "replay":
		steps, err := storage.Replay(id)
		if err != nil {
			return err
		}
		fmt.Printf("%d stored gradients give the norms and factors of the log\n", len(steps))
		return nil
	}
	return exit.Usagef("room: no %q: use verify, repair or replay", args[0])
}

// verified prints what an inspection found, and is an error if something is damaged.
func verified(out io.Writer, i *room.Inspection) error {
	fmt.Fprintf(out, "%d records, step %d of %d, checkpoint of version %d, %d blobs\n", i.Records, i.Step, i.Steps, i.Saved, i.Blobs)
	for _, what := range i.Damaged {
		fmt.Fprintln(out, "damaged:", what)
	}
	switch {
	case i.Err != nil:
		return fmt.Errorf("%w; llamatab room repair keeps the first %d records and sets %d bytes aside", i.Err, i.Records, i.Rest)
	case len(i.Damaged) > 0:
		return fmt.Errorf("%d of %d blobs are damaged; the room makes them again when it is opened, if it can", len(i.Damaged), i.Blobs)
	}
	fmt.Fprintln(out, "everything is whole")
	return nil
}
