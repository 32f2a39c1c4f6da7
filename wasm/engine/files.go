//go:build js

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall/js"
	"time"
)

// folder is an fs.FS of files by their paths. They are read by ranges, over HTTP or from the person's disk.
type folder map[string]*remote

// remote is a file on a server or on the person's disk.
type remote struct {
	name string
	size int64
	// read fills p with the bytes from offset on. It returns fewer bytes only together with an error.
	read func(p []byte, offset int64) (int, error)
}

// Open implements fs.FS.
func (f folder) Open(name string) (fs.File, error) {
	if r, ok := f[name]; ok {
		return &opened{remote: r}, nil
	}
	below := f.below(name)
	if name != "." && len(below) == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &listing{name: path.Base(name), files: below}, nil
}

// below are the files that lie in a folder itself.
func (f folder) below(name string) (files []*remote) {
	for at, r := range f {
		if path.Dir(at) == name {
			files = append(files, r)
		}
	}
	return files
}

// readAhead is how many bytes a sequential reader fetches at a time.
const readAhead = 1 << 20

// opened is an open remote file with a position.
type opened struct {
	*remote
	at     int64  // where the next fetch begins
	buffer []byte // fetched and not read yet
}

func (o *opened) Stat() (fs.FileInfo, error) { return info{o.remote}, nil }
func (o *opened) Close() error               { o.buffer = nil; return nil }

// ReadAt implements io.ReaderAt.
func (o *opened) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	n := int(min(int64(len(p)), max(o.size-offset, 0)))
	if n > 0 {
		if got, err := o.read(p[:n], offset); err != nil || got < n {
			return got, fmt.Errorf("%s: %d of %d bytes at %d: %w", o.name, got, n, offset, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Read implements io.Reader.
func (o *opened) Read(p []byte) (int, error) {
	if len(o.buffer) == 0 {
		if o.at >= o.size {
			return 0, io.EOF
		}
		b := make([]byte, min(readAhead, o.size-o.at))
		n, err := o.ReadAt(b, o.at)
		if err != nil {
			return 0, err
		}
		o.at, o.buffer = o.at+int64(n), b[:n]
	}
	n := copy(p, o.buffer)
	o.buffer = o.buffer[n:]
	return n, nil
}

type info struct{ *remote }

func (i info) Name() string       { return path.Base(i.remote.name) }
func (i info) Size() int64        { return i.remote.size }
func (i info) Mode() fs.FileMode  { return 0o444 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }

// listing is an open folder.
type listing struct {
	name  string
	files []*remote
	read  bool
}

func (l *listing) Name() string       { return l.name }
func (l *listing) Size() int64        { return 0 }
func (l *listing) Mode() fs.FileMode  { return fs.ModeDir | 0o555 }
func (l *listing) ModTime() time.Time { return time.Time{} }
func (l *listing) IsDir() bool        { return true }
func (l *listing) Sys() any           { return nil }

func (l *listing) Stat() (fs.FileInfo, error) { return l, nil }
func (l *listing) Read([]byte) (int, error)   { return 0, errors.New("is a folder") }
func (l *listing) Close() error               { return nil }

// ReadDir implements fs.ReadDirFile. It lists files; folders are opened by their names.
func (l *listing) ReadDir(int) ([]fs.DirEntry, error) {
	if l.read {
		return nil, io.EOF
	}
	l.read = true
	var entries []fs.DirEntry
	for _, r := range l.files {
		entries = append(entries, fs.FileInfoToDirEntry(info{r}))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// fromFiles is a folder of files that the page posted: File objects, {name, file} for a file in a folder of the folder, or
// {name, size, url} for files of the server.
func fromFiles(list js.Value) folder {
	f := folder{}
	for i := range list.Length() {
		file := list.Index(i)
		name := file.Get("name").String()
		blob := file
		if inner := file.Get("file"); inner.Truthy() {
			blob = inner
		}
		f[name] = fromBlob(name, blob)
		if url := file.Get("url"); url.Type() == js.TypeString {
			server := &httpHost{base: url.String()}
			f[name].read = func(p []byte, offset int64) (int, error) { return server.readAt("", p, offset) }
		}
	}
	return f
}

// fromBlob is a remote file with the content of a Blob. A File is a Blob.
func fromBlob(name string, blob js.Value) *remote {
	return &remote{name: name, size: int64(blob.Get("size").Float()), read: func(p []byte, offset int64) (int, error) {
		buffer, err := await(blob.Call("slice", float64(offset), float64(offset+int64(len(p)))).Call("arrayBuffer"))
		if err != nil {
			return 0, fmt.Errorf("the browser cannot read the file any more (%w): choose it again", err)
		}
		return bytesOf(buffer, p), nil
	}}
}
