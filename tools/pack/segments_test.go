package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// module is a wasm file with a type section and a data section.
func module(segments []segment) []byte {
	body := appendSegments(nil, segments)
	b := append([]byte("\x00asm\x01\x00\x00\x00"), 1, 2, 0x60, 0) // any other section stays as it is
	b = append(b, 11)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// memory is the start of the memory that segments describe.
func memory(segments []segment, size int) []byte {
	m := make([]byte, size)
	for _, s := range segments {
		copy(m[s.address:], s.content)
	}
	return m
}

// Merged segments describe the same memory.
func TestMergeSegments(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const size = 1 << 20
	var segments []segment
	for at := int64(3); at < size-600; {
		content := make([]byte, 1+random.IntN(200))
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		segments = append(segments, segment{at, content})
		at += int64(len(content)) + int64(random.IntN(2*mergedGap+2))
	}
	half := len(segments) / 2 // their order in the file does not matter
	merged, err := mergeSegments(module(append(slices.Clone(segments[half:]), segments[:half]...)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(merged, module(nil)[:12]) {
		t.Errorf("the header or another section changed: % x", merged[:12])
	}
	r := wasmReader{data: merged[13:]}
	body := r.bytes(r.unsigned())
	if r.failed || len(r.data) > 0 {
		t.Fatal("the data section's length is wrong")
	}
	again, err := readSegments(body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(memory(again, size), memory(segments, size)) {
		t.Error("the memory differs")
	}
	if len(again) == 1 || len(again) > len(segments)*2/3 {
		t.Errorf("%d segments became %d", len(segments), len(again))
	}
	for i := range again[1:] {
		if gap := again[i+1].address - again[i].address - int64(len(again[i].content)); gap <= mergedGap {
			t.Fatalf("a gap of %d bytes is left", gap)
		}
	}
}

// Numbers are encoded as the WebAssembly specification says, and read back.
func TestSignedLEB128(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want []byte
	}{{0, []byte{0}}, {63, []byte{63}}, {64, []byte{0xc0, 0}}, {-1, []byte{0x7f}}, {-123456, []byte{0xc0, 0xbb, 0x78}}, {4096, []byte{0x80, 0x20}}} {
		got := appendSigned(nil, c.n)
		r := wasmReader{data: got}
		if back := r.signed(); !bytes.Equal(got, c.want) || back != c.n || r.failed {
			t.Errorf("%d: % x, want % x, read as %d", c.n, got, c.want, back)
		}
	}
}

// A file that is cut off or has segments of another kind is refused.
func TestMergeSegmentsRefuses(t *testing.T) {
	whole := module([]segment{{8, []byte("data")}, {100, []byte("more")}})
	for n := range whole {
		if n == 8 || n == 12 { // a whole file with fewer sections
			continue
		}
		if _, err := mergeSegments(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a wasm file", n, len(whole))
		}
	}
	overlapping := module([]segment{{8, []byte("data")}, {10, []byte("more")}})
	passive := bytes.Replace(whole, []byte{0, 0x41, 8}, []byte{1, 0x41, 8}, 1)
	for _, bad := range [][]byte{overlapping, passive, nil, []byte("MZ......")} {
		if _, err := mergeSegments(bad); err == nil {
			t.Errorf("% x is taken for a wasm file of the Go linker", bad)
		}
	}
}
