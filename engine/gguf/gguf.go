// Package gguf reads GGUF files, the format in which llama.cpp and the programs around it keep models.
//
// A file is little-endian:
//
//	magic    "GGUF"
//	version  u32, 2 or 3
//	counts   u64 of tensors, u64 of key values
//	keys     name, type, value
//	tensors  name, number of dimensions, dimensions, type, offset in the data
//	data     each tensor at a multiple of the alignment
//
// A string is its length as u64 and its bytes. Dimensions begin with the one that lies closest together in memory, so they are a
// shape of Hugging Face in reverse order.
package gguf

import (
	"errors"
	"fmt"

	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Magic are the first bytes of a file.
const Magic = "GGUF"

// Version is the version that is written. Version 2 has the same layout for little-endian files and is read as well.
const Version = 3

// DefaultAlignment is the alignment of tensors, in bytes, in a file that does not state one.
const DefaultAlignment = 32

// Limits on what a file may claim. They are far above any real model.
const (
	MaxHeader    = 512 << 20 // bytes before the data
	MaxKeys      = 1 << 16
	MaxTensors   = 1 << 16
	MaxName      = 1 << 12 // bytes of the name of a key or a tensor
	MaxString    = 64 << 20
	MaxArray     = 1 << 24 // elements
	MaxRank      = 4
	MaxAlignment = 1 << 20
)

// What can be wrong with a file. Errors wrap one of these and name the key or the tensor.
var (
	ErrMagic       = errors.New("this is no GGUF file")
	ErrVersion     = errors.New("this version of GGUF is not read")
	ErrBigEndian   = errors.New("the file is big-endian, and only little-endian files are read; convert it with gguf_convert_endian.py of llama.cpp")
	ErrShort       = errors.New("the file ends too early")
	ErrLimit       = errors.New("more than this reader accepts")
	ErrType        = errors.New("unknown type of value")
	ErrNested      = errors.New("an array of arrays is not read")
	ErrBool        = errors.New("a bool is neither 0 nor 1")
	ErrDuplicate   = errors.New("name appears twice")
	ErrName        = errors.New("not a name")
	ErrAlignment   = errors.New("general.alignment is not a multiple of 8")
	ErrShape       = errors.New("not a shape")
	ErrOffset      = errors.New("offset is not a multiple of the alignment")
	ErrOverlap     = errors.New("two tensors overlap")
	ErrUnsupported = errors.New("type of tensor is not supported")
)

// ValueType is the type of a key's value.
type ValueType uint32

// The types of values.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueNames = [...]string{"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"}

// valueBytes are the sizes of the values, for a string that of its length.
var valueBytes = [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

func (t ValueType) String() string {
	if int(t) < len(valueNames) {
		return valueNames[t]
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// TensorType is the type of a tensor's elements, with ggml's numbers.
type TensorType uint32

// The types of tensors that are read.
const (
	F32  TensorType = 0
	F16  TensorType = 1
	Q4_0 TensorType = 2
	Q4_1 TensorType = 3
	Q5_0 TensorType = 6
	Q5_1 TensorType = 7
	Q8_0 TensorType = 8
	Q4_K TensorType = 12
	Q5_K TensorType = 13
	Q6_K TensorType = 14
	BF16 TensorType = 30
)

// tensorNames are ggml's names of all types, those that are not read as well, so that they can be refused by name.
var tensorNames = map[TensorType]string{
	F32: "F32", F16: "F16", Q4_0: "Q4_0", Q4_1: "Q4_1", Q5_0: "Q5_0", Q5_1: "Q5_1", Q8_0: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
	Q4_K: "Q4_K", Q5_K: "Q5_K", Q6_K: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
	22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", BF16: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}

func (t TensorType) String() string {
	if name, ok := tensorNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// blocks are the types whose values are packed in blocks.
var blocks = map[TensorType]quant.Type{
	Q4_0: quant.Q4_0, Q4_1: quant.Q4_1, Q5_0: quant.Q5_0, Q5_1: quant.Q5_1, Q8_0: quant.Q8_0,
	Q4_K: quant.Q4_K, Q5_K: quant.Q5_K, Q6_K: quant.Q6_K,
}

// Blocks is how the values are packed, quant.None for the types whose elements stand alone.
func (t TensorType) Blocks() quant.Type { return blocks[t] }

// DType is the type of the elements as they are handed on: blocks are unpacked to float32. It is false for a type that is not read.
func (t TensorType) DType() (tensor.DType, bool) {
	switch t {
	case F32:
		return tensor.F32, true
	case F16:
		return tensor.F16, true
	case BF16:
		return tensor.BF16, true
	}
	return tensor.F32, blocks[t] != quant.None
}

// block is the number of values in a block and of bytes that they take; 1 value for the types whose elements stand alone.
func (t TensorType) block() (values, bytes int64) {
	if b := blocks[t]; b != quant.None {
		v, n := b.Block()
		return int64(v), int64(n)
	}
	if t == F32 {
		return 1, 4
	}
	return 1, 2
}

// Keys that say what a file is.
const (
	KeyArchitecture = "general.architecture"
	KeyType         = "general.type"
	KeyName         = "general.name"
	KeyAlignment    = "general.alignment"
	KeyFileType     = "general.file_type"
	KeyQuantVersion = "general.quantization_version"
	KeySplitCount   = "split.count"
	KeySplitNo      = "split.no"
	KeySplitTensors = "split.tensors.count"
)

// Keys of the architecture, which stand behind its name and a dot, as in "llama.block_count".
const (
	KeyVocabSize     = "vocab_size"
	KeyContext       = "context_length"
	KeyEmbedding     = "embedding_length"
	KeyBlocks        = "block_count"
	KeyFeedForward   = "feed_forward_length"
	KeyHeads         = "attention.head_count"
	KeyKVHeads       = "attention.head_count_kv"
	KeyRMSEps        = "attention.layer_norm_rms_epsilon"
	KeyKeyLength     = "attention.key_length"
	KeyValueLength   = "attention.value_length"
	KeySlidingWindow = "attention.sliding_window"
	KeyRopeDims      = "rope.dimension_count"
	KeyRopeBase      = "rope.freq_base"
	KeyRopeScale     = "rope.scale_linear" // of old files
	KeyRopeScaling   = "rope.scaling.type"
	KeyRopeFactor    = "rope.scaling.factor"
	KeyRopeOriginal  = "rope.scaling.original_context_length"
	KeyRopeBetaFast  = "rope.scaling.yarn_beta_fast"
	KeyRopeBetaSlow  = "rope.scaling.yarn_beta_slow"
	KeyRopeAttention = "rope.scaling.attn_factor"
	KeyExperts       = "expert_count"
)

// Keys of the tokenizer.
const (
	KeyTokenizer    = "tokenizer.ggml.model"
	KeyPre          = "tokenizer.ggml.pre"
	KeyTokens       = "tokenizer.ggml.tokens"
	KeyTokenTypes   = "tokenizer.ggml.token_type"
	KeyScores       = "tokenizer.ggml.scores"
	KeyMerges       = "tokenizer.ggml.merges"
	KeyBOS          = "tokenizer.ggml.bos_token_id"
	KeyEOS          = "tokenizer.ggml.eos_token_id"
	KeyEOT          = "tokenizer.ggml.eot_token_id"
	KeyEOSIDs       = "tokenizer.ggml.eos_token_ids" // of Ollama: all tokens that end a text
	KeyUnknown      = "tokenizer.ggml.unknown_token_id"
	KeyPadding      = "tokenizer.ggml.padding_token_id"
	KeyAddBOS       = "tokenizer.ggml.add_bos_token"
	KeyAddEOS       = "tokenizer.ggml.add_eos_token"
	KeyAddSpace     = "tokenizer.ggml.add_space_prefix"
	KeyChatTemplate = "tokenizer.chat_template"
)

// Kinds of tokens in tokenizer.ggml.token_type.
const (
	TokenNormal      = 1
	TokenUnknown     = 2
	TokenControl     = 3
	TokenUserDefined = 4
	TokenUnused      = 5
	TokenByte        = 6
)

// RopeFreqs is the tensor with the divisors of the rotary frequencies, by which llama3 scales them.
const RopeFreqs = "rope_freqs.weight"
