package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
)

// plainModel is the model of a data file that is read without one: rows may have any length and any ids.
const plainModel = `{"init": "random", "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2, "intermediate_size": 2,
	"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 4194304, "max_position_embeddings": 1048576,
	"rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu"}}`

// bytesOfToken is about how many bytes of English a token of a model stands for.
const bytesOfToken = 4

// plainLength is the longest row without a model, in bytes.
const plainLength = 1 << 20

// plainChat writes conversations where there is no model: the role of each message on a line, then its text and its calls of tools.
const plainChat = `{% for m in messages %}{{ '<' ~ m.role ~ '>\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content or '' }}` +
	`{% for c in m.tool_calls or [] %}{{ c|tojson }}{% endfor %}{{ '\n' }}{% endgeneration %}{% else %}{{ (m.content or '') ~ '\n' }}{% endif %}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}`

// plainTokenizer is a folder with a tokenizer of which each byte is a token, and with plainChat.
func plainTokenizer() (fs.FS, error) {
	vocab, next := map[string]int{}, rune(256)
	for b := range 256 { // the characters that stand for bytes in tokenizer.json (ByteLevel of the library tokenizers)
		c := rune(b)
		if b < '!' || b > '~' && b < 0xa1 || b == 0xad {
			c = next
			next++
		}
		vocab[string(c)] = b
	}
	level := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false, "trim_offsets": false}
	tokenizer, err := json.Marshal(map[string]any{
		"added_tokens": []any{}, "normalizer": nil, "pre_tokenizer": level, "post_processor": nil, "decoder": level,
		"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}},
	})
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, content := range map[string][]byte{"tokenizer.json": tokenizer, "chat_template.jinja": []byte(plainChat)} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(packed.Bytes()), int64(packed.Len()))
}
