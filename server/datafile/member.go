package datafile

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"llamatab/server/temporary"
)

// SplitMember splits "archive.zip#member" into the archive and the member's name. member is "" for a path that names a file as it
// stands, and for one whose part before the last # is no file.
func SplitMember(name string) (archive, member string) {
	at := strings.LastIndexByte(name, '#')
	if at <= 0 || at == len(name)-1 {
		return name, ""
	}
	if _, err := os.Stat(name); err == nil {
		return name, ""
	}
	if info, err := os.Stat(name[:at]); err != nil || !info.Mode().IsRegular() {
		return name, ""
	}
	return name[:at], name[at+1:]
}

// Member unpacks one file of a zip archive into a new temporary folder, and converts it as Convert does. member is its name in
// the archive, or the last part of it where only one file has that.
func Member(archive, member string) (*File, error) {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return nil, fmt.Errorf("%s is no zip archive that can be read: %w", archive, err)
	}
	defer z.Close()
	found, err := findMember(z.File, member)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	temporary.Sweep(kind, os.RemoveAll)
	folder, err := temporary.New(kind)
	if err != nil {
		return nil, err
	}
	unpacked := &File{filepath.Join(folder.Path, filepath.Base(filepath.FromSlash(path.Base(found.Name)))), folder}
	if err := write(unpacked.Path, func(w io.Writer) error { return unzip(found, w) }); err != nil {
		return nil, errors.Join(fmt.Errorf("%s#%s: %w", archive, found.Name, err), unpacked.Remove())
	}
	converted, err := Convert(unpacked.Path)
	if converted == nil && err == nil {
		return unpacked, nil
	}
	return converted, errors.Join(err, unpacked.Remove())
}

// findMember is the file of the archive with this name, or the only one whose name ends with it.
func findMember(all []*zip.File, member string) (*zip.File, error) {
	var found []*zip.File
	var names []string
	for _, f := range all {
		if f.FileInfo().IsDir() {
			continue
		}
		names = append(names, f.Name)
		if f.Name == member {
			return f, nil
		}
		if path.Base(f.Name) == member {
			found = append(found, f)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("the zip archive has %d files called %q: give its folder as well, such as %q", len(found), member, found[0].Name)
	}
	const most = 12
	more := ""
	if len(names) > most {
		names, more = names[:most], " …"
	}
	return nil, fmt.Errorf("the zip archive has no file %q; it has %q%s", member, names, more)
}

// maxRatio is how many bytes one packed byte may unpack to, counted from freeUnpacked bytes on: what a zip archive of text
// never has, and one that is made to fill a disk does.
const (
	maxRatio     = 200
	freeUnpacked = 16 << 20
)

func unzip(f *zip.File, w io.Writer) error {
	if f.Flags&1 != 0 {
		return errors.New("it is encrypted: unpack it first")
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	most := max(freeUnpacked, maxRatio*int64(min(f.CompressedSize64, maxConverted/maxRatio)))
	n, err := io.Copy(w, io.LimitReader(in, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("it unpacks to more than %d times its size", maxRatio)
	}
	return err
}
