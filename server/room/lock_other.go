//go:build !unix

package room

import "os"

// lockFile does nothing where package syscall has no locks.
func lockFile(*os.File) error { return nil }
