// Package datafile turns data files that the engine does not read, Parquet and Zstandard, into files that it does. The engine
// also runs in a browser, which their readers would make larger.
package datafile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"llamatab/server/temporary"
)

// Limits on an untrusted file.
const (
	maxConverted = 64 << 30  // bytes of the converted file
	maxWindow    = 256 << 20 // bytes of a Zstandard window
	rowsAtOnce   = 64
)

// kind names the folders of converted files in the system's temporary folder.
const kind = "data"

// File is a converted file in a temporary folder of its own.
type File struct {
	Path   string
	folder *temporary.Folder
}

// Remove removes the file with its folder.
func (f *File) Remove() error { return f.folder.Remove(os.RemoveAll) }

// Convert writes the file as the engine reads it into a new temporary folder. Parquet becomes JSON lines, one object a row, and
// Zstandard is unpacked. A file of another kind is not converted, and nil is returned.
func Convert(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 4)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, nil // too short to be of either kind
	}
	var name string
	var convert func(io.Writer) error
	switch {
	case string(head) == "PAR1":
		name, convert = filepath.Base(path)+".jsonl", func(w io.Writer) error { return fromParquet(f, w) }
	case bytes.Equal(head, []byte("\x28\xb5\x2f\xfd")):
		name, convert = strings.TrimSuffix(filepath.Base(path), ".zst"), func(w io.Writer) error { return unpack(f, w) }
	default:
		return nil, nil
	}
	temporary.Sweep(kind, os.RemoveAll)
	folder, err := temporary.New(kind)
	if err != nil {
		return nil, err
	}
	converted := &File{filepath.Join(folder.Path, name), folder}
	if err := write(converted.Path, convert); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), converted.Remove())
	}
	return converted, nil
}

// write makes the file of what convert writes.
func write(name string, convert func(io.Writer) error) error {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(&limited{w: out}, 1<<20)
	err = convert(w)
	return errors.Join(err, w.Flush(), out.Close())
}

// limited ends the writing of what grows beyond maxConverted.
type limited struct {
	w io.Writer
	n int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.n += int64(len(p)); l.n > maxConverted {
		return 0, fmt.Errorf("it unpacks to more than %d bytes", int64(maxConverted))
	}
	return l.w.Write(p)
}

func unpack(f *os.File, w io.Writer) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	if _, err = io.Copy(w, z); errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the Zstandard file ends early: it was cut off when it was downloaded or copied (%w)", err)
	}
	return err
}

// checkFooter compares the length that a Parquet file gives for its footer with the size of the file. The reader allocates that
// length, up to 4 GB, before it reads.
func checkFooter(f *os.File, size int64) error {
	const ends = 12 // PAR1 at the beginning, and the length of the footer with PAR1 at the end
	var tail [8]byte
	if size < ends {
		return fmt.Errorf("the Parquet file is damaged or was cut off: it has %d bytes", size)
	}
	if _, err := f.ReadAt(tail[:], size-int64(len(tail))); err != nil {
		return err
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:])); n > size-ends {
		return fmt.Errorf("the Parquet file is damaged or was cut off: a footer of %d bytes does not fit a file of %d", n, size)
	}
	return nil
}

// fromParquet writes each row of a Parquet file as a JSON object on a line.
func fromParquet(f *os.File, w io.Writer) (err error) {
	rows := 0
	defer func() {
		if r := recover(); r != nil { // the reader panics on some damaged files
			err = fmt.Errorf("the Parquet file is damaged after row %d: %v", rows, r)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkFooter(f, info.Size()); err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("the Parquet file is damaged or was cut off: %w", err)
	}
	if len(file.Schema().Columns()) == 0 { // its rows have no bytes, so that a short file can claim any number of them
		return errors.New("the Parquet file has no columns")
	}
	in := parquet.NewGenericReader[any](file)
	defer in.Close()
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for buffer := make([]any, rowsAtOnce); ; {
		clear(buffer)
		n, err := in.Read(buffer)
		for _, row := range buffer[:n] {
			if err := encoder.Encode(plain(row)); err != nil {
				return err
			}
			rows++
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("the Parquet file is damaged after row %d: %w", rows, err)
		case n == 0:
			return fmt.Errorf("the Parquet file gives no rows after row %d", rows)
		}
	}
}

// plain is a value of a row as JSON can hold it: bytes that are text become a string, other bytes and the numbers that JSON lacks
// become null.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = plain(value)
		}
	case []any:
		for i, value := range v {
			v[i] = plain(value)
		}
	case string:
		if !utf8.ValidString(v) {
			return nil
		}
	case []byte:
		if !utf8.Valid(v) {
			return nil
		}
		return string(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case float32:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil
		}
	}
	return v
}
