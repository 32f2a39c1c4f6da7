package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// What can be wrong with a folder of weights.
var (
	ErrNoWeights     = errors.New("no weights here")
	ErrPickle        = errors.New("weights are pickled, and unpickling can run any code that is hidden in the file")
	ErrIndex         = errors.New("bad index")
	ErrMissingShard  = errors.New("files named in the index are missing")
	ErrMissingTensor = errors.New("tensors are not in the files that the index says")
	ErrNotReaderAt   = errors.New("file cannot be read at an offset")
)

// Checkpoint is an open set of safetensors files. It is not safe for concurrent use.
type Checkpoint struct {
	Files   []*File          // by name; their tensors have the names in the file
	Remarks []message.Remark // about unusual files that can be read

	open    []fs.File
	readers map[string]io.ReaderAt // by File.Name
	tensors map[string]Tensor
	buf     []byte // spare buffer of ReadChunks

	head   oneHead   // of an interleaved tensor
	raw    []byte    // blocks as the file holds them
	values []float32 // unpacked blocks
}

// Open opens the weights of a Hugging Face model folder: model.safetensors, or else the shards of
// model.safetensors.index.json. If both are there, the single file is read, as in transformers, with a remark.
// The files must implement io.ReaderAt.
//
// The index gives the files of the set. A tensor is found in any of them. A checkpoint of a model without its head has tensors
// named "layers.0.…", one of a wrapped model "module.model.layers.0.…". They get the usual names "model.layers.0.…".
func Open(fsys fs.FS) (*Checkpoint, error) {
	if folder, ok := fsys.(Folder); ok {
		return folder.OpenWeights()
	}
	c := newCheckpoint()
	if err := c.openFolder(fsys); err != nil {
		c.Close()
		return nil, fmt.Errorf("weights: %w", err)
	}
	c.unwrap()
	return c, nil
}

// OpenFile opens one safetensors file, such as adapter_model.safetensors.
func OpenFile(fsys fs.FS, name string) (*Checkpoint, error) {
	c := newCheckpoint()
	if err := c.openSingle(fsys, name); err != nil {
		c.Close()
		return nil, fmt.Errorf("weights: %w", err)
	}
	return c, nil
}

func newCheckpoint() *Checkpoint {
	return &Checkpoint{readers: map[string]io.ReaderAt{}, tensors: map[string]Tensor{}}
}

func (c *Checkpoint) openFolder(fsys fs.FS) error {
	ix, err := readIndex(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		return c.openSingle(fsys, SingleName)
	}
	single := exists(fsys, SingleName)
	if err != nil {
		return fmt.Errorf("%s: %w", IndexName, err)
	}
	shards := slices.Compact(slices.Sorted(maps.Values(ix.files)))
	var missing []string
	for _, name := range shards {
		if !exists(fsys, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(shards) == 1 && shards[0] == SingleName: // an index of one file, as some tools write it
		return c.openShards(fsys, ix, shards)
	case single && len(missing) > 0:
		c.remark("shards_missing", "{index} names {missing}, which is missing: read {read} instead", "index", IndexName, "missing", list(missing), "read", SingleName)
		return c.openSingle(fsys, SingleName)
	case single:
		c.remark("single_and_shards", "{read} and a whole set of {shards} shards lie side by side: {read} is read, as in transformers; move it away to read the shards", "read", SingleName, "shards", len(shards))
		return c.openSingle(fsys, SingleName)
	case len(missing) > 0:
		return fmt.Errorf("%s: %w: %s; add them beside it", IndexName, ErrMissingShard, list(missing))
	}
	return c.openShards(fsys, ix, shards)
}

func readIndex(fsys fs.FS) (ix index, err error) {
	f, err := fsys.Open(IndexName)
	if err != nil {
		return ix, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return ix, err
	}
	if len(raw) > maxIndex {
		return ix, fmt.Errorf("%w: over %d bytes: %w", ErrIndex, maxIndex, ErrLimit)
	}
	if ix, err = parseIndex(raw); err != nil {
		return ix, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	return ix, nil
}

func (c *Checkpoint) openSingle(fsys fs.FS, name string) error {
	f, err := c.openFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return explainMissing(fsys, name)
	}
	if err != nil {
		return err
	}
	for _, t := range f.Tensors {
		c.offer(t)
	}
	c.remarkF64()
	return nil
}

func (c *Checkpoint) openShards(fsys fs.FS, ix index, shards []string) error {
	var total int64
	for _, name := range shards {
		f, err := c.openFile(fsys, name)
		if err != nil {
			return err
		}
		for _, t := range f.Tensors {
			total += t.Bytes
			had, twice := c.tensors[t.Name]
			c.offer(t)
			if !twice {
				continue
			}
			same, err := c.Same(had, c.tensors[t.Name])
			if err != nil {
				return err
			}
			if !same {
				return fmt.Errorf("%w: tensor %q is in %s and in %s with different values", ErrDuplicate, t.Name, had.File, name)
			}
		}
	}
	var moved, missing []string
	for name, file := range ix.files {
		switch t, ok := c.tensors[name]; {
		case !ok && !dispensable(name):
			missing = append(missing, fmt.Sprintf("%q in %s", name, file))
		case ok && t.File != file:
			moved = append(moved, strconv.Quote(name))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("%s: %w: %s", IndexName, ErrMissingTensor, list(missing))
	}
	c.remarkTensors("index_misplaces", "{index} places {tensors} in other files than those that hold them: read from where they are", moved)
	var unlisted []string
	for name := range c.tensors {
		if _, ok := ix.files[name]; !ok {
			unlisted = append(unlisted, strconv.Quote(name))
		}
	}
	c.remarkTensors("index_omits", "{index} does not list {tensors}, which its files hold: read all the same", unlisted)
	if have := strconv.FormatInt(total, 10); ix.totalSize != "" && ix.totalSize != have {
		c.remark("index_size", "{index} says {said} bytes of tensors, its files hold {held}", "index", IndexName, "said", ix.totalSize, "held", have)
	}
	c.remarkF64()
	return nil
}

// dispensable reports whether a tensor in an index may be missing from the files: a tied head, which is the embedding, and the
// rotary frequencies, which follow from config.json. The reader of a model checks whether it needs the head.
func dispensable(name string) bool {
	return name == "lm_head.weight" || strings.HasSuffix(name, ".rotary_emb.inv_freq")
}

// offer adds a tensor of a file to the checkpoint. A tensor of type F64 becomes one of type F32, as ReadChunks rounds it.
func (c *Checkpoint) offer(t Tensor) {
	if t.RawDType == rawF64 {
		t.DType, t.Bytes = tensor.F32, t.Bytes/2
	}
	c.tensors[t.Name] = t
}

const rawF64 = "F64"

func (c *Checkpoint) remarkF64() {
	var all []string
	for name, t := range c.tensors {
		if t.RawDType == rawF64 {
			all = append(all, strconv.Quote(name))
		}
	}
	c.remarkTensors("weights_f64", "{tensors}: stored as F64, read as F32", all)
}

// remarkTensors adds a remark about tensors, if there are any.
func (c *Checkpoint) remarkTensors(code, text string, names []string) {
	if len(names) > 0 {
		slices.Sort(names)
		c.remark(code, text, "index", IndexName, "tensors", list(names))
	}
}

// openFile opens a file and reads its header.
func (c *Checkpoint) openFile(fsys fs.FS, name string) (*File, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	c.open = append(c.open, file)
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r, ok := file.(io.ReaderAt)
	if !ok || info.IsDir() {
		return nil, fmt.Errorf("%s: %w (%T)", name, ErrNotReaderAt, file)
	}
	f := &File{Name: name}
	if err := f.read(r, info.Size()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.Files = append(c.Files, f)
	c.readers[name] = r
	return f, nil
}

// explainMissing is the error of a folder without a file. It depends on the files that are there.
func explainMissing(fsys fs.FS, want string) error {
	var pickles, others []string
	entries, _ := fs.ReadDir(fsys, ".") // a file system that cannot list has nothing to add to the message
	for _, e := range entries {
		switch path.Ext(e.Name()) {
		case ".safetensors":
			others = append(others, e.Name())
		case ".bin", ".pt", ".pth", ".ckpt":
			if !isTrainerState(e.Name()) {
				pickles = append(pickles, e.Name())
			}
		}
	}
	switch {
	case len(pickles) > 0:
		return fmt.Errorf("%s: %w; convert once, if you trust its author: load it with the Python library that wrote it"+
			" (transformers or peft), then model.save_pretrained(FOLDER, safe_serialization=True), and open that folder",
			list(pickles), ErrPickle)
	case len(others) > 0:
		return fmt.Errorf("%s: %w: found only %s", want, ErrNoWeights, list(others))
	case want == SingleName:
		return fmt.Errorf("%w: neither %s nor %s", ErrNoWeights, want, IndexName)
	}
	return fmt.Errorf("%w: no %s", ErrNoWeights, want)
}

// isTrainerState reports whether a pickle is a state of the Hugging Face trainer and no weights.
func isTrainerState(name string) bool {
	for _, prefix := range []string{"training_args", "optimizer", "scheduler", "scaler", "rng_state"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Tensor finds a tensor by name.
func (c *Checkpoint) Tensor(name string) (Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Names lists the tensors in alphabetical order.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// Close closes the files.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.open {
		errs = append(errs, f.Close())
	}
	c.open, c.readers, c.buf, c.head, c.raw, c.values = nil, nil, nil, oneHead{}, nil, nil
	return errors.Join(errs...)
}

// ReadChunks passes the bytes of t, of any dtype, to fn in order, in chunks of at most maxBytes, which is at least 4.
// Elements that the file stores as F64 or packs in blocks are passed on as F32, and rows in the order of Hugging Face.
// byteOffset counts from the start of the tensor and is a multiple of 4. The chunk is reused: fn must not keep it.
func (c *Checkpoint) ReadChunks(t Tensor, maxBytes int, fn func(byteOffset int64, chunk []byte) error) error {
	return c.readRange(t, 0, t.Bytes, maxBytes, fn)
}

// readRange is ReadChunks for the bytes from offset from to before end.
func (c *Checkpoint) readRange(t Tensor, from, end int64, maxBytes int, fn func(byteOffset int64, chunk []byte) error) error {
	r, err := c.reader(t)
	if err != nil {
		return err
	}
	if maxBytes < 4 {
		return fmt.Errorf("weights: tensor %q: chunks of %d bytes, want at least 4", t.Name, maxBytes)
	}
	stored := t.storedRatio()
	size := min(int64(maxBytes&^3), end-from)
	if values, _ := t.stored(); t.Blocks != quant.None && size > 4*values { // whole blocks, so that none is read twice
		size -= size % (4 * values)
	}
	buf := c.buf // not available to another ReadChunks that fn calls
	c.buf = nil
	if int64(cap(buf)) < stored*size {
		buf = make([]byte, stored*size)
	}
	defer func() { c.buf = buf }()
	for off := from; off < end; off += size {
		chunk := buf[:stored*min(size, end-off)]
		if t.inPieces() {
			err = c.readPiece(r, t, off, chunk)
		} else {
			err = readFull(r, chunk, t.Offset+stored*off)
		}
		if err != nil {
			return c.named(t, err)
		}
		if stored == 2 {
			chunk = roundF64(chunk)
		}
		if err := fn(off, chunk); err != nil {
			return err
		}
	}
	return nil
}

// roundF64 rounds little-endian F64 elements to F32, in place.
func roundF64(b []byte) []byte {
	for i := 0; i < len(b)/8; i++ {
		x := math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(float32(x)))
	}
	return b[:len(b)/2]
}

// Same reports whether two tensors of the checkpoint have the same shape and values, see the function Same.
func (c *Checkpoint) Same(a, b Tensor) (bool, error) { return Same(c, a, c, b) }

// Same reports whether tensor a of one checkpoint and b of another have the same shape and values. Floats are compared as F32, where
// a NaN equals a NaN of the same bits. Other types are compared byte by byte.
func Same(of *Checkpoint, a Tensor, with *Checkpoint, b Tensor) (bool, error) {
	if !a.Shape.Equal(b.Shape) || a.DType.IsFloat() != b.DType.IsFloat() || !a.DType.IsFloat() && a.RawDType != b.RawDType {
		return false, nil
	}
	const elements = chunkBytes / 4
	var right []byte
	same := true
	at := int64(0) // offset in b, counted in the bytes of ReadChunks
	err := of.ReadChunks(a, elements*width(a), func(_ int64, chunk []byte) error {
		left, err := asF32(chunk, a)
		if err != nil || !same {
			return err
		}
		from, size := at, int64(len(chunk)/width(a)*width(b))
		at += size
		right = right[:0]
		if err := with.readRange(b, from, at, int(max(size, 4)), func(_ int64, chunk []byte) error {
			more, err := asF32(chunk, b)
			right = append(right, more...)
			return err
		}); err != nil {
			return err
		}
		same = bytes.Equal(left, right)
		return nil
	})
	return same, err
}

// storedRatio is the number of bytes in the file for each byte of ReadChunks: 2 for F64, else 1.
func (t Tensor) storedRatio() int64 {
	if t.RawDType == rawF64 {
		return 2
	}
	return 1
}

// width is the size in bytes of an element of ReadChunks, 1 for an unknown type.
func width(t Tensor) int {
	if t.DType == Opaque {
		return 1
	}
	return t.DType.Size()
}

// asF32 converts a chunk of floats to F32. It returns a chunk of another type unchanged.
func asF32(chunk []byte, t Tensor) ([]byte, error) {
	if !t.DType.IsFloat() || t.DType == tensor.F32 {
		return chunk, nil
	}
	x := make([]float32, len(chunk)/width(t))
	if err := tensor.DecodeF32(x, chunk, t.DType); err != nil {
		return nil, err
	}
	return tensor.EncodeF32(nil, x, tensor.F32), nil
}

// chunkBytes is the size of the chunks that ReadF32 and Writer.WriteF32 convert.
const chunkBytes = 1 << 18

// ReadF32 reads all of t as float32. ReadChunks is for large tensors.
func (c *Checkpoint) ReadF32(t Tensor) (tensor.Host, error) {
	if err := t.CheckFloat(); err != nil {
		return tensor.Host{}, err
	}
	h := tensor.NewHost(t.Shape...)
	width := t.DType.Size()
	err := c.ReadChunks(t, chunkBytes, func(off int64, chunk []byte) error {
		first := int(off) / width
		return tensor.DecodeF32(h.Data[first:first+len(chunk)/width], chunk, t.DType)
	})
	return h, err
}

func (c *Checkpoint) remark(code, text string, pairs ...any) {
	c.Remarks = append(c.Remarks, message.NewRemark(code, text, pairs...))
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// list joins names for a message. Of many names it shows the first ones and the number of the others.
func list(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
