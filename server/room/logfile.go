package room

import (
	"encoding/binary"
	"hash/crc32"
)

// An entry of a log file is its length, the CRC-32C of its text, and the text. Lengths and sums are little-endian u32.
const (
	entryHeader = 8
	maxEntry    = 64 << 20 // the first entry lists all parameters of a model
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntry appends an entry to dst.
func appendEntry(dst, text []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(text)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(text, castagnoli))
	return append(dst, text...)
}

// parseEntries reads entries up to the first that is not whole, as a program leaves it that was killed while writing,
// and says how many bytes are good.
func parseEntries(b []byte) (entries [][]byte, good int) {
	for {
		rest := b[good:]
		if len(rest) < entryHeader {
			return entries, good
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		if n == 0 || n > maxEntry || // a file system may leave zeros where a write was cut off
			int64(len(rest)) < entryHeader+n {
			return entries, good
		}
		text := rest[entryHeader : entryHeader+n]
		if crc32.Checksum(text, castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			return entries, good
		}
		entries, good = append(entries, text), good+entryHeader+int(n)
	}
}
