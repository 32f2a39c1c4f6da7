package quant

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"llamatab/engine/tensor"
)

// Format is how a frozen matrix is stored on a device: packed in 32-bit words, the codes of all values first and what they are
// scaled by behind them, so that one buffer holds both. The first value of a word has its lowest bits.
//
//	int8      a byte for each value; a float32 for each row
//	nf4       4 bits for each value; a float32 for each 64 values of the flattened matrix
//	nf4 with double quantisation
//	          4 bits for each value; a byte for each 64 values; a float32 for each 256 bytes; the 256 values of the bytes; the mean
//	q4_0      4 bits for each value; a binary16 for each 32 values
//	q8_0      a byte for each value; a binary16 for each 32 values
type Format uint8

// The formats. Shaders know them by these numbers.
const (
	Plain Format = iota // not packed
	Int8
	NF4
	NF4Double
	PackedQ4_0
	PackedQ8_0
	formats
)

var formatNames = [formats]string{"none", "int8", "nf4", "nf4 with double quantisation", "q4_0", "q8_0"}

// String is the name of the format in run.json.
func (f Format) String() string { return formatNames[f] }

// ParseFormat finds the format that run.json names.
func ParseFormat(name string, double bool) (Format, error) {
	if name == "nf4" && double {
		return NF4Double, nil
	}
	if i := slices.Index(formatNames[:], name); i > 0 {
		return Format(i), nil
	}
	return Plain, fmt.Errorf("no quantisation is called %q", name)
}

// bits is the size of a code.
func (f Format) bits() int {
	if f == Int8 || f == PackedQ8_0 {
		return 8
	}
	return 4
}

// unit is the number of values that share a scale.
func (f Format) unit(cols int) int {
	switch f {
	case Int8:
		return cols
	case NF4, NF4Double:
		return nf4Values
	}
	return 32
}

// Fits reports whether a matrix can be stored in the format: rows of Int8 are whole words, blocks of Q4_0 and Q8_0 do not cross the
// end of a row, and a matrix in NF4 is whole blocks.
func (f Format) Fits(rows, cols int) bool {
	switch f {
	case Int8:
		return cols%4 == 0
	case NF4, NF4Double:
		return rows*cols%nf4Values == 0 && cols%4 == 0
	}
	return cols%32 == 0
}

// Words is the size of a packed matrix in 32-bit words.
func (f Format) Words(rows, cols int) int {
	n := rows * cols
	scales := n / f.unit(cols)
	words := n * f.bits() / 32
	switch f {
	case Int8, NF4:
		return words + scales
	case NF4Double:
		return words + ceil(scales, 4) + ceil(scales, scaleValues) + len(dynamicMap()) + 1
	}
	return words + ceil(scales, 2)
}

func ceil(a, b int) int { return (a + b - 1) / b }

// Packer packs a matrix whose values come in order, in parts of any size. It keeps the scales and an incomplete unit.
type Packer struct {
	format Format
	rows   int
	cols   int
	write  func(word int, data []byte) error
	at     int       // values that have been written
	rest   []float32 // values of an incomplete unit
	scales []float32
}

// NewPacker makes a packer. write gets whole words, little-endian, and the index of the first.
func NewPacker(f Format, rows, cols int, write func(word int, data []byte) error) *Packer {
	return &Packer{format: f, rows: rows, cols: cols, write: write}
}

// Add packs the next values.
func (p *Packer) Add(x []float32) error {
	unit := p.format.unit(p.cols)
	if len(p.rest) > 0 {
		n := min(unit-len(p.rest), len(x))
		p.rest, x = append(p.rest, x[:n]...), x[n:]
		if len(p.rest) < unit {
			return nil
		}
		if err := p.pack(p.rest); err != nil {
			return err
		}
		p.rest = p.rest[:0]
	}
	whole := len(x) / unit * unit
	p.rest = append(p.rest, x[whole:]...)
	if whole == 0 {
		return nil
	}
	return p.pack(x[:whole])
}

// pack packs whole units.
func (p *Packer) pack(x []float32) error {
	unit, bits := p.format.unit(p.cols), p.format.bits()
	codes := make([]byte, len(x)*bits/8)
	rest := codes
	for values := range slices.Chunk(x, unit) {
		out := rest[:unit*bits/8]
		rest = rest[len(out):]
		var by float32
		switch p.format {
		case Int8:
			by = encodeInt8(out, values)
		case NF4, NF4Double:
			by = encodeNF4(out, values)
		case PackedQ8_0:
			var block [34]byte
			encodeQ8_0(block[:], values)
			copy(out, block[2:])
			by = scale(block[:])
		case PackedQ4_0:
			var block [18]byte
			encodeQ4_0(block[:], values)
			inOrder(out, block[2:])
			by = scale(block[:])
		}
		p.scales = append(p.scales, by)
	}
	word := p.at * bits / 32
	p.at += len(x)
	return p.write(word, codes)
}

// inOrder brings the codes of a block of Q4_0, which has q[i] and q[i+16] in a byte, into the order of the values.
func inOrder(out, block []byte) {
	code := func(i int) byte { return block[i%16] >> (4 * (i / 16)) & 15 }
	for i := range out {
		out[i] = code(2*i) | code(2*i+1)<<4
	}
}

// Close writes the scales. All values must have been added.
func (p *Packer) Close() error {
	if n := p.rows * p.cols; p.at != n {
		return fmt.Errorf("%d of %d values were packed", p.at, n)
	}
	var data []byte
	floats := func(x []float32) { data = tensor.EncodeF32(data, x, tensor.F32) }
	switch p.format {
	case Int8, NF4:
		floats(p.scales)
	case NF4Double:
		codes, seconds, mean := encodeScales(p.scales)
		data = append(append(data, codes...), make([]byte, -len(codes)&3)...)
		floats(seconds)
		floats(dynamicMap())
		floats([]float32{mean})
	default:
		data = tensor.EncodeF32(data, p.scales, tensor.F16)
		data = append(data, make([]byte, -len(data)&3)...)
	}
	return p.write(p.rows*p.cols*p.format.bits()/32, data)
}

// Pack packs a whole matrix.
func (f Format) Pack(x []float32, rows, cols int) ([]byte, error) {
	out := make([]byte, 4*f.Words(rows, cols))
	p := NewPacker(f, rows, cols, func(word int, data []byte) error { copy(out[4*word:], data); return nil })
	if err := p.Add(x); err != nil {
		return nil, err
	}
	return out, p.Close()
}

// Unpack computes the values of a packed matrix, in float32 as the shaders do.
func (f Format) Unpack(dst []float32, words []uint32, rows, cols int) {
	n := rows * cols
	tail := words[n*f.bits()/32:]
	scale := f.scales(tail, n/f.unit(cols))
	unit := f.unit(cols)
	for i := range dst {
		if f.bits() == 8 {
			q := float32(int8(words[i/4] >> (8 * (i % 4))))
			if dst[i] = float32(q * scale(i/unit)); f == Int8 {
				dst[i] *= inverse127
			}
			continue
		}
		code := words[i/8] >> (4 * (i % 8)) & 15
		if f == PackedQ4_0 {
			dst[i] = float32(int(code)-8) * scale(i/unit)
		} else {
			dst[i] = nf4Levels[code] * scale(i/unit)
		}
	}
}

// scales returns the function that finds a scale among the words behind the codes. count is the number of scales.
func (f Format) scales(tail []uint32, count int) func(i int) float32 {
	float := func(i int) float32 { return math.Float32frombits(tail[i]) }
	switch f {
	case Int8, NF4:
		return float
	case NF4Double:
		seconds := ceil(count, 4)
		table := seconds + ceil(count, scaleValues)
		return func(i int) float32 {
			code := tail[i/4] >> (8 * (i % 4)) & 255
			return float32(float(table+int(code))*float(seconds+i/scaleValues)) + float(table+len(dynamicMap()))
		}
	}
	return func(i int) float32 { return tensor.F32FromF16(uint16(tail[i/2] >> (16 * (i % 2)))) }
}

// UnpackBytes is Unpack of words as bytes, little-endian.
func (f Format) UnpackBytes(dst []float32, data []byte, rows, cols int) {
	words := make([]uint32, len(data)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	f.Unpack(dst, words, rows, cols)
}
