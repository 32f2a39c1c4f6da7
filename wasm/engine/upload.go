//go:build js

package main

// uploadBytes is the size of the pieces in which a file leaves the program.
const uploadBytes = 4 << 20

// upload is a file that leaves the program in pieces of uploadBytes.
type upload struct {
	buffer []byte
	offset int64 // of buffer in the file
	any    bool  // a piece was sent
	flush  func(p []byte, offset int64) error
}

// Write implements io.Writer.
func (u *upload) Write(p []byte) (int, error) {
	u.buffer = append(u.buffer, p...)
	if len(u.buffer) < uploadBytes {
		return len(p), nil
	}
	return len(p), u.send()
}

func (u *upload) send() error {
	err := u.flush(u.buffer, u.offset)
	u.offset, u.any, u.buffer = u.offset+int64(len(u.buffer)), true, u.buffer[:0]
	return err
}

// Close sends the rest. An empty file is sent as one empty piece.
func (u *upload) Close() error {
	if len(u.buffer) == 0 && u.any {
		return nil
	}
	return u.send()
}
