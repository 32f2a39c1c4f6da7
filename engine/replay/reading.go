package replay

import (
	"io"
	"io/fs"
)

// tellFrom is the size in bytes from which on the progress of reading a data file is told. A smaller one is read at once.
const tellFrom = 4 << 20

// reading is an open data file that counts the bytes that are read of it.
type reading struct {
	fs.File
	done, total int64
	tell        func(done, total int64) // nil: nobody is told
}

// count opens the counting of a file. The result is an io.ReaderAt where the file is one.
func count(f fs.File, tell func(done, total int64)) (fs.File, *reading) {
	r := &reading{File: f}
	if info, err := f.Stat(); err == nil {
		r.total = info.Size()
	}
	if r.total >= tellFrom {
		r.tell = tell
	}
	if at, ok := f.(io.ReaderAt); ok {
		return &readingAt{r, at}, r
	}
	return r, r
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.File.Read(p)
	r.add(n)
	return n, err
}

// add counts n bytes. A file is at its end when end is called, as an archive may be read twice in places.
func (r *reading) add(n int) {
	if r.done += int64(n); r.tell != nil {
		r.tell(min(r.done, r.total-1), r.total)
	}
}

// end tells that the file has been read.
func (r *reading) end() {
	if r.tell != nil {
		r.tell(r.total, r.total)
	}
}

// readingAt is a reading of a file that can be read at any place.
type readingAt struct {
	*reading
	at io.ReaderAt
}

func (r *readingAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.at.ReadAt(p, off)
	r.add(n)
	return n, err
}
