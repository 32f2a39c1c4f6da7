package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// ChecksumsFile lists the size and the checksum of every other file of a folder that a run reads again, such as a checkpoint.
const ChecksumsFile = "checksums.json"

// fileSum is the size of a file in bytes and the CRC-32C (Castagnoli) of its content, in hexadecimal.
type fileSum struct {
	Size int64  `json:"size"`
	CRC  string `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summed measures what passes through it.
type summed struct {
	w    io.Writer
	size int64
	crc  uint32
}

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.size += int64(n)
	s.crc = crc32.Update(s.crc, castagnoli, p[:n])
	return n, err
}

func (s *summed) sum() fileSum { return fileSum{s.size, fmt.Sprintf("%08x", s.crc)} }

// Summing returns a Writer that notes the checksum of each file, for Checksums.
func (o Writer) Summing() Writer {
	o.sums = map[string]fileSum{}
	return o
}

// Checksums writes the checksums of the files below dir that a Summing writer has written.
func (o Writer) Checksums(dir string) error {
	sums := map[string]fileSum{}
	for name, sum := range o.sums {
		if below, ok := strings.CutPrefix(name, dir+"/"); ok {
			sums[below] = sum
		}
	}
	text, err := json.MarshalIndent(sums, "", "  ")
	if err != nil {
		return err
	}
	return o.Bytes(path.Join(dir, ChecksumsFile), append(text, '\n'))
}

// Damaged is the error of a folder that does not hold what was written to it.
type Damaged struct {
	File string
	Err  error
}

func (d *Damaged) Error() string { return fmt.Sprintf("%s is damaged: %v", d.File, d.Err) }
func (d *Damaged) Unwrap() error { return d.Err }

// Verify reads every file that the folder's checksums name. A file of another size or with other bytes gives a *Damaged, a
// missing file fs.ErrNotExist. A folder without checksums, as other programs and older versions write it, passes, and checked is false.
func Verify(fsys fs.FS) (checked bool, err error) {
	text, err := ReadSmall(fsys, ChecksumsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var sums map[string]fileSum
	if err := json.Unmarshal(text, &sums); err != nil {
		return false, &Damaged{ChecksumsFile, err}
	}
	if len(sums) == 0 {
		return false, &Damaged{ChecksumsFile, errors.New("it names no file")}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if !fs.ValidPath(name) {
			return false, &Damaged{ChecksumsFile, fmt.Errorf("%q is no name of a file", name)}
		}
		if err := verifyFile(fsys, name, sums[name]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// verifyFile compares one file with its checksum.
func verifyFile(fsys fs.FS, name string, want fileSum) error {
	file, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: %w", name, fs.ErrNotExist)
	} else if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != want.Size {
		return &Damaged{name, fmt.Errorf("it has %d bytes, and %d were written", info.Size(), want.Size)}
	}
	is := &summed{w: io.Discard}
	if from, ok := file.(io.ReaderAt); ok { // a file in a browser or behind a server is read in ranges
		_, err = io.CopyBuffer(is, struct{ io.Reader }{io.NewSectionReader(from, 0, want.Size)}, make([]byte, min(ChunkBytes, want.Size+1)))
	} else {
		_, err = io.Copy(is, file)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if is.sum() != want {
		return &Damaged{name, fmt.Errorf("its checksum is %s, and that of what was written is %s", is.sum().CRC, want.CRC)}
	}
	return nil
}
