package textfile

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Limits on what a packed file may grow to.
const (
	maxUnpacked  = 64 << 30 // bytes in all
	maxRatio     = 200      // bytes out of one packed byte, counted from freeUnpacked bytes on
	freeUnpacked = 16 << 20
	maxInMemory  = 256 << 20 // bytes of a zip archive that cannot be read at any place
)

// unpack replaces the reader by that of the data file inside a gzip file or zip archive, twice at most.
func (s *File) unpack(r io.Reader) error {
	for range 2 {
		head, _ := s.In.Peek(4)
		switch {
		case bytes.HasPrefix(head, []byte("\x1f\x8b")):
			packed := &counted{in: s.In}
			g, err := gzip.NewReader(packed)
			if err != nil {
				return cutShort("gzip file", err)
			}
			s.Name = strings.TrimSuffix(strings.TrimSuffix(s.Name, ".gz"), ".GZ")
			s.unpacked("gzip", "gzip file", g, packed.bytes)
		case bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")):
			if err := s.unzip(r); err != nil {
				return err
			}
		default:
			return nil
		}
		r = s.In
	}
	return nil
}

func (s *File) unpacked(kind, what string, r io.Reader, packed func() int64) {
	s.Packed, s.How.Packed = true, kind
	s.In = bufio.NewReaderSize(&bounded{in: r, what: what, packed: packed}, Buffer)
}

// unzip replaces the reader by that of the data file in a zip archive.
func (s *File) unzip(r io.Reader) error {
	at, size, err := randomAccess(r, s.In)
	if err != nil {
		return err
	}
	z, err := zip.NewReader(at, size)
	if err != nil {
		return cutShort("zip archive", err)
	}
	f, others, err := member(z.File)
	if err != nil {
		return err
	}
	if f.Flags&1 != 0 {
		return fmt.Errorf("%q in the zip archive is encrypted: unpack it first", f.Name)
	}
	in, err := f.Open()
	if err != nil {
		return fmt.Errorf("%q in the zip archive: %w: unpack it first", f.Name, err)
	}
	if others > 0 {
		s.Remark("archive_member", "{file}: of {n} files in it, {member} is read", "file", s.Name, "n", others+1, "member", f.Name)
	}
	s.Name, s.How.Member = f.Name, f.Name
	s.unpacked("zip", "zip archive", in, func() int64 { return int64(min(f.CompressedSize64, 1<<62)) })
	return nil
}

// randomAccess gives access to any place of an open file, from memory where the file itself has none.
func randomAccess(r io.Reader, rest io.Reader) (io.ReaderAt, int64, error) {
	if at, ok := r.(io.ReaderAt); ok {
		if size := Size(r); size > 0 {
			return at, size, nil
		}
	}
	all, err := io.ReadAll(io.LimitReader(rest, maxInMemory+1))
	switch {
	case err != nil:
		return nil, 0, err
	case len(all) > maxInMemory:
		return nil, 0, fmt.Errorf("a zip archive of more than %d bytes: unpack it first", maxInMemory)
	}
	return bytes.NewReader(all), int64(len(all)), nil
}

// dataExtensions are those of files that hold rows.
var dataExtensions = []string{".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".tab", ".txt", ".text", ".md", ".gz"}

// member is the one data file of an archive, and how many other files it might have been. Of several, the one called train or
// data is taken.
func member(all []*zip.File) (f *zip.File, others int, err error) {
	var files, rows, train []*zip.File
	for _, f := range all {
		base := path.Base(f.Name)
		switch {
		case f.FileInfo().IsDir() || strings.HasPrefix(base, ".") || strings.HasPrefix(f.Name, "__MACOSX/"):
			continue
		case f.Name == "xl/workbook.xml":
			return nil, 0, errors.New("an Excel workbook: save the sheet as CSV")
		case f.Name == "word/document.xml" || f.Name == "ppt/presentation.xml":
			return nil, 0, errors.New("a document of Microsoft Office: save it as plain text")
		case f.Name == "mimetype" || f.Name == "META-INF/manifest.xml":
			return nil, 0, errors.New("a document, not a data file: save it as CSV or plain text")
		}
		files = append(files, f)
		if documents(base) || !slices.Contains(dataExtensions, Extension(base)) {
			continue
		}
		rows = append(rows, f)
		if stem, _, _ := strings.Cut(strings.ToLower(base), "."); stem == "train" || stem == "data" {
			train = append(train, f)
		}
	}
	for _, choice := range [][]*zip.File{files, rows, train} {
		if len(choice) == 1 {
			return choice[0], len(files) - 1, nil
		}
	}
	if len(rows) == 0 {
		return nil, 0, fmt.Errorf("a zip archive without a data file: none of its %d files ends in %s", len(files), strings.Join(dataExtensions, ", "))
	}
	var names []string
	for _, f := range rows {
		names = append(names, f.Name)
	}
	return nil, 0, fmt.Errorf("a zip archive of %d data files, %s: unpack it and name one, or leave one called train in it", len(rows), spell(names))
}

// documents tells whether a file is about the others.
func documents(base string) bool {
	base = strings.ToUpper(base)
	return slices.ContainsFunc([]string{"README", "LICENSE", "LICENCE", "NOTICE", "CHANGELOG"}, func(word string) bool { return strings.HasPrefix(base, word) })
}

// cutShort is the error of an archive that cannot be read.
func cutShort(what string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, zip.ErrFormat) {
		return fmt.Errorf("the %s ends early (%w): it was cut off when it was downloaded or copied", what, err)
	}
	return fmt.Errorf("the %s is damaged: %w", what, err)
}

// counted counts the bytes that are read.
type counted struct {
	in *bufio.Reader
	n  int64
}

func (c *counted) bytes() int64 { return c.n }

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte lets gzip read no more than it needs.
func (c *counted) ReadByte() (byte, error) {
	b, err := c.in.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// bounded reads an unpacked file and stops what grows beyond the limits.
type bounded struct {
	in     io.Reader
	what   string
	packed func() int64
	n      int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.n += int64(n)
	switch {
	case b.n > maxUnpacked:
		return 0, fmt.Errorf("the %s unpacks to more than %d bytes", b.what, int64(maxUnpacked))
	case b.n > freeUnpacked && b.n/maxRatio > b.packed():
		return 0, fmt.Errorf("the %s unpacks to more than %d times its size: it is made to fill a disk, or repeats itself; unpack it first", b.what, maxRatio)
	case err != nil && err != io.EOF:
		return n, cutShort(b.what, err)
	}
	return n, err
}
