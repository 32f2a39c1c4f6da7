package weights

import (
	"fmt"
	"io"
	"io/fs"

	"llamatab/engine/message"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Folder is a model folder whose weights are not safetensors, such as that of a GGUF file. Open asks it for them.
type Folder interface {
	fs.FS
	OpenWeights() (*Checkpoint, error)
}

// FromFiles makes a checkpoint of tensors that the reader of another format has found in open files, by the names of the files, which
// implement io.ReaderAt. The checkpoint closes them, also where the result is an error.
func FromFiles(files map[string]fs.File, tensors []Tensor, remarks []message.Remark) (*Checkpoint, error) {
	c := newCheckpoint()
	c.Remarks = remarks
	byFile := map[string]*File{}
	for name, file := range files {
		c.open = append(c.open, file)
		r, ok := file.(io.ReaderAt)
		if !ok {
			c.Close()
			return nil, fmt.Errorf("weights: %s: %w (%T)", name, ErrNotReaderAt, file)
		}
		c.readers[name], byFile[name] = r, &File{Name: name}
	}
	for _, t := range tensors {
		byFile[t.File].Tensors = append(byFile[t.File].Tensors, t)
		if _, twice := c.tensors[t.Name]; twice {
			c.Close()
			return nil, fmt.Errorf("weights: %s: tensor %q: %w", t.File, t.Name, ErrDuplicate)
		}
		c.tensors[t.Name] = t
	}
	for _, f := range byFile {
		c.Files = append(c.Files, f)
	}
	return c, nil
}

// stored is the number of values that stand together in the file and of the bytes that they take there: a block, or one value.
func (t Tensor) stored() (values, bytes int64) {
	if t.Blocks == quant.None {
		return 1, int64(t.DType.Size())
	}
	v, n := t.Blocks.Block()
	return int64(v), int64(n)
}

// inPieces reports whether the file holds other bytes than ReadChunks passes on, or holds them in another order.
func (t Tensor) inPieces() bool { return t.Blocks != quant.None || t.Interleaved > 0 }

// rows are the number of rows of t and of the values in a row. A vector has rows of one value, so that its values can be interleaved
// as the rows of a matrix are.
func (t Tensor) rows() (rows, values int) {
	if len(t.Shape) != 2 {
		return t.Shape.Size(), 1
	}
	return t.Shape[0], t.Shape[1]
}

// ReadBlocks fills dst with whole rows of a matrix from row first on, as the blocks of t.Blocks that the file holds. The rows have the
// order of Hugging Face.
func (c *Checkpoint) ReadBlocks(t Tensor, first int, dst []byte) error {
	r, err := c.reader(t)
	if err != nil {
		return err
	}
	rows, values := t.rows()
	size, err := t.Blocks.Bytes(values)
	switch {
	case err != nil:
		return fmt.Errorf("weights: tensor %q: %w", t.Name, err)
	case len(dst)%size != 0 || first < 0 || len(dst)/size > rows-first:
		return fmt.Errorf("weights: tensor %q: %d bytes from row %d on are no whole rows of the %d rows of %d bytes", t.Name, len(dst), first, rows, size)
	}
	if t.Interleaved == 0 {
		return c.named(t, readFull(r, dst, t.Offset+int64(first)*int64(size)))
	}
	for ; len(dst) > 0; first, dst = first+1, dst[size:] {
		row, err := c.headRow(r, t, first, int64(size))
		if err != nil {
			return c.named(t, err)
		}
		copy(dst, row)
	}
	return nil
}

func (c *Checkpoint) reader(t Tensor) (io.ReaderAt, error) {
	r, ok := c.readers[t.File]
	if !ok {
		return nil, fmt.Errorf("weights: tensor %q: %s is not open here", t.Name, t.File)
	}
	return r, nil
}

func (c *Checkpoint) named(t Tensor, err error) error {
	if err != nil {
		return fmt.Errorf("weights: %s: tensor %q: %w", t.File, t.Name, err)
	}
	return nil
}

// oneHead is the rows of one attention head as the file holds them, kept because the rows around one that is read are read next.
type oneHead struct {
	tensor string
	head   int
	data   []byte
}

// headRow is a row of size bytes of an interleaved tensor. Row j + t·hd/2 of a head of hd rows is row 2j + t in the file, for t of 0 and 1.
func (c *Checkpoint) headRow(r io.ReaderAt, t Tensor, row int, size int64) ([]byte, error) {
	rows, _ := t.rows()
	hd := rows / t.Interleaved
	head, in := row/hd, row%hd
	if c.head.tensor != t.Name || c.head.head != head || c.head.data == nil {
		data := c.head.data
		c.head = oneHead{}
		if want := int64(hd) * size; int64(cap(data)) < want {
			data = make([]byte, want)
		} else {
			data = data[:want]
		}
		if err := readFull(r, data, t.Offset+int64(head*hd)*size); err != nil {
			return nil, err
		}
		c.head = oneHead{t.Name, head, data}
	}
	at := int64(in%(hd/2)*2+in/(hd/2)) * size
	return c.head.data[at : at+size], nil
}

// readPiece fills dst with the bytes that ReadChunks passes on from offset off of t on. Both are multiples of the size of a value.
func (c *Checkpoint) readPiece(r io.ReaderAt, t Tensor, off int64, dst []byte) error {
	width := int64(t.DType.Size())
	at, n := off/width, int64(len(dst))/width // in values
	_, row := t.rows()
	values, bytes := t.stored()
	for n > 0 {
		take, column := n, at
		if t.Interleaved > 0 {
			column = at % int64(row)
			take = min(n, int64(row)-column)
		}
		first := column / values // block
		last := (column + take + values - 1) / values
		var raw []byte
		if t.Interleaved > 0 {
			whole, err := c.headRow(r, t, int(at/int64(row)), int64(row)/values*bytes)
			if err != nil {
				return err
			}
			raw = whole[first*bytes : last*bytes]
		} else {
			c.raw = grown(c.raw, (last-first)*bytes)
			raw = c.raw
			if err := readFull(r, raw, t.Offset+first*bytes); err != nil {
				return err
			}
		}
		if t.Blocks == quant.None {
			copy(dst, raw)
		} else {
			c.values = grown(c.values, (last-first)*values)
			if err := quant.Decode(c.values, raw, t.Blocks); err != nil {
				return err
			}
			from := column - first*values
			tensor.EncodeF32(dst[:0:take*width], c.values[from:from+take], tensor.F32)
		}
		at, n, dst = at+take, n-take, dst[take*width:]
	}
	return nil
}

// grown is a slice of n elements, buf where it has room for them.
func grown[T any](buf []T, n int64) []T {
	if int64(cap(buf)) < n {
		return make([]T, n)
	}
	return buf[:n]
}
