package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// files answers the file operations of the program. It may read below the folders of read, and read and write below the
// folder write.
type files struct {
	read  []string
	write string
}

// errnos are codes that Go's js runtime understands. The first that matches an error is sent.
var errnos = []struct {
	err  error
	code string
}{
	{fs.ErrNotExist, "ENOENT"},
	{fs.ErrExist, "EEXIST"},
	{fs.ErrPermission, "EACCES"},
	{syscall.ENOTDIR, "ENOTDIR"},
	{syscall.EISDIR, "EISDIR"},
	{syscall.ENOTEMPTY, "ENOTEMPTY"},
	{syscall.ENOSPC, "ENOSPC"},
}

// The open flags, with the values of worker.js.
const (
	jsWrite     = 1 | 2 // O_WRONLY | O_RDWR
	jsCreate    = 64
	jsExclusive = 128
	jsTruncate  = 512
)

// readable lists the folders that a program started in directory may read: its module and the folder "shared" beside it,
// or directory alone where there is no module.
func readable(directory string) []string {
	for at := directory; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return []string{at, filepath.Join(filepath.Dir(at), "shared")}
		}
		if at == filepath.Dir(at) {
			return []string{directory}
		}
	}
}

func (f files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	result, err := f.do(r)
	if err != nil {
		code := "EIO"
		for _, e := range errnos {
			if errors.Is(err, e.err) {
				code = e.code
				break
			}
		}
		w.Header().Set("X-Errno", code)
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	switch result := result.(type) {
	case nil:
	case []byte:
		w.Write(result)
	default:
		json.NewEncoder(w).Encode(result)
	}
}

// do runs one operation. Its result is nil, bytes, or a value to send as JSON.
func (f files) do(r *http.Request) (any, error) {
	query := r.URL.Query()
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(query.Get(name), 10, 64)
		return n
	}
	path := filepath.Clean(filepath.FromSlash(query.Get("path")))
	op, flags := r.PathValue("op"), number("flags")
	changes := op == "write" || op == "mkdir" || op == "unlink" || op == "rmdir" || op == "rename" || op == "truncate" ||
		op == "open" && flags&(jsWrite|jsCreate|jsTruncate) != 0
	if err := f.allow(op, path, changes); err != nil {
		return nil, err
	}
	switch op {
	case "open":
		return nil, open(path, number("flags"), fs.FileMode(number("mode")))
	case "read":
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return io.ReadAll(io.NewSectionReader(file, number("offset"), number("length")))
	case "write":
		return write(path, number("offset"), r.Body)
	case "stat":
		info, err := os.Stat(path)
		return status(info), err
	case "lstat":
		info, err := os.Lstat(path)
		return status(info), err
	case "readdir":
		entries, err := os.ReadDir(path)
		names := make([]string, len(entries))
		for i, e := range entries {
			names[i] = e.Name()
		}
		return names, err
	case "mkdir":
		return nil, os.Mkdir(path, fs.FileMode(number("mode")))
	case "unlink":
		// A folder is refused as by unlink(2), so that os.Remove in the program tries rmdir next.
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			return nil, &fs.PathError{Op: op, Path: path, Err: syscall.EISDIR}
		}
		return nil, os.Remove(path)
	case "rmdir":
		if info, err := os.Lstat(path); err == nil && !info.IsDir() {
			return nil, &fs.PathError{Op: op, Path: path, Err: syscall.ENOTDIR}
		}
		return nil, os.Remove(path)
	case "truncate":
		return nil, os.Truncate(path, number("length"))
	case "rename":
		to := filepath.Clean(filepath.FromSlash(query.Get("to")))
		if err := f.allow(op, to, true); err != nil {
			return nil, err
		}
		return nil, os.Rename(path, to)
	}
	return nil, fmt.Errorf("unknown operation %q", op)
}

// open opens a file with the flags of worker.js and closes it again, which creates or truncates it and reports errors.
func open(path string, flags int64, perm fs.FileMode) error {
	mode := os.O_RDONLY
	for js, native := range map[int64]int{jsCreate: os.O_CREATE, jsExclusive: os.O_EXCL, jsTruncate: os.O_TRUNC} {
		if flags&js != 0 {
			mode |= native
		}
	}
	if flags&jsWrite != 0 {
		mode |= os.O_RDWR
	}
	file, err := os.OpenFile(path, mode, perm)
	if err != nil {
		return err
	}
	return file.Close()
}

// write writes at an offset, or at the end of the file where offset is negative, and returns the number of bytes.
func write(path string, offset int64, from io.Reader) (n int64, err error) {
	mode := os.O_WRONLY
	if offset < 0 {
		mode |= os.O_APPEND
	}
	file, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if offset < 0 {
		return io.Copy(file, from)
	}
	return io.Copy(io.NewOffsetWriter(file, offset), from)
}

// allow refuses paths outside of the folders that the program may read, and changes outside of its temporary folder.
func (f files) allow(op, path string, changes bool) error {
	if within(path, f.write) {
		return nil
	}
	if !changes {
		for _, root := range f.read {
			if within(path, root) {
				return nil
			}
		}
	}
	return &fs.PathError{Op: op, Path: path, Err: fs.ErrPermission}
}

func within(path, root string) bool {
	rest, err := filepath.Rel(root, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}

// status is a file's metadata in the fields and units of Node's fs.Stats.
func status(info fs.FileInfo) map[string]int64 {
	if info == nil {
		return nil
	}
	kind := int64(0o100000)
	switch {
	case info.IsDir():
		kind = 0o040000
	case info.Mode()&fs.ModeSymlink != 0:
		kind = 0o120000
	}
	ms := info.ModTime().UnixMilli()
	return map[string]int64{"dev": 0, "ino": 0, "mode": kind | int64(info.Mode().Perm()), "nlink": 1, "uid": 0, "gid": 0, "rdev": 0,
		"size": info.Size(), "blksize": 4096, "blocks": (info.Size() + 511) / 512, "atimeMs": ms, "mtimeMs": ms, "ctimeMs": ms}
}
