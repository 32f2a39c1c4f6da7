package hub

import (
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Limits on what a hub may say of a repository.
const (
	maxListing  = 32 << 20 // bytes of the answer
	maxFiles    = 50_000
	maxFileName = 240
	maxFileSize = 1 << 42 // 4 TiB
)

// File is a file of a repository.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // of the content, for a large file
	Blob   string `json:"blob,omitempty"`   // Git's SHA-1 of the content, for a small file
}

// sameContent reports whether two files have the same size and checksum.
func (f File) sameContent(g File) bool {
	return f.Size == g.Size && f.SHA256 == g.SHA256 && (f.SHA256 != "" || f.Blob == g.Blob)
}

// listing is what the hub says of a revision of a repository.
type listing struct {
	Repo   string // as the hub spells it
	Commit string
	Gated  bool
	Files  []File // all of them
}

// find is the file of that path.
func (l *listing) find(path string) (File, bool) {
	for _, f := range l.Files {
		if f.Path == path {
			return f, true
		}
	}
	return File{}, false
}

func (l *listing) has(path string) bool {
	_, found := l.find(path)
	return found
}

// parseListing reads the hub's answer for a name. It refuses an answer that no hub gives.
func parseListing(data []byte, name Name) (*listing, error) {
	refuse := func(format string, args ...any) (*listing, error) {
		return nil, fail(Broken, "", "the hub's answer for "+name.String()+" makes no sense: "+format, args...)
	}
	var answer struct {
		ID       string          `json:"id"`
		SHA      string          `json:"sha"`
		Gated    json.RawMessage `json:"gated"` // false, "auto" or "manual"
		Siblings []struct {
			Path string `json:"rfilename"`
			Size *int64 `json:"size"`
			Blob string `json:"blobId"`
			LFS  *struct {
				SHA256 string `json:"sha256"`
				Size   int64  `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return refuse("%v", err)
	}
	if !commitHash.MatchString(answer.SHA) {
		return refuse("it names no commit")
	}
	if commitHash.MatchString(name.Revision) && answer.SHA != name.Revision {
		return refuse("it is about the commit %s", answer.SHA)
	}
	if len(answer.Siblings) > maxFiles {
		return refuse("it lists %d files", len(answer.Siblings))
	}
	l := &listing{Repo: name.Repo, Commit: answer.SHA, Gated: len(answer.Gated) > 0 && string(answer.Gated) != "false" && string(answer.Gated) != "null"}
	if org, repo, _ := strings.Cut(answer.ID, "/"); answer.ID != "" && strings.EqualFold(answer.ID, name.Repo) {
		if spelled, err := newName(org, repo, name.Revision); err == nil {
			l.Repo = spelled.Repo
		}
	}
	seen := map[string]bool{}
	for _, s := range answer.Siblings {
		if seen[s.Path] {
			return refuse("it lists %.200q twice", s.Path)
		}
		seen[s.Path] = true
		f := File{Path: s.Path, Size: -1, Blob: s.Blob}
		if s.Size != nil {
			f.Size = *s.Size
		}
		if s.LFS != nil {
			if s.Size != nil && *s.Size != s.LFS.Size {
				return refuse("it gives %.200q two sizes, %d and %d", s.Path, *s.Size, s.LFS.Size)
			}
			f.Size, f.SHA256, f.Blob = s.LFS.Size, s.LFS.SHA256, ""
		}
		l.Files = append(l.Files, f)
	}
	return l, nil
}

// check reports what keeps a file from being fetched: a path that could lead out of the folder, or no checksum.
func (f File) check() error {
	if f.Path == "" || len(f.Path) > maxFileName || !utf8.ValidString(f.Path) || !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return fail(Broken, "", "%.200q is not a file name that can be used", f.Path)
	}
	for _, part := range strings.Split(f.Path, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") {
			return fail(Broken, "", "%.200q is not a file name that can be used", f.Path)
		}
	}
	for _, c := range f.Path {
		if c < ' ' || strings.ContainsRune(`\:*?"<>|`, c) || c == 0x7f {
			return fail(Broken, "", "%.200q is not a file name that can be used", f.Path)
		}
	}
	switch {
	case f.Size < 0 || f.Size > maxFileSize:
		return fail(Broken, "", "the hub gives no usable size for %s: %d", f.Path, f.Size)
	case f.SHA256 == "" && f.Blob == "":
		return fail(Broken, "", "the hub gives no checksum for %s", f.Path)
	case f.SHA256 != "" && !isHex(f.SHA256, 32), f.SHA256 == "" && !isHex(f.Blob, 20):
		return fail(Broken, "", "the hub's checksum for %s is none: %.80q", f.Path, f.SHA256+f.Blob)
	}
	return nil
}

func isHex(text string, bytes int) bool {
	decoded, err := hex.DecodeString(text)
	return err == nil && len(decoded) == bytes && strings.ToLower(text) == text
}
