package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// WithConfig returns a tokenizer that also knows what a tokenizer_config.json, a generation_config.json or a
// config.json says of the ends of a sequence. Given several, the first to name a BOS decides it, and their EOS ids add
// up. An explicit add_bos_token or add_eos_token takes precedence over the post-processor's template.
func (t *Tokenizer) WithConfig(data []byte) (*Tokenizer, error) {
	var c struct {
		AddBOS *bool     `json:"add_bos_token"`
		AddEOS *bool     `json:"add_eos_token"`
		BOS    tokenName `json:"bos_token"`
		EOS    tokenName `json:"eos_token"`
		BOSID  idList    `json:"bos_token_id"`
		EOSID  idList    `json:"eos_token_id"`
	}
	if err := decodeJSON(data, &c); err != nil {
		return nil, fmt.Errorf("tokenizer: configuration: %w", err)
	}
	u := *t
	u.eos = slices.Clone(t.eos)
	bos, err := u.resolve("bos_token", c.BOS, c.BOSID)
	if err != nil {
		return nil, err
	}
	if u.bos == missing && len(bos) > 0 {
		u.bos = bos[0]
	}
	eos, err := u.resolve("eos_token", c.EOS, c.EOSID)
	if err != nil {
		return nil, err
	}
	for _, id := range eos {
		if !slices.Contains(u.eos, id) {
			u.eos = append(u.eos, id)
		}
	}
	if c.AddBOS != nil {
		id, known := u.BOS()
		has := known && len(u.head) > 0 && u.head[0] == id
		switch {
		case *c.AddBOS && !known:
			return nil, fmt.Errorf("tokenizer: configuration: add_bos_token is true, but there is no bos_token")
		case *c.AddBOS && !has:
			u.head = slices.Concat([]int{id}, u.head)
		case !*c.AddBOS && has:
			u.head = u.head[1:]
		}
	}
	if c.AddEOS != nil {
		id, known := u.EOS()
		has := known && len(u.tail) > 0 && u.tail[len(u.tail)-1] == id
		switch {
		case *c.AddEOS && !known:
			return nil, fmt.Errorf("tokenizer: configuration: add_eos_token is true, but there is no eos_token")
		case *c.AddEOS && !has:
			u.tail = slices.Concat(u.tail, []int{id})
		case !*c.AddEOS && has:
			u.tail = u.tail[:len(u.tail)-1]
		}
	}
	return &u, nil
}

// resolve checks what a configuration names and returns the ids, the token's first.
func (t *Tokenizer) resolve(key string, name tokenName, ids idList) ([]int, error) {
	var all []int
	if name != "" {
		id, ok := t.id(string(name))
		if !ok {
			return nil, fmt.Errorf("tokenizer: configuration: %s %q is not in the vocabulary", key, name)
		}
		all = append(all, id)
	}
	for _, id := range ids {
		if id < 0 { // transformers' files spell "none" so
			continue
		}
		if _, ok := t.Token(id); !ok {
			return nil, fmt.Errorf("tokenizer: configuration: %s_id %d is not in the vocabulary", key, id)
		}
		all = append(all, id)
	}
	return all, nil
}

// tokenName reads a token as "<s>", {"content": "<s>", …} or null.
type tokenName string

func (n *tokenName) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("{")) {
		var token struct{ Content string }
		err := json.Unmarshal(data, &token)
		*n = tokenName(token.Content)
		return err
	}
	return json.Unmarshal(data, (*string)(n))
}

// idList reads ids as 2, [2, 3] or null.
type idList []int

func (l *idList) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, (*[]int)(l))
	}
	var id *int
	if err := json.Unmarshal(data, &id); err != nil || id == nil {
		return err
	}
	*l = idList{*id}
	return nil
}
