package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"llamatab/server/filelock"
)

// Cache is the folder of fetched models and adapters:
//
//	models/.locks/ORG--NAME           locked by the process that changes something in the repository's folder
//	models/.locks/COMMIT.use          shared by the processes that work with the files of a commit
//	models/ORG--NAME/                 a repository, in lower case
//	                 revisions.json   the commit that each branch or tag had when it was last asked for
//	                 COMMIT/          the files as in the repository, a folder that other programs can read, too
//	                        .llamatab.json   written last: without it the folder is not complete
//	                        .partial/        files that are not complete
type Cache struct{ Dir string }

const manifestName = ".llamatab.json"

// CacheDir is the standard folder of the cache: LLAMATAB_CACHE, or a folder of the user's caches.
func CacheDir() (string, error) {
	if dir := os.Getenv("LLAMATAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no place for a cache: set LLAMATAB_CACHE to a folder: %w", err)
	}
	return filepath.Join(dir, "llamatab"), nil
}

// Snapshot is a model or an adapter at a commit, complete in the cache.
type Snapshot struct {
	Repo      string    `json:"repo"`
	Commit    string    `json:"commit"`
	Content   Content   `json:"content"`
	Also      Content   `json:"also,omitempty"` // what else of it was fetched, where the repository is both
	Base      string    `json:"base,omitempty"` // of an adapter: the base model that it names
	Endpoint  string    `json:"endpoint"`       // from which it came
	Fetched   time.Time `json:"fetched"`
	Files     []File    `json:"files"`
	Revisions []string  `json:"-"` // branches and tags that had this commit when they were last asked for
	Dir       string    `json:"-"` // the folder of its files
}

// Holds reports whether the snapshot has a model, or an adapter.
func (s *Snapshot) Holds(want Content) bool {
	return want == Any || s.Content == want || s.Also != Any && s.Also == want
}

// Name is the name by which exactly this snapshot is found again.
func (s *Snapshot) Name() Name { return Name{s.Repo, s.Commit} }

// Size is the number of bytes of the files.
func (s *Snapshot) Size() (bytes int64) {
	for _, f := range s.Files {
		bytes += f.Size
	}
	return bytes
}

// revision is what revisions.json says of a branch or a tag.
type revision struct {
	Commit string    `json:"commit"`
	Asked  time.Time `json:"asked"`
}

func (c Cache) repoDir(repo string) string {
	return filepath.Join(c.Dir, "models", strings.ToLower(strings.ReplaceAll(repo, "/", "--")))
}

// Find is the snapshot of a name, nil where the cache has none that is complete. It asks nobody whether a branch has moved on.
func (c Cache) Find(name Name) (*Snapshot, error) {
	dir := c.repoDir(name.Repo)
	commit := name.Revision
	if !commitHash.MatchString(commit) {
		revisions, err := c.revisions(name.Repo)
		if err != nil {
			return nil, err
		}
		known, found := revisions[name.Revision]
		if !found || !commitHash.MatchString(known.Commit) {
			return nil, nil
		}
		commit = known.Commit
	}
	s, err := readSnapshot(filepath.Join(dir, commit))
	if err != nil || s == nil {
		return nil, err
	}
	return s, s.present()
}

// readSnapshot reads the manifest of a folder, nil for a folder that is not complete.
func readSnapshot(dir string) (*Snapshot, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	s := &Snapshot{Dir: dir}
	if err := json.Unmarshal(data, s); err != nil || s.Commit != filepath.Base(dir) {
		return nil, nil // not written by this program: it is fetched again
	}
	for _, f := range s.Files {
		if f.check() != nil {
			return nil, nil
		}
	}
	return s, nil
}

// present reports files that are missing or have another size.
func (s *Snapshot) present() error {
	for _, f := range s.Files {
		info, err := os.Stat(filepath.Join(s.Dir, filepath.FromSlash(f.Path)))
		if err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			continue
		}
		return fail(Damaged, "llamatab pull "+s.Name().String()+" fetches it again", "%s of %s is damaged in the cache", f.Path, s.Repo)
	}
	return nil
}

// Verify reads all files and returns the paths of those that are damaged or missing.
func (s *Snapshot) Verify() (damaged []string, err error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	defer root.Close()
	for _, f := range s.Files {
		right, err := checksumIs(root, f.Path, f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the cache of models: %w", err)
		}
		if !right {
			damaged = append(damaged, f.Path)
		}
	}
	return damaged, nil
}

func (c Cache) revisions(repo string) (map[string]revision, error) {
	data, err := os.ReadFile(filepath.Join(c.repoDir(repo), "revisions.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]revision{}, nil
	} else if err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	known := map[string]revision{}
	if err := json.Unmarshal(data, &known); err != nil {
		return map[string]revision{}, nil // it is written again
	}
	return known, nil
}

// remember notes the commit of a revision, nothing for a commit.
func (c Cache) remember(name Name, commit string) error {
	if commitHash.MatchString(name.Revision) {
		return nil
	}
	known, err := c.revisions(name.Repo)
	if err != nil {
		return err
	}
	known[name.Revision] = revision{commit, time.Now().UTC().Truncate(time.Second)}
	return writeJSON(c.repoDir(name.Repo), "revisions.json", known)
}

// writeJSON writes a file whole or not at all.
func writeJSON(dir, name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return storageError(err, name)
	}
	defer root.Close()
	if err := root.WriteFile(name+".new", append(data, '\n'), 0o666); err != nil {
		return storageError(err, name)
	}
	if err := moveIntoPlace(root, name+".new", name); err != nil {
		return storageError(err, name)
	}
	return nil
}

// storageError explains an error of the disk.
func storageError(err error, what string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e := fail(DiskFull, "make room, or set LLAMATAB_CACHE to a folder on another disk; what has come is kept", "the disk is full while writing %s", what)
		e.Err = err
		return e
	}
	return fmt.Errorf("the cache of models: %s: %w", what, err)
}

// lock makes a repository's folder and locks it. Where another process has locked it, it says so and waits; with a nil say it
// fails instead.
func (c Cache) lock(ctx context.Context, repo string, say func(string)) (unlock func(), err error) {
	dir := c.repoDir(repo)
	locks := filepath.Join(c.Dir, "models", ".locks")
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.MkdirAll(locks, 0o777)); err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(locks, filepath.Base(dir)), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	for waited := false; ; waited = true {
		err := filelock.TryLock(file)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, filelock.ErrTaken) {
			err = fmt.Errorf("the cache of models: locking %s: %w", dir, err)
		} else if say == nil {
			err = fmt.Errorf("another llamatab is fetching %s", repo)
		} else {
			if !waited {
				say("another llamatab is fetching " + repo + ": waiting for it")
			}
			err = pause(ctx, 200*time.Millisecond)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
	}
}

// Hold keeps the files of a snapshot from being removed by this or another process until release is called or the process ends.
// In a cache that may only be read, nothing is held.
func (c Cache) Hold(s *Snapshot) (release func(), err error) {
	file, err := c.useFile(s.Commit)
	if err != nil {
		return func() {}, nil
	}
	if err := filelock.TryShare(file); err != nil {
		file.Close()
		if errors.Is(err, filelock.ErrTaken) {
			return func() {}, fail(Busy, "run the same command again", "%s is being removed from the cache", s.Name())
		}
		return func() {}, fmt.Errorf("the cache of models: locking %s: %w", file.Name(), err)
	}
	return func() { file.Close() }, nil
}

func (c Cache) useFile(commit string) (*os.File, error) {
	locks := filepath.Join(c.Dir, "models", ".locks")
	if err := os.MkdirAll(locks, 0o777); err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(locks, commit+".use"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("the cache of models: %w", err)
	}
	return file, nil
}

// take locks the commits below a folder of a repository, or the commit whose folder it is, against Hold.
func (c Cache) take(repo, target string) (release func(), err error) {
	var files []*os.File
	release = func() {
		for _, f := range files {
			f.Close()
		}
	}
	folders, _ := filepath.Glob(filepath.Join(target, "*"))
	for _, dir := range append(folders, target) {
		if !commitHash.MatchString(filepath.Base(dir)) {
			continue
		}
		file, err := c.useFile(filepath.Base(dir))
		if err != nil {
			release()
			return nil, err
		}
		files = append(files, file)
		if err := filelock.TryLock(file); errors.Is(err, filelock.ErrTaken) {
			release()
			return nil, fail(InUse, "end the run, the chat or the server that works with it", "%s is in use", Name{repo, filepath.Base(dir)})
		} else if err != nil {
			release()
			return nil, fmt.Errorf("the cache of models: locking %s: %w", file.Name(), err)
		}
	}
	return release, nil
}

// Unfinished is a snapshot that was not fetched to its end.
type Unfinished struct {
	Repo, Commit string
	Bytes        int64 // that are there
}

// List lists what the cache has, sorted by name.
func (c Cache) List() (complete []*Snapshot, unfinished []Unfinished, err error) {
	folders, err := filepath.Glob(filepath.Join(c.Dir, "models", "*--*", "*"))
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range folders {
		if !commitHash.MatchString(filepath.Base(dir)) {
			continue
		}
		s, err := readSnapshot(dir)
		if err != nil {
			return nil, nil, err
		}
		if s == nil {
			unfinished = append(unfinished, Unfinished{strings.Replace(filepath.Base(filepath.Dir(dir)), "--", "/", 1), filepath.Base(dir), bytesBelow(dir)})
			continue
		}
		known, err := c.revisions(s.Repo)
		if err != nil {
			return nil, nil, err
		}
		for name, at := range known {
			if at.Commit == s.Commit {
				s.Revisions = append(s.Revisions, name)
			}
		}
		slices.Sort(s.Revisions)
		complete = append(complete, s)
	}
	return complete, unfinished, nil
}

func bytesBelow(dir string) (bytes int64) {
	filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}

// RemoveUnfinished removes what is not complete of a repository.
func (c Cache) RemoveUnfinished(repo string) error {
	unlock, err := c.lock(context.Background(), repo, nil)
	if err != nil {
		return err
	}
	defer unlock()
	folders, _ := filepath.Glob(filepath.Join(c.repoDir(repo), "*"))
	for _, dir := range folders {
		if !commitHash.MatchString(filepath.Base(dir)) {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, manifestName)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("the cache of models: %w", err)
		}
	}
	return nil
}

// Remove removes a repository, or only one commit of it, with what is unfinished. It returns the bytes that were there; none
// were where the cache does not have it. What somebody works with (Hold) stays, and the error is one of the kind InUse.
func (c Cache) Remove(repo, commit string) (bytes int64, err error) {
	dir := c.repoDir(repo)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	unlock, err := c.lock(context.Background(), repo, nil)
	if err != nil {
		return 0, err
	}
	defer unlock()
	target := dir
	if commit != "" {
		target = filepath.Join(dir, commit)
	}
	release, err := c.take(repo, target)
	if err != nil {
		return 0, err
	}
	defer release()
	bytes = bytesBelow(target)
	// Without its manifest a folder does not count, so what a cut-off removal leaves is not taken for a model.
	manifests, _ := filepath.Glob(filepath.Join(target, "*", manifestName))
	for _, m := range append(manifests, filepath.Join(target, manifestName)) {
		if err := os.Remove(m); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("the cache of models: %w", err)
		}
	}
	if err := os.RemoveAll(target); err != nil {
		return 0, fmt.Errorf("the cache of models: %w", err)
	}
	return bytes, nil
}
