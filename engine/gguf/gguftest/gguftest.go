// Package gguftest writes small GGUF files for tests.
package gguftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"llamatab/engine/gguf"
	"llamatab/engine/tensor"
)

// Key is a key and its value: a uint32, int32, uint64, float32, bool or string, or a list of strings, int32 or float32.
type Key struct {
	Name  string
	Value any
}

// Tensor is a tensor with its bytes. The shape is in the order of Hugging Face.
type Tensor struct {
	Name  string
	Type  gguf.TensorType
	Shape tensor.Shape
	Data  []byte
}

// File is the bytes of a file of version 3 with an alignment of 32.
func File(keys []Key, tensors []Tensor) []byte {
	var b bytes.Buffer
	b.WriteString(gguf.Magic)
	put(&b, uint32(gguf.Version), uint64(len(tensors)), uint64(len(keys)))
	for _, k := range keys {
		String(&b, k.Name)
		value(&b, k.Value)
	}
	offset := 0
	for _, t := range tensors {
		String(&b, t.Name)
		put(&b, uint32(len(t.Shape)))
		for i := len(t.Shape) - 1; i >= 0; i-- {
			put(&b, uint64(t.Shape[i]))
		}
		put(&b, uint32(t.Type), uint64(offset))
		offset += len(t.Data) + pad(len(t.Data))
	}
	b.Write(make([]byte, pad(b.Len())))
	for _, t := range tensors {
		b.Write(t.Data)
		b.Write(make([]byte, pad(len(t.Data))))
	}
	return b.Bytes()
}

func pad(n int) int { return (gguf.DefaultAlignment - n%gguf.DefaultAlignment) % gguf.DefaultAlignment }

func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		binary.Write(b, binary.LittleEndian, v) // a bytes.Buffer takes everything
	}
}

// String writes a string as the format does.
func String(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

// value writes the type of a value and the value.
func value(b *bytes.Buffer, v any) {
	list := func(t gguf.ValueType, n int) { put(b, uint32(gguf.Array), uint32(t), uint64(n)) }
	switch v := v.(type) {
	case uint32:
		put(b, uint32(gguf.Uint32), v)
	case int32:
		put(b, uint32(gguf.Int32), v)
	case uint64:
		put(b, uint32(gguf.Uint64), v)
	case float32:
		put(b, uint32(gguf.Float32), math.Float32bits(v))
	case bool:
		put(b, uint32(gguf.Bool), v)
	case string:
		put(b, uint32(gguf.String))
		String(b, v)
	case []string:
		list(gguf.String, len(v))
		for _, s := range v {
			String(b, s)
		}
	case []int32:
		list(gguf.Int32, len(v))
		put(b, v)
	case []float32:
		list(gguf.Float32, len(v))
		put(b, v)
	default:
		panic(fmt.Sprintf("gguftest: a value of type %T", v))
	}
}
