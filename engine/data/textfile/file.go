// Package textfile opens files that people have as text: packed with gzip or zip, in UTF-8, UTF-16 or GB18030. What is no text is
// named by its first bytes.
package textfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"llamatab/engine/message"
)

// File is an open file: unpacked, and as UTF-8.
type File struct {
	In      *bufio.Reader
	Name    string // of the file or, in an archive, of the member that is read: its extension tells the layout
	Packed  bool
	How     *message.DataFile
	Remarks []message.Remark
	Skipped int64 // bytes before what In gives, where the file is UTF-8 and not packed
}

// Buffer is the size of In in bytes: so much of a file can be looked at before it is read.
const Buffer = 64 << 10

// Open unpacks a file, refuses what is no text and finds the encoding. A zip archive is read at any place where r is an
// io.ReaderAt of a known Size, and from memory otherwise.
func Open(r io.Reader, name string) (*File, error) {
	f := &File{In: bufio.NewReaderSize(r, Buffer), Name: name, How: &message.DataFile{}}
	if err := f.unpack(r); err != nil {
		return nil, err
	}
	head, _ := f.In.Peek(sniffed)
	if what := binaryKind(head); what != "" {
		return nil, errors.New(what)
	}
	f.decode(head)
	return f, nil
}

// Remark adds a remark on the file.
func (s *File) Remark(code, text string, pairs ...any) {
	s.Remarks = append(s.Remarks, message.NewRemark(code, text, pairs...))
}

// Size is the size of an open file in bytes, 0 where it is not known.
func Size(r io.Reader) int64 {
	switch f := r.(type) {
	case interface{ Size() int64 }:
		return f.Size()
	case interface{ Stat() (fs.FileInfo, error) }:
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return 0
}

// Extension is the extension of a file's name in lower case, with its dot.
func Extension(name string) string { return strings.ToLower(path.Ext(name)) }

// spell lists names for a message.
func spell(names []string) string {
	const most = 12
	s := fmt.Sprintf("%q", names[:min(most, len(names))])
	if len(names) > most {
		s += " …"
	}
	return s
}
