package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// parallel is how many files are fetched at a time.
const parallel = 4

// spare is the room that is left on the disk besides what is fetched, in bytes.
const spare = 64 << 20

// Progress is how far a Pull is.
type Progress struct {
	Name        Name
	Done, Total int64  // bytes; Total is 0 until the files are known
	Files       int    // that are fetched
	Came        int64  // bytes that have come in this Pull, also those that had to come again
	Event       string // something that the person should know, or ""
	Waiting     bool   // Event says that the fetching has to wait or to try again
}

// Store is a hub with a cache.
type Store struct {
	Cache  Cache
	Client *Client // nil: nothing is fetched
}

// Pull fetches what a name means now, unless the cache has it whole. Files that are there are checked, and damaged ones are
// fetched again. Observe is told of the progress, often and by one goroutine at a time; nil for nobody. Where the context ends,
// what has come is kept, and another Pull goes on from there.
func (s *Store) Pull(ctx context.Context, name Name, want Content, observe func(Progress)) (*Snapshot, error) {
	if s.Client == nil {
		return nil, fail(Offline, "leave --offline out", "%s cannot be fetched: --offline is set", name)
	}
	p := &pull{store: s, name: name, client: s.Client, observe: observe}
	return p.run(ctx, want)
}

// pull is one fetching of a repository.
type pull struct {
	store  *Store
	client *Client
	name   Name
	list   *listing
	files  []File
	dir    string

	mu      sync.Mutex
	observe func(Progress)
	have    map[string]int64 // bytes of each file
	now     Progress
}

func (p *pull) say(text string) {
	p.tell(func() { p.now.Event, p.now.Waiting = text, true })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Event, p.now.Waiting = "", false
}

// tell changes the progress and sends it.
func (p *pull) tell(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if p.observe != nil {
		p.observe(p.now)
	}
}

func (p *pull) run(ctx context.Context, want Content) (*Snapshot, error) {
	p.now.Name, p.have = p.name, map[string]int64{}
	var err error
	if p.list, err = p.client.list(ctx, p.name, p.say); err != nil {
		return nil, p.misspelt(err)
	}
	content, err := p.list.contentOf(want, p.name)
	if err != nil {
		return nil, err
	}
	var index []byte
	if content == Model && !p.list.has(singleFile) {
		if index, err = p.index(ctx); err != nil {
			return nil, err
		}
	}
	if p.files, err = p.list.needed(content, index, p.name); err != nil {
		return nil, err
	}
	unlock, err := p.store.Cache.lock(ctx, p.list.Repo, p.say)
	if err != nil {
		return nil, err
	}
	defer unlock()
	snapshot, err := p.fetchAll(ctx, content)
	if err != nil {
		return nil, err
	}
	return snapshot, p.store.Cache.remember(Name{p.list.Repo, p.name.Revision}, p.list.Commit)
}

// misspelt adds to the error of an unknown name what the cache has of a similar name.
func (p *pull) misspelt(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind != NotFound {
		return err
	}
	complete, _, listErr := p.store.Cache.List()
	if listErr != nil {
		return err
	}
	_, wanted, _ := strings.Cut(strings.ToLower(p.name.Repo), "/")
	for _, s := range complete {
		if _, known, _ := strings.Cut(strings.ToLower(s.Repo), "/"); known == wanted && !strings.EqualFold(s.Repo, p.name.Repo) {
			e.Text += "; the cache has " + s.Repo
			break
		}
	}
	return e
}

// index fetches the index of a sharded model, which says which files its weights are in, and checks it.
func (p *pull) index(ctx context.Context) ([]byte, error) {
	f, _ := p.list.find(indexFile)
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.Size > maxIndex {
		return nil, fail(Broken, "", "%s of %s has %d bytes, which no index has", indexFile, p.name, f.Size)
	}
	data, err := p.client.small(ctx, p.client.fileURL(p.list.Repo, p.list.Commit, f.Path), f.Size, p.name, p.say)
	if err != nil {
		return nil, err
	}
	sum, want := newChecksum(f)
	sum.Write(data)
	if fmt.Sprintf("%x", sum.Sum(nil)) != want {
		return nil, fail(Damaged, "run the same command again", "%s of %s has come with a wrong checksum", indexFile, p.name)
	}
	return data, nil
}

// fetchAll brings all files into the folder of the commit and writes its manifest.
func (p *pull) fetchAll(ctx context.Context, content Content) (*Snapshot, error) {
	p.dir = filepath.Join(p.store.Cache.repoDir(p.list.Repo), p.list.Commit)
	if err := os.MkdirAll(p.dir, 0o777); err != nil {
		return nil, storageError(err, p.dir)
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, storageError(err, p.dir)
	}
	defer root.Close()
	missing, err := p.missing(ctx, root)
	if err != nil {
		return nil, err
	}
	known, err := readSnapshot(p.dir)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		// What is complete stays so while what else the repository holds is fetched.
		beside := known != nil && !known.Holds(content) && !slices.ContainsFunc(missing, known.has)
		if !beside {
			if err := root.Remove(manifestName); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, storageError(err, manifestName)
			}
		}
		if err := p.room(missing); err != nil {
			return nil, err
		}
		if err := p.fetchFiles(ctx, root, missing); err != nil {
			return nil, err
		}
	}
	if len(missing) == 0 && known != nil && known.Holds(content) {
		return known, nil
	}
	s := &Snapshot{Repo: p.list.Repo, Commit: p.list.Commit, Content: content, Base: baseOf(root, content), Endpoint: p.client.Endpoint(), Fetched: time.Now().UTC().Truncate(time.Second), Files: p.files, Dir: p.dir}
	if known != nil && (known.Also != Any || !known.Holds(content)) {
		s.beside(known)
	}
	if err := root.RemoveAll(partialFolder); err != nil {
		return nil, storageError(err, partialFolder)
	}
	return s, writeJSON(p.dir, manifestName, s)
}

// has reports whether a file is one of the snapshot's.
func (s *Snapshot) has(f File) bool {
	return slices.ContainsFunc(s.Files, func(own File) bool { return own.Path == f.Path })
}

// beside adds what was fetched earlier of the same commit: of a repository that is a model and an adapter, both are kept. It is a
// model that is also an adapter, in whichever order they came.
func (s *Snapshot) beside(known *Snapshot) {
	for _, f := range known.Files {
		if !s.has(f) {
			s.Files = append(s.Files, f)
		}
	}
	s.Content, s.Also = Model, Adapter
	if s.Base == "" {
		s.Base = known.Base
	}
}

// baseOf is the base model that an adapter names, "" for none.
func baseOf(root *os.Root, content Content) string {
	if content != Adapter {
		return ""
	}
	var config struct {
		Base string `json:"base_model_name_or_path"`
	}
	if data, err := root.ReadFile(adapterConfigFile); err == nil {
		json.Unmarshal(data, &config) // the engine says what is wrong with it
	}
	return config.Base
}

// missing lists the files that are not there or are damaged. It takes over files of other commits that have the same content.
func (p *pull) missing(ctx context.Context, root *os.Root) (missing []File, err error) {
	p.tell(func() {
		p.now.Files = len(p.files)
		for _, f := range p.files {
			p.now.Total += f.Size
		}
	})
	others, err := filepath.Glob(filepath.Join(filepath.Dir(p.dir), "*", manifestName))
	if err != nil {
		return nil, err
	}
	for _, f := range p.files {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		right, err := checksumIs(root, f.Path, f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, storageError(err, f.Path)
		}
		if !right && !errors.Is(err, os.ErrNotExist) {
			p.say(f.Path + " is damaged in the cache; fetching it again")
		}
		if right || p.takeOver(root, f, others) {
			p.set(f, f.Size, 0)
		} else {
			missing = append(missing, f)
		}
	}
	return missing, nil
}

// takeOver links a file of another commit, whose manifest is one of others, where it has the same content.
func (p *pull) takeOver(root *os.Root, f File, others []string) bool {
	for _, manifest := range others {
		other, err := readSnapshot(filepath.Dir(manifest))
		if err != nil || other == nil || other.Dir == p.dir {
			continue
		}
		for _, g := range other.Files {
			if g.Path != f.Path || !g.sameContent(f) {
				continue
			}
			if dir := filepath.Dir(f.Path); dir != "." && root.MkdirAll(dir, 0o777) != nil {
				return false
			}
			root.Remove(f.Path)
			if os.Link(filepath.Join(other.Dir, g.Path), filepath.Join(p.dir, f.Path)) != nil {
				return false // this file system has no links
			}
			if right, err := checksumIs(root, f.Path, f); err == nil && right {
				return true
			}
			root.Remove(f.Path)
		}
	}
	return false
}

// set notes how many bytes of a file are there, and how many of them have just come.
func (p *pull) set(f File, there, came int64) {
	p.tell(func() {
		p.now.Done += there - p.have[f.Path]
		p.have[f.Path] = there
		p.now.Came += came
	})
}

// room refuses to begin what the disk cannot hold.
func (p *pull) room(missing []File) error {
	var needed int64
	for _, f := range missing {
		needed += f.Size
	}
	needed -= bytesBelow(filepath.Join(p.dir, partialFolder))
	if free := freeSpace(p.dir); free >= 0 && needed+spare > free {
		return fail(DiskFull, "make room, or set LLAMATAB_CACHE to a folder on another disk", "%s needs %s more, and %s has %s free", p.name, Bytes(needed), p.store.Cache.Dir, Bytes(free))
	}
	return nil
}

// fetchFiles fetches files, several at a time. The first error ends it.
func (p *pull) fetchFiles(ctx context.Context, root *os.Root, files []File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan File)
	var workers sync.WaitGroup
	for range min(parallel, len(files)) {
		workers.Go(func() {
			for f := range queue {
				one := &fetch{client: p.client, name: p.name, repo: p.list.Repo, commit: p.list.Commit, file: f, folder: root, say: p.say, have: func(there, came int64) { p.set(f, there, came) }}
				if err := one.run(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, f := range files {
		select {
		case queue <- f:
		case <-ctx.Done():
		}
	}
	close(queue)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Bytes is a number of bytes for people.
func Bytes(n int64) string {
	for _, unit := range []struct {
		name  string
		scale float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if float64(n) >= unit.scale {
			return fmt.Sprintf("%.1f %s", float64(n)/unit.scale, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
