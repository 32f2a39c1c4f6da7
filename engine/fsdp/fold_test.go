package fsdp

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"llamatab/engine/tensor"
)

// TestSane tries every bfloat16, and every float32 exponent, at every place of a word and alone.
func TestSane(t *testing.T) {
	for u := range 1 << 16 {
		x := tensor.F32FromBF16(uint16(u))
		want := math.Abs(float64(x)) < TooLarge
		for _, n := range []int{1, 4, 17} {
			b := make([]byte, 2*n)
			binary.LittleEndian.PutUint16(b[2*(u%n):], uint16(u))
			if got := Finite(b, tensor.BF16); got != want {
				t.Fatalf("bfloat16 %#04x (%g) as one of %d: %v", u, x, n, got)
			}
		}
		for _, low := range []uint32{0, 1, 0xffff} {
			bits := uint32(u)<<16 | low
			want := math.Abs(float64(math.Float32frombits(bits))) < TooLarge
			for _, n := range []int{1, 9} {
				b := make([]byte, 4*n)
				binary.LittleEndian.PutUint32(b[4*(u%n):], bits)
				if got := Finite(b, tensor.F32); got != want {
					t.Fatalf("float32 %#08x as one of %d: %v", bits, n, got)
				}
			}
		}
	}
	all := make([]byte, 64) // neighbours do not carry into each other
	for i := range 32 {
		binary.LittleEndian.PutUint16(all[2*i:], 0xde7f)
	}
	if !Finite(all, tensor.BF16) {
		t.Error("the largest that is not absurd is refused")
	}
}

// TestFold adds vectors whose sum depends on the order, and compares with adding one by one.
func TestFold(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, d := range []tensor.DType{tensor.BF16, tensor.F32} {
		for _, n := range []int{1, 3, 4, 5, 64, 1001} {
			const slots = 40
			wire := make([][]byte, slots)
			want := make([]float32, n)
			for k := range wire {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(math.Ldexp(rng.Float64()-0.5, rng.IntN(40)))
				}
				wire[k] = tensor.EncodeF32(nil, x, d)
				if err := tensor.DecodeF32(x, wire[k], d); err != nil {
					t.Fatal(err)
				}
				for i := range x {
					want[i] += x[i]
				}
			}
			acc, back := make([]float32, n), make([]float32, n)
			for k := range wire {
				Fold(acc, wire[k], d)
				Fold(back, wire[slots-1-k], d)
			}
			differ := false
			for i := range acc {
				if math.Float32bits(acc[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s: element %d of %d is %v, want %v", d, i, n, acc[i], want[i])
				}
				differ = differ || acc[i] != back[i]
			}
			if n > 60 && !differ {
				t.Errorf("%s: the reverse order gives the same: these vectors show nothing", d)
			}
		}
	}
}

func TestSumSquares(t *testing.T) {
	for _, n := range []int{0, 1, 5, 4099} {
		x := make([]float32, n)
		want := 0.0
		for i := range x {
			x[i] = float32(i%7) - 3
			want += float64(x[i]) * float64(x[i])
		}
		if got := SumSquares(x); got != want { // whole numbers: exact in any order
			t.Errorf("%d elements: %v, want %v", n, got, want)
		}
		if got := len(Bytes(x)); got != 4*n {
			t.Errorf("%d bytes of %d elements", got, n)
		}
	}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		x := make([]float32, 16*50+3)
		for i := range x {
			x[i] = 2
		}
		if got := Sample(tensor.EncodeF32(nil, x, d), d); got != 16*4*51 {
			t.Errorf("%s: sample %v of %d twos", d, got, len(x))
		}
	}
}

// BenchmarkFold gives bytes of input; memory moves 1 + 2·4/size bytes for each: the input, and the sum both ways.
func BenchmarkFold(b *testing.B) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F32} {
		for _, n := range []int{128 << 10, 16 << 20} {
			b.Run(fmt.Sprintf("%s/%dKi", d, n>>10), func(b *testing.B) {
				acc, wire := make([]float32, n), make([]byte, n*d.Size())
				b.SetBytes(int64(len(wire)))
				for b.Loop() {
					if !Finite(wire, d) {
						b.Fatal("zeros are not sane")
					}
					Fold(acc, wire, d)
				}
			})
		}
	}
	const n = 64 << 20
	b.Run("copy", func(b *testing.B) { // what memory does
		from, to := make([]byte, n), make([]byte, n)
		b.SetBytes(n)
		for b.Loop() {
			copy(to, from)
		}
	})
}
