package memory

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"strconv"

	"llamatab/engine/tensor"
)

// sampledValues is the least number of values of a tensor that its fingerprint is made of, where it has as many.
const sampledValues = 64

// fingerprint hashes some values of a tensor as they are stored: those at 0, stride, 2·stride, …, as float32, so that the
// same values have the same fingerprint in any type that holds them.
type fingerprint struct {
	stride int
	next   int // the index of the next value that counts
	sum    uint64
}

func newFingerprint(name string, values int) *fingerprint {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &fingerprint{stride: max(1, values/sampledValues), sum: h.Sum64()}
}

// add takes the part of the tensor that begins at value at. Parts come in order.
func (f *fingerprint) add(at int, part []byte, d tensor.DType) error {
	size := d.Size()
	for ; f.next < at+len(part)/size; f.next += f.stride {
		var x [1]float32
		from := (f.next - at) * size
		if err := tensor.DecodeF32(x[:], part[from:from+size], d); err != nil {
			return err
		}
		h := fnv.New64a()
		h.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, f.sum), math.Float32bits(x[0])))
		f.sum = h.Sum64()
	}
	return nil
}

// FrozenFingerprint is a hash of values of the frozen weights of the model as Load has read them, "" where there are none. Weights
// from which the start of an adapter is subtracted are not among them.
// It does not depend on their order. A base model that was replaced by another has a different one; a file in which a few
// values differ may have the same.
func (m *Parameters) FrozenFingerprint() string {
	if len(m.sampled) == 0 {
		return ""
	}
	var sum uint64
	for _, s := range m.sampled {
		sum += s
	}
	return strconv.FormatUint(sum, 16)
}
