package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"llamatab/engine/strictjson"
)

// file is tokenizer.json as far as it is understood.
type file struct {
	Added        []addition `json:"added_tokens"`
	Normalizer   *stage     `json:"normalizer"`
	PreTokenizer *stage     `json:"pre_tokenizer"`
	Post         *stage     `json:"post_processor"`
	Decoder      *stage     `json:"decoder"`
	Model        struct {
		Type         string          `json:"type"` // absent in old files, which are BPE
		Vocab        json.RawMessage `json:"vocab"`
		Merges       []mergePair     `json:"merges"`
		Unk          *string         `json:"unk_token"`
		FuseUnk      bool            `json:"fuse_unk"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Dropout      *float64        `json:"dropout"`
		Prefix       string          `json:"continuing_subword_prefix"`
		Suffix       string          `json:"end_of_word_suffix"`
	} `json:"model"`

	splitSpecial bool // special tokens are not looked for in a text
}

// stage is any normalizer, pre-tokenizer, post-processor or decoder: the union of their fields.
type stage struct {
	Type string `json:"type"`

	// Sequence
	Normalizers   []stage `json:"normalizers"`
	PreTokenizers []stage `json:"pretokenizers"`
	Processors    []stage `json:"processors"`
	Decoders      []stage `json:"decoders"`

	Prepend string  `json:"prepend"` // Prepend
	Pattern pattern `json:"pattern"` // Replace, Split
	Content string  `json:"content"` // Replace, Strip

	StripLeft  bool `json:"strip_left"` // Strip, the normalizer
	StripRight bool `json:"strip_right"`

	Start int `json:"start"` // Strip, the decoder
	Stop  int `json:"stop"`

	Behavior   string `json:"behavior"` // Split
	Invert     bool   `json:"invert"`
	Individual bool   `json:"individual_digits"` // Digits
	AddPrefix  *bool  `json:"add_prefix_space"`  // ByteLevel, and Metaspace in old files
	UseRegex   *bool  `json:"use_regex"`         // ByteLevel

	Replacement string `json:"replacement"` // Metaspace
	Scheme      string `json:"prepend_scheme"`
	Split       *bool  `json:"split"`

	Single []struct { // TemplateProcessing
		Special  *struct{ ID string } `json:"SpecialToken"`
		Sequence *struct{ ID string } `json:"Sequence"`
	} `json:"single"`
	Specials map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
}

type pattern struct {
	String *string
	Regex  *string
}

// mergePair reads a merge as "a b" or ["a", "b"].
type mergePair [2]string

func (p *mergePair) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		var list []string
		if err := json.Unmarshal(data, &list); err != nil || len(list) != 2 {
			return fmt.Errorf("merge %.80s is not a pair of strings", data)
		}
		*p = mergePair(list)
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("merge %.80s is neither a string nor a pair", data)
	}
	a, b, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(b, " ") {
		return fmt.Errorf("merge %.80q is not two tokens parted by one space", s)
	}
	*p = mergePair{a, b}
	return nil
}

// flat lays out nested Sequences; nil is none.
func flat(s *stage) ([]stage, error) {
	var all []stage
	var walk func(*stage)
	walk = func(s *stage) {
		if s.Type != "Sequence" {
			all = append(all, *s)
			return
		}
		for _, inner := range [...][]stage{s.Normalizers, s.PreTokenizers, s.Processors, s.Decoders} {
			for i := range inner {
				walk(&inner[i])
			}
		}
	}
	if s != nil {
		walk(s)
	}
	if len(all) > maxStages {
		return nil, fmt.Errorf("%d stages, more than the limit of %d", len(all), maxStages)
	}
	return all, nil
}

// decodeJSON is json.Unmarshal with the place of the mistake in its errors.
func decodeJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &kind):
		return fmt.Errorf("at byte %d: %s has the wrong type: %s", kind.Offset, kind.Field, kind.Value)
	case err != nil:
		return err
	}
	// encoding/json reads half a character as U+FFFD, so two tokens could become one. The tokenizers library refuses it, too.
	if escape := strictjson.LoneSurrogate(data); escape != "" {
		return fmt.Errorf("%s is half of a character: its other half is missing (a lone surrogate)", escape)
	}
	return nil
}
