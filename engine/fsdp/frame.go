package fsdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A frame is one message of a socket: a header, little-endian, and its body.
//
//	offset  0 magic u16   2 version u8   3 type u8   4 flags u16   6 slot u16   8 epoch u32   12 step u64
//	       20 unit u16   22 header length u16   24 chunk u32   28 chunks u32   32 body length u32   36 CRC-32C u32
const (
	magic   = 0x544c // "LT"
	version = 1

	HeaderLen = 40
	// MaxBulk bounds the body of a frame of numbers: with its header it fits the 1 MiB that message brokers allow.
	MaxBulk = 1<<20 - 4096
	// MaxControl bounds the body of any other frame.
	MaxControl = 64 << 10
	// MaxWelcome bounds the frame that lists all parameters; only the room sends it.
	MaxWelcome = 16 << 20
	// MaxHello bounds the first frame of a socket, which comes before the sender is known.
	MaxHello = 4 << 10
)

// Type says what a frame is.
type Type uint8

// Frames of the control socket have JSON bodies; those of the data socket are numbers, but for the Attach that opens it.
const (
	TypeHello   Type = 1 + iota // tab → room, the first frame of a control socket
	TypeWelcome                 // room → tab
	TypeStatus                  // tab → room: all that the tab has
	TypeOrders                  // room → tab: all that the room wants of it
	TypePull                    // both: asks for pieces
	TypeBye                     // both: the last frame
	TypeAttach                  // tab → room, the first frame of a data socket

	TypeGradient Type = 32 + iota - 7 // tab → room: a slot's gradient, a piece of all parameters
	TypeReduced                       // room → tab: the sum over all slots, a piece of a shard
	TypeParam                         // both: parameters as they are computed with, a piece of a shard
	TypeState                         // both: masters and moments, a piece of a shard
	TypeMaster                        // room → tab: the masters after the last step, a piece of a shard
)

var typeNames = map[Type]string{
	TypeHello: "hello", TypeWelcome: "welcome", TypeStatus: "status", TypeOrders: "orders", TypePull: "pull", TypeBye: "bye", TypeAttach: "attach",
	TypeGradient: "gradient", TypeReduced: "reduced", TypeParam: "param", TypeState: "state", TypeMaster: "master",
}

func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Bulk tells whether t travels on the data socket as numbers.
func (t Type) Bulk() bool { return t >= TypeGradient && t <= TypeMaster }

// limit is the largest body of a frame of type t.
func (t Type) limit() int {
	switch {
	case t.Bulk():
		return MaxBulk
	case t == TypeHello || t == TypeAttach:
		return MaxHello
	case t == TypeWelcome:
		return MaxWelcome
	}
	return MaxControl
}

// Flags of a header.
const (
	FlagF32  = 1 << 0 // the body is float32
	FlagBF16 = 1 << 1 // the body is bfloat16
	FlagCRC  = 1 << 2 // the header has the body's checksum; bytes that go from GPU to socket directly have none
	allFlags = FlagF32 | FlagBF16 | FlagCRC
)

// Header describes the body of a frame. Type and Flags are always set, the other fields where the type uses them.
type Header struct {
	Type   Type
	Flags  uint16
	Slot   uint16 // slot of a gradient, shard of anything else
	Epoch  uint32 // of the order that the frame answers
	Step   uint64 // of a gradient; version of parameters and states
	Unit   uint16
	Chunk  uint32 // the piece's number among
	Chunks uint32 // so many of its view
	Len    uint32 // bytes of the body
	CRC    uint32
}

// Frame is a header and its body.
type Frame struct {
	Header
	Body []byte
}

// ErrFrame is wrapped by every error about bytes that are not a frame.
var ErrFrame = errors.New("fsdp: bad frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the frame's bytes to dst. It fills in Len, and CRC where FlagCRC asks for it.
func (f *Frame) Append(dst []byte) []byte {
	f.Len, f.CRC = uint32(len(f.Body)), 0
	if f.Flags&FlagCRC != 0 {
		f.CRC = crc32.Checksum(f.Body, castagnoli)
	}
	return append(f.Header.Append(dst), f.Body...)
}

// Append appends the header's bytes to dst.
func (h *Header) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, magic)
	dst = append(dst, version, byte(h.Type))
	dst = le.AppendUint16(dst, h.Flags)
	dst = le.AppendUint16(dst, h.Slot)
	dst = le.AppendUint32(dst, h.Epoch)
	dst = le.AppendUint64(dst, h.Step)
	dst = le.AppendUint16(dst, h.Unit)
	dst = le.AppendUint16(dst, HeaderLen)
	dst = le.AppendUint32(dst, h.Chunk)
	dst = le.AppendUint32(dst, h.Chunks)
	dst = le.AppendUint32(dst, h.Len)
	return le.AppendUint32(dst, h.CRC)
}

// ParseHeader reads a header and checks all that can be checked without the body. It allocates nothing.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("%w: %d bytes where a header has %d", ErrFrame, len(b), HeaderLen)
	}
	le := binary.LittleEndian
	h := Header{
		Type: Type(b[3]), Flags: le.Uint16(b[4:]), Slot: le.Uint16(b[6:]), Epoch: le.Uint32(b[8:]), Step: le.Uint64(b[12:]),
		Unit: le.Uint16(b[20:]), Chunk: le.Uint32(b[24:]), Chunks: le.Uint32(b[28:]), Len: le.Uint32(b[32:]), CRC: le.Uint32(b[36:]),
	}
	switch {
	case le.Uint16(b) != magic:
		return h, fmt.Errorf("%w: it begins with %#04x, not with %#04x", ErrFrame, le.Uint16(b), magic)
	case b[2] != version:
		return h, fmt.Errorf("%w: version %d of the protocol, this program has %d", ErrFrame, b[2], version)
	case typeNames[h.Type] == "":
		return h, fmt.Errorf("%w: unknown %v", ErrFrame, h.Type)
	case h.Flags&^allFlags != 0:
		return h, fmt.Errorf("%w: unknown flags %#x", ErrFrame, h.Flags&^allFlags)
	case le.Uint16(b[22:]) != HeaderLen:
		return h, fmt.Errorf("%w: a header of %d bytes, want %d", ErrFrame, le.Uint16(b[22:]), HeaderLen)
	case int64(h.Len) > int64(h.Type.limit()):
		return h, fmt.Errorf("%w: a %v of %d bytes, at most %d are allowed", ErrFrame, h.Type, h.Len, h.Type.limit())
	case h.Type.Bulk() && (h.Chunk >= h.Chunks || h.Flags&(FlagF32|FlagBF16) == 0 || h.Flags&(FlagF32|FlagBF16) == FlagF32|FlagBF16):
		return h, fmt.Errorf("%w: a %v with chunk %d of %d and flags %#x", ErrFrame, h.Type, h.Chunk, h.Chunks, h.Flags)
	case !h.Type.Bulk() && h.Flags&(FlagF32|FlagBF16) != 0:
		return h, fmt.Errorf("%w: a %v with flags %#x", ErrFrame, h.Type, h.Flags)
	case h.Flags&FlagCRC == 0 && h.CRC != 0:
		return h, fmt.Errorf("%w: a checksum without its flag", ErrFrame)
	}
	return h, nil
}

// Parse reads the one frame that b holds. The body is a part of b.
func Parse(b []byte) (Frame, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Frame{}, err
	}
	body := b[HeaderLen:]
	if int64(len(body)) != int64(h.Len) {
		return Frame{}, fmt.Errorf("%w: a %v with %d bytes, its header says %d", ErrFrame, h.Type, len(body), h.Len)
	}
	if h.Flags&FlagCRC != 0 && crc32.Checksum(body, castagnoli) != h.CRC {
		return Frame{}, fmt.Errorf("%w: the checksum of a %v does not match", ErrFrame, h.Type)
	}
	return Frame{h, body}, nil
}
