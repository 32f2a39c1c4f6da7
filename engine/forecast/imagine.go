package forecast

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/model"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// Imagine makes the files of a run of which there are none yet: a model folder with the header of its weights, whose
// values are all zero wherever one looks, and the rows of one step, all as long as dataset.max_length lets them be.
// Whatever plans a run plans with them as it does with the real ones.
func Imagine(m plan.Known, cfg *config.Config) (report.Files, error) {
	d, err := model.New(m.Config)
	if err != nil {
		return report.Files{}, fmt.Errorf("%s: %w", m.Name, err)
	}
	dtype := tensor.F32
	if m.DType == "bfloat16" {
		dtype = tensor.BF16
	}
	var specs []weights.Spec
	var size int64
	for _, p := range d.Params() {
		s := weights.Spec{Name: p.Name, DType: dtype, Shape: p.FileShape()}
		specs, size = append(specs, s), size+s.Bytes()
	}
	var head, rows bytes.Buffer
	if _, err := weights.NewWriter(&head, specs, nil); err != nil {
		return report.Files{}, fmt.Errorf("%s: %w", m.Name, err)
	}
	length := min(data.DefaultLength, d.MaxPositions)
	if n := cfg.Dataset.MaxLength; n != nil {
		length = min(*n, d.MaxPositions)
	}
	for i := range max(cfg.Training.BatchSize, 2) {
		row := map[string]any{"input_ids": make([]int, length)}
		if pretrained.Classifies(cfg) {
			row["label"] = i % 2
		}
		raw, err := json.Marshal(row)
		if err != nil {
			return report.Files{}, err
		}
		rows.Write(append(raw, '\n'))
	}
	return report.Files{
		Model: imaginedFolder{
			"config.json":      {m.Config, int64(len(m.Config))},
			weights.SingleName: {head.Bytes(), int64(head.Len()) + size},
		},
		Dataset: imaginedFolder{"imagined.jsonl": {rows.Bytes(), int64(rows.Len())}},
	}, nil
}

// imaginedFolder is a folder of files, by name.
type imaginedFolder map[string]imaginedFile

// imaginedFile begins with head and is zero from there on.
type imaginedFile struct {
	head []byte
	size int64
}

// Open implements fs.FS.
func (d imaginedFolder) Open(name string) (fs.File, error) {
	f, ok := d[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &imaginedReader{io.NewSectionReader(f, 0, f.size), name}, nil
}

// ReadDir implements fs.ReadDirFS.
func (d imaginedFolder) ReadDir(string) (list []fs.DirEntry, err error) {
	for _, name := range slices.Sorted(maps.Keys(d)) {
		list = append(list, fs.FileInfoToDirEntry(imaginedInfo{name, d[name].size}))
	}
	return list, nil
}

// ReadAt implements io.ReaderAt.
func (f imaginedFile) ReadAt(p []byte, off int64) (n int, err error) {
	if left := f.size - off; int64(len(p)) > left {
		p, err = p[:max(left, 0)], io.EOF
	}
	if off < int64(len(f.head)) {
		n = copy(p, f.head[off:])
	}
	clear(p[n:])
	return len(p), err
}

type imaginedReader struct {
	*io.SectionReader
	name string
}

func (r *imaginedReader) Stat() (fs.FileInfo, error) { return imaginedInfo{r.name, r.Size()}, nil }
func (r *imaginedReader) Close() error               { return nil }

type imaginedInfo struct {
	name string
	size int64
}

func (i imaginedInfo) Name() string       { return path.Base(i.name) }
func (i imaginedInfo) Size() int64        { return i.size }
func (i imaginedInfo) Mode() fs.FileMode  { return 0o444 }
func (i imaginedInfo) ModTime() time.Time { return time.Time{} }
func (i imaginedInfo) IsDir() bool        { return false }
func (i imaginedInfo) Sys() any           { return nil }
