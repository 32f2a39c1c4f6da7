package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// partialFolder holds files that are not complete, each as NAME.part, with NAME.part.json beside it.
const partialFolder = ".partial"

// partial is what NAME.part.json says of NAME.part.
type partial struct {
	File
	ETag string `json:"etag,omitempty"` // of the answer whose bytes are in the file
}

// fetch is the fetching of one file into the folder of a revision.
type fetch struct {
	client *Client
	name   Name // for messages
	repo   string
	commit string
	file   File
	folder *os.Root
	have   func(there, came int64) // is told how many bytes of the file are there, and how many of them have just come
	say    func(string)            // is told what the person should know
}

func (f *fetch) part() string {
	return partialFolder + "/" + strings.ReplaceAll(f.file.Path, "/", "--") + ".part"
}

// run fetches the file, or what is missing of it, and puts it in its place once it is whole and right.
func (f *fetch) run(ctx context.Context) error {
	const maxDamaged = 3
	for damaged := 0; ; {
		if err := f.download(ctx); err != nil {
			return err
		}
		err := f.finish()
		if err == nil || !errors.Is(err, errDamaged) {
			return err
		}
		if damaged++; damaged == maxDamaged {
			return fail(Damaged, "run the same command again, or name another endpoint: something between here and the hub changes the bytes", "%s of %s has come %d times with a wrong checksum", f.file.Path, f.name, maxDamaged)
		}
		f.say(f.file.Path + " has come with a wrong checksum; fetching it again")
	}
}

// errDamaged is the error of bytes that are not those of the file.
var errDamaged = errors.New("the checksum is wrong")

// download fetches until the unfinished file is as long as the file.
func (f *fetch) download(ctx context.Context) error {
	longest := int64(0) // that the unfinished file has been
	for failed, tries := 0, 0; ; tries++ {
		at, etag, err := f.state()
		if err != nil {
			return f.storage(err)
		}
		f.have(at, 0)
		if at == f.file.Size {
			return nil
		}
		if at > longest {
			longest, failed = at, 0
		}
		if err = f.request(ctx, at, etag); err == nil {
			continue
		}
		var t *temporary
		if !errors.As(err, &t) {
			return err
		}
		if failed++; failed >= maxTries || tries >= maxReconnects {
			return t.cause
		}
		if err := f.client.backoff(ctx, failed, t, f.say); err != nil {
			return err
		}
	}
}

// state is the length of the unfinished file, 0 for none and for one of another file, with the ETag of its bytes.
func (f *fetch) state() (at int64, etag string, err error) {
	if err := f.folder.MkdirAll(partialFolder, 0o777); err != nil {
		return 0, "", err
	}
	var known partial
	data, err := f.folder.ReadFile(f.part() + ".json")
	info, missing := f.folder.Stat(f.part())
	if err == nil && missing == nil && json.Unmarshal(data, &known) == nil && known.sameContent(f.file) && info.Size() <= f.file.Size {
		return info.Size(), known.ETag, nil
	}
	return 0, "", f.begin("")
}

// begin empties the unfinished file and notes which file it is.
func (f *fetch) begin(etag string) error {
	if err := f.folder.WriteFile(f.part(), nil, 0o666); err != nil {
		return err
	}
	data, err := json.Marshal(partial{f.file, etag})
	if err != nil {
		return err
	}
	return f.folder.WriteFile(f.part()+".json", data, 0o666)
}

// storage explains an error of the disk.
func (f *fetch) storage(err error) error {
	return storageError(err, f.file.Path)
}

// request asks for the bytes from at on and adds them to the unfinished file. Where the hub sends the file from its start, the
// unfinished file begins anew.
func (f *fetch) request(ctx context.Context, at int64, etag string) error {
	ctx, watch := newWatchdog(ctx, f.client.stall)
	defer watch.stop()
	address := f.client.fileURL(f.repo, f.commit, f.file.Path)
	header := http.Header{"Accept-Encoding": {"identity"}}
	if at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", at))
		if etag != "" {
			header.Set("If-Range", etag)
		}
	}
	response, err := f.client.get(ctx, address, header)
	if err != nil {
		return watch.explain(err, address.Host)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		if length := response.ContentLength; length >= 0 && length != f.file.Size {
			return fail(Broken, "run the same command again later: something between here and the hub may answer in its place", "%s sends %d bytes as %s of %s, which has %d", address.Host, length, f.file.Path, f.name, f.file.Size)
		}
		if err := f.begin(strong(response.Header.Get("ETag"))); err != nil {
			return f.storage(err)
		}
		at = 0
		f.have(at, 0)
	case http.StatusPartialContent:
		if from, total, ok := contentRange(response.Header.Get("Content-Range")); !ok || from != at || total != f.file.Size {
			return f.restart("the hub sends other bytes of %s than those that are missing")
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return f.restart("the hub does not continue %s where it was cut off")
	default:
		return f.client.refused(response, f.name)
	}
	return watch.explain(f.append(watch.reader(response.Body), at), address.Host)
}

// restart is a temporary failure after which the file is fetched from its start. The format takes the file's path.
func (f *fetch) restart(format string) error {
	if err := f.begin(""); err != nil {
		return f.storage(err)
	}
	return &temporary{cause: fail(Broken, "run the same command again", format, f.file.Path)}
}

// append adds what comes to the unfinished file, and no more than is missing.
func (f *fetch) append(body io.Reader, at int64) error {
	file, err := f.folder.OpenFile(f.part(), os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return f.storage(err)
	}
	defer file.Close()
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return f.storage(err)
	}
	buffer := make([]byte, 256<<10)
	for {
		n, readErr := body.Read(buffer)
		if at+int64(n) > f.file.Size {
			return fail(Broken, "run the same command again", "the hub sends more bytes of %s than the %d that its list says", f.file.Path, f.file.Size)
		}
		if n > 0 {
			if _, err := file.Write(buffer[:n]); err != nil {
				file.Truncate(at)
				return f.storage(err)
			}
			at += int64(n)
			f.have(at, int64(n))
		}
		switch {
		case readErr == io.EOF && at == f.file.Size:
			return nil
		case readErr == io.EOF:
			readErr = io.ErrUnexpectedEOF
			fallthrough
		case readErr != nil:
			return &temporary{cause: fail(Unreachable, "check the network and run the same command again", "the connection was cut while fetching %s: %v", f.file.Path, readErr)}
		}
	}
}

// finish checks the unfinished file and moves it to its place. It removes a damaged one.
func (f *fetch) finish() error {
	right, err := checksumIs(f.folder, f.part(), f.file)
	if err != nil {
		return f.storage(err)
	}
	if !right {
		return errors.Join(errDamaged, f.begin(""))
	}
	if err := moveIntoPlace(f.folder, f.part(), f.file.Path); err != nil {
		return f.storage(err)
	}
	f.folder.Remove(f.part() + ".json") // an old one does no harm
	return nil
}

// moveIntoPlace writes a file to the disk and renames it.
func moveIntoPlace(folder *os.Root, from, to string) error {
	file, err := folder.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if dir := filepath.ToSlash(filepath.Dir(to)); dir != "." {
		if err := folder.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	return folder.Rename(from, to)
}

// checksumIs reports whether a file on the disk has the size and the checksum of f.
func checksumIs(folder *os.Root, path string, f File) (bool, error) {
	file, err := folder.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != f.Size {
		return false, err
	}
	sum, want := newChecksum(f)
	if _, err := io.Copy(sum, file); err != nil {
		return false, err
	}
	return hex.EncodeToString(sum.Sum(nil)) == want, nil
}

// newChecksum is the hash of a file's content that the hub knows, and its value. Git hashes a header before the content.
func newChecksum(f File) (sum hash.Hash, want string) {
	if f.SHA256 != "" {
		return sha256.New(), f.SHA256
	}
	sum = sha1.New()
	fmt.Fprintf(sum, "blob %d\x00", f.Size)
	return sum, f.Blob
}

// strong is an ETag that can be used with If-Range, or "".
func strong(etag string) string {
	if len(etag) > 200 || len(etag) < 2 || !strings.HasPrefix(etag, `"`) {
		return ""
	}
	return etag
}

// contentRange reads "bytes FROM-TO/TOTAL".
func contentRange(text string) (from, total int64, ok bool) {
	text, found := strings.CutPrefix(text, "bytes ")
	span, length, slash := strings.Cut(text, "/")
	first, _, dash := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	total, bad := strconv.ParseInt(length, 10, 64)
	return from, total, found && slash && dash && err == nil && bad == nil
}
