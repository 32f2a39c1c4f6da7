package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const metadataKey = "__metadata__"

// header is the content of the JSON header, before it is checked against the file.
type header struct {
	metadata map[string]string
	entries  []entry
}

type entry struct {
	name, dtype string
	dims        []uint64
	begin, end  uint64 // from the start of the data area
}

// parseHeader reads the JSON of a header. White space is allowed on both sides; writers differ in how they pad.
func parseHeader(raw []byte) (h header, err error) {
	r := newJSONReader(raw)
	err = r.object(func(name string) (err error) {
		if name == metadataKey {
			h.metadata, err = r.metadata()
			return err
		}
		if len(h.entries) == MaxTensors {
			return fmt.Errorf("%w: over %d tensors", ErrLimit, MaxTensors)
		}
		e, err := r.entry(name)
		h.entries = append(h.entries, e)
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil && !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrLimit) {
		err = fmt.Errorf("%w: %w", ErrHeaderJSON, err)
	}
	return h, err
}

// jsonReader pulls typed values out of a JSON text. Unlike json.Unmarshal it refuses duplicate keys, distinguishes
// their case, keeps 64-bit integers exact and refuses null.
type jsonReader struct{ *json.Decoder }

func newJSONReader(raw []byte) jsonReader {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return jsonReader{d}
}

// object reads an object, calling field, which must consume the value, for each key.
func (r jsonReader) object(field func(key string) error) error {
	if err := r.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.More() {
		key, err := r.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%q: %w", key, ErrDuplicate)
		}
		seen[key] = true
		if err := field(key); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return r.delim('}')
}

// entry reads the description of one tensor. All three fields are required; unknown ones are skipped.
func (r jsonReader) entry(name string) (entry, error) {
	e := entry{name: name}
	var dtype, shape, offsets bool
	err := r.object(func(key string) (err error) {
		switch key {
		case "dtype":
			dtype = true
			if e.dtype, err = r.text(); err == nil && dtypeBits[e.dtype] == 0 {
				return fmt.Errorf("the format knows no type %q", e.dtype)
			}
		case "shape":
			shape = true
			e.dims, err = r.numbers(MaxRank)
		case "data_offsets":
			offsets = true
			var o []uint64
			if o, err = r.numbers(2); err == nil {
				if len(o) != 2 {
					return fmt.Errorf("%d numbers, want 2", len(o))
				}
				e.begin, e.end = o[0], o[1]
			}
		default:
			err = r.skip()
		}
		return err
	})
	if err == nil && !(dtype && shape && offsets) {
		err = errors.New("dtype, shape and data_offsets are not all there")
	}
	return e, err
}

// metadata reads an object of strings, or null, which the format's reference reader accepts as no metadata.
func (r jsonReader) metadata() (map[string]string, error) {
	var raw json.RawMessage
	if err := r.Decode(&raw); err != nil {
		return nil, early(err)
	}
	if string(raw) == "null" {
		return nil, nil
	}
	return newJSONReader(raw).texts()
}

// texts reads an object of strings.
func (r jsonReader) texts() (map[string]string, error) {
	m := map[string]string{}
	err := r.object(func(key string) (err error) {
		m[key], err = r.text()
		return err
	})
	return m, err
}

// numbers reads an array of at most limit unsigned integers.
func (r jsonReader) numbers(limit int) (list []uint64, err error) {
	if err := r.delim('['); err != nil {
		return nil, err
	}
	for r.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("%w: over %d numbers", ErrLimit, limit)
		}
		token, err := r.Token()
		if err != nil {
			return nil, early(err)
		}
		number, _ := token.(json.Number)
		n, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%v is not a size: want an integer of 0 to 2^64-1", token)
		}
		list = append(list, n)
	}
	return list, r.delim(']')
}

func (r jsonReader) text() (string, error) {
	token, err := r.Token()
	if err != nil {
		return "", early(err)
	}
	s, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%v is not a string", token)
	}
	return s, nil
}

func (r jsonReader) delim(want json.Delim) error {
	token, err := r.Token()
	if err != nil {
		return early(err)
	}
	if token != want {
		return fmt.Errorf("%v where %v was expected", token, want)
	}
	return nil
}

// skip reads a value of any kind and drops it.
func (r jsonReader) skip() error {
	var v json.RawMessage
	return early(r.Decode(&v))
}

// end makes sure that nothing but white space is left.
func (r jsonReader) end() error {
	if _, err := r.Token(); err != io.EOF {
		return errors.New("more text follows the object")
	}
	return nil
}

// early returns err. For io.EOF it returns an error that says that the text ends too soon.
func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
