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

// Tail is what lies behind the last whole entry of a log.
type Tail struct {
	Entries int   // whole entries before it
	Offset  int64 // where it begins
	Bytes   []byte
	// Complete: the tail is as long as its own header says, so it may be an entry that was written whole and has changed since.
	Complete bool
	// Middle: whole entries follow, so this is no torn write but damage.
	Middle bool
}

// Torn tells whether the tail is what a program leaves that was killed while it wrote an entry. Nobody has heard of that
// entry, so cutting it off loses nothing.
func (t Tail) Torn() bool { return !t.Complete && !t.Middle }

// parseEntries reads entries up to the first that is not whole, and says what lies behind the last whole one.
func parseEntries(b []byte) (entries [][]byte, tail Tail) {
	at := 0
	for {
		text, _ := entryAt(b[at:])
		if text == nil {
			break
		}
		entries, at = append(entries, text), at+entryHeader+len(text)
	}
	tail = Tail{Entries: len(entries), Offset: int64(at), Bytes: b[at:]}
	_, tail.Complete = entryAt(tail.Bytes)
	tail.Middle = entryFollows(tail.Bytes)
	return entries, tail
}

// entryAt is the text of the entry that b begins with, nil where it is not whole. complete tells that b has as many bytes as
// the header says, whatever their checksum.
func entryAt(b []byte) (text []byte, complete bool) {
	if len(b) < entryHeader {
		return nil, false
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n == 0 || n > maxEntry || // a file system may leave zeros where a write was cut off
		int64(len(b)) < entryHeader+n {
		return nil, false
	}
	text = b[entryHeader : entryHeader+n]
	if crc32.Checksum(text, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, true
	}
	return text, true
}

// mostChecksummed bounds the bytes that entryFollows computes checksums of. The four bytes of a plausible length are hardly
// ever part of JSON text, so real logs stay far below.
const mostChecksummed = 256 << 20

// entryFollows tells whether a whole entry begins anywhere in b but at its first byte. Where that takes too long to find out
// it says so, as nothing is to be cut off by mistake.
func entryFollows(b []byte) bool {
	summed := 0
	for at := 1; at+entryHeader < len(b); at++ {
		n := binary.LittleEndian.Uint32(b[at:])
		if n == 0 || n > maxEntry {
			continue
		}
		text, complete := entryAt(b[at:])
		if text != nil {
			return true
		}
		if complete {
			if summed += int(n); summed > mostChecksummed {
				return true
			}
		}
	}
	return false
}
