package servertest

import (
	"errors"
	"os"
	"testing"
)

// TearLog appends the beginning of an entry to a room's log, as a program does that is killed while it writes. It takes the
// beginning of the first entry.
func TearLog(t *testing.T, name string) {
	t.Helper()
	log, err := os.OpenFile(name, os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	begun := make([]byte, 100)
	_, err1 := log.ReadAt(begun, 0)
	_, err2 := log.Write(begun)
	if err := errors.Join(err1, err2, log.Close()); err != nil {
		t.Fatal(err)
	}
}
