package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Names that Hugging Face gives to the weights of a model.
const (
	SingleName = "model.safetensors"
	IndexName  = "model.safetensors.index.json"
)

// ShardBytes is the size up to which a model is one file, and past which it is cut: 5 GB, as Hugging Face does.
const ShardBytes int64 = 5_000_000_000

// maxIndex bounds an index in bytes; at about 80 a tensor it covers MaxTensors.
const maxIndex = 100_000_000

// index says which file each tensor is in.
type index struct {
	totalSize string            // as spelled, "" if absent; informative only: writers disagree on tied weights
	files     map[string]string // tensor → file
}

func parseIndex(raw []byte) (ix index, err error) {
	r := newJSONReader(raw)
	err = r.object(func(key string) (err error) {
		switch key {
		case "weight_map":
			ix.files, err = r.texts()
		case "metadata":
			var m map[string]json.RawMessage
			err = early(r.Decode(&m))
			ix.totalSize = string(m["total_size"])
		default:
			err = r.skip()
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return ix, err
	}
	if len(ix.files) == 0 {
		return ix, errors.New("it has no weight_map")
	}
	for name, file := range ix.files {
		if file == "" || file == "." || strings.ContainsAny(file, `/\`) || strings.Contains(file, "..") {
			return ix, fmt.Errorf("tensor %q: %q is not the plain name of a file beside the index", name, file)
		}
	}
	return ix, nil
}

// Shard is one file of a checkpoint to be written.
type Shard struct {
	Name  string
	Specs []Spec
	Bytes int64 // of the tensors, without the header
}

// Split deals tensors, in the order given, to files of at most maxShardBytes each; a tensor larger than that gets a
// file of its own. One file is named SingleName and needs no index, several are named model-00001-of-0000N.safetensors.
func Split(specs []Spec, maxShardBytes int64) []Shard {
	shards := []Shard{{}}
	for _, s := range specs {
		last := &shards[len(shards)-1]
		if len(last.Specs) > 0 && last.Bytes+s.Bytes() > maxShardBytes {
			shards = append(shards, Shard{})
			last = &shards[len(shards)-1]
		}
		last.Specs = append(last.Specs, s)
		last.Bytes += s.Bytes()
	}
	for i := range shards {
		shards[i].Name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
	}
	if len(shards) == 1 {
		shards[0].Name = SingleName
	}
	return shards
}

// WriteIndex writes the index of shards, to be saved under IndexName.
func WriteIndex(w io.Writer, shards []Shard) error {
	var ix struct {
		Metadata struct {
			TotalSize int64 `json:"total_size"`
		} `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	ix.WeightMap = map[string]string{}
	for _, shard := range shards {
		ix.Metadata.TotalSize += shard.Bytes
		for _, s := range shard.Specs {
			if other, ok := ix.WeightMap[s.Name]; ok {
				return fmt.Errorf("weights: index: tensor %q in %s and %s: %w", s.Name, other, shard.Name, ErrDuplicate)
			}
			ix.WeightMap[s.Name] = shard.Name
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(ix); err != nil {
		return fmt.Errorf("weights: index: %w", err)
	}
	return nil
}
