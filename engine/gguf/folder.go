package gguf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"llamatab/engine/message"
	"llamatab/engine/weights"
)

// Extension ends the name of a GGUF file.
const Extension = ".gguf"

// IsName reports whether a name is that of a GGUF file.
func IsName(name string) bool { return strings.HasSuffix(strings.ToLower(name), Extension) }

// splitName is the name of one file of a model that is split.
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.(?i:gguf)$`)

// Parts are the names of the files of the model that a file belongs to: all files of a split model, in order, or the one file.
func Parts(name string) []string {
	m := splitName.FindStringSubmatch(name)
	if m == nil {
		return []string{name}
	}
	n, _ := strconv.Atoi(m[3]) // five digits
	if n < 1 || n > maxParts {
		return []string{name}
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%05d-of-%s%s", m[1], i+1, m[3], name[len(name)-len(Extension):])
	}
	return names
}

const maxParts = 1000

// Stem is the name of a model's file without its number among the parts and without the extension.
func Stem(name string) string {
	if m := splitName.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return name[:len(name)-len(Extension)]
}

// Models are the GGUF models among the names of files, each by its first file. Files with the image encoder of a model (mmproj…) and
// importance matrices (imatrix…) are no models.
func Models(names []string) (models []string) {
	seen := map[string]bool{}
	for _, name := range names {
		lower := strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
		if first := Parts(name)[0]; IsName(name) && !strings.HasPrefix(lower, "mmproj") && !strings.Contains(lower, "imatrix") && !seen[first] {
			models, seen[first] = append(models, first), true
		}
	}
	slices.Sort(models)
	return models
}

// Choose finds the GGUF model of a folder, by its first file. It is "" for a folder without one, and for a folder that holds
// safetensors, which are read instead. A folder of several is an error that names them.
func Choose(fsys fs.FS) (string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return "", nil // a folder that cannot be listed: its files are opened by the names that Hugging Face gives them
	}
	var names []string
	for _, e := range entries {
		if e.Name() == weights.SingleName || e.Name() == weights.IndexName {
			return "", nil
		}
		names = append(names, e.Name())
	}
	switch models := Models(names); len(models) {
	case 0:
		return "", nil
	case 1:
		return models[0], nil
	default:
		return "", fmt.Errorf("the folder holds %d GGUF models: %s; give the path of one file", len(models), strings.Join(models, ", "))
	}
}

// Open shows a folder that holds a GGUF model as the Hugging Face folder of that model. Any other folder, and nil, is returned as it is.
func Open(fsys fs.FS) (fs.FS, error) {
	if fsys == nil {
		return nil, nil
	}
	if _, done := fsys.(*Folder); done {
		return fsys, nil
	}
	name, err := Choose(fsys)
	if name == "" || err != nil {
		return fsys, err
	}
	f, err := OpenModel(fsys, name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Folder is the Hugging Face folder of a GGUF model: config.json, generation_config.json, tokenizer.json and tokenizer_config.json,
// made of the keys, and the weights through OpenWeights. Its tensors have the names and the row order of Hugging Face.
type Folder struct {
	fsys    fs.FS
	parts   []part
	values  map[string]any
	model   *architecture
	small   map[string][]byte // the files but tokenizer.json
	remarks []message.Remark

	tokenizer func() ([]byte, error) // tokenizer.json, made when it is first read
}

// part is one file of the model.
type part struct {
	name    string
	tensors []Tensor
}

// OpenModel reads the headers of a model, whose first file has the given name.
func OpenModel(fsys fs.FS, name string) (*Folder, error) {
	f := &Folder{fsys: fsys}
	names := Parts(name)
	var missing []string
	for _, n := range names {
		if _, err := fs.Stat(fsys, n); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the model is split into %d files, and %s is missing; put it beside the others", len(names), strings.Join(missing, ", "))
	}
	for i, n := range names {
		header, err := readHeader(fsys, n)
		if err == nil {
			err = checkSplit(header, i, len(names))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		if i == 0 {
			f.values = header.Values
		}
		f.parts = append(f.parts, part{n, header.Tensors})
	}
	if err := f.describe(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func readHeader(fsys fs.FS, name string) (*File, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	r, ok := file.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("%w (%T)", weights.ErrNotReaderAt, file)
	}
	return Read(r, info.Size())
}

// checkSplit compares what a file says of its place among n files with its name.
func checkSplit(h *File, i, n int) error {
	count, _ := h.Values[KeySplitCount].(uint64)
	no, _ := h.Values[KeySplitNo].(uint64)
	if count > 1 && (count != uint64(n) || no != uint64(i)) {
		return fmt.Errorf("the file is number %d of %d of a split model, and its name says %d of %d; give the files the names that they were made with", no+1, count, i+1, n)
	}
	return nil
}

// describe makes the files of the folder.
func (f *Folder) describe() (err error) {
	tensors := map[string]Tensor{}
	for _, p := range f.parts {
		for _, t := range p.tensors {
			tensors[t.Name] = t
		}
	}
	k := keys{f.values}
	if f.model, err = readArchitecture(k, tensors); err != nil {
		return err
	}
	if f.model.frequencies, err = f.readFrequencies(); err != nil {
		return err
	}
	tokens, err := readTokens(k)
	if err != nil {
		return err
	}
	config, err := f.model.config(tokens)
	if err != nil {
		return err
	}
	f.small = map[string][]byte{"config.json": config, "generation_config.json": tokens.generation()}
	if tokens.model != "" {
		f.small["tokenizer_config.json"] = tokens.config()
	}
	f.tokenizer = sync.OnceValues(tokens.json)
	if tokens.unsure {
		f.remarks = append(f.remarks, message.NewRemark("gguf_pre", "the GGUF file does not say how its tokenizer cuts text into words ({key} is {value}): it is cut as for GPT-2, which is wrong for most models; compare ids with tokenize, or use the model's Hugging Face folder",
			"key", KeyPre, "value", tokens.pre))
	}
	for _, key := range []string{KeyTokens, KeyTokenTypes, KeyScores, KeyMerges} { // tokens has what is left to make of them
		delete(f.values, key)
	}
	return nil
}

// readFrequencies reads the divisors of the rotary frequencies, nil for none.
func (f *Folder) readFrequencies() ([]float32, error) {
	for _, p := range f.parts {
		for _, t := range p.tensors {
			if t.Name != RopeFreqs {
				continue
			}
			if t.Type != F32 || len(t.Shape) != 1 || t.Shape[0] != f.model.headDim/2 {
				return nil, fmt.Errorf("tensor %q is %s %v, want F32 [%d]", t.Name, t.Type, t.Shape, f.model.headDim/2)
			}
			c, err := f.open([]weights.Tensor{f.presented(p.name, t)})
			if err != nil {
				return nil, err
			}
			defer c.Close()
			x, _ := c.Tensor(RopeFreqs)
			h, err := c.ReadF32(x)
			return h.Data, err
		}
	}
	return nil, nil
}

// OpenWeights implements weights.Folder.
func (f *Folder) OpenWeights() (*weights.Checkpoint, error) {
	var all []weights.Tensor
	for _, p := range f.parts {
		for _, t := range p.tensors {
			if t.Name != RopeFreqs { // config.json says it
				all = append(all, f.presented(p.name, t))
			}
		}
	}
	return f.open(all)
}

func (f *Folder) open(tensors []weights.Tensor) (*weights.Checkpoint, error) {
	files := map[string]fs.File{}
	for _, p := range f.parts {
		file, err := f.fsys.Open(p.name)
		if err != nil {
			for _, other := range files {
				other.Close()
			}
			return nil, err
		}
		files[p.name] = file
	}
	return weights.FromFiles(files, tensors, slices.Clone(f.remarks))
}

// presented is a tensor under its name in Hugging Face's format.
func (f *Folder) presented(file string, t Tensor) weights.Tensor {
	d, _ := t.Type.DType() // Read refuses types without one
	w := weights.Tensor{Name: t.Name, DType: d, RawDType: t.Type.String(), Shape: t.Shape, File: file, Offset: t.Offset, Blocks: t.Type.Blocks()}
	w.Bytes = int64(t.Shape.Size()) * int64(d.Size())
	w.Name, w.Interleaved = f.model.tensor(t)
	return w
}

// Open implements fs.FS.
func (f *Folder) Open(name string) (fs.File, error) {
	if name == "tokenizer.json" {
		data, err := f.tokenizer()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return madeFile{bytes.NewReader(data), name}, nil
	}
	if data, ok := f.small[name]; ok {
		return madeFile{bytes.NewReader(data), name}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements fs.ReadDirFS.
func (f *Folder) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, made := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} {
		if file, err := f.Open(made); err == nil {
			entries = append(entries, fs.FileInfoToDirEntry(file.(madeFile)))
		}
	}
	return entries, nil
}

// madeFile is a file of a Folder, and its own fs.FileInfo.
type madeFile struct {
	*bytes.Reader
	name string
}

func (m madeFile) Stat() (fs.FileInfo, error) { return m, nil }
func (m madeFile) Close() error               { return nil }
func (m madeFile) Name() string               { return m.name }
func (m madeFile) Mode() fs.FileMode          { return 0o444 }
func (m madeFile) ModTime() time.Time         { return time.Time{} }
func (m madeFile) IsDir() bool                { return false }
func (m madeFile) Sys() any                   { return nil }
