package tokenizer

import "strings"

// Bounds of a cache, so that a text of many different words does not take memory without end.
const (
	cachedBytes = 40      // of a piece: longer ones seldom come again
	cachedParts = 1 << 16 // tokens of all pieces together, 8 bytes each
)

// part is a token of a piece and the number of bytes that it stands for.
type part struct{ id, size int32 }

// cache holds what pieces became. Most words of a text come again and again.
type cache struct {
	at    map[string][2]int32 // where the parts of a piece lie: from, to
	parts []part
}

func (c *cache) find(piece string) ([]part, bool) {
	if len(piece) > cachedBytes {
		return nil, false
	}
	at, ok := c.at[piece]
	return c.parts[at[0]:at[1]], ok
}

// keep returns the parts of a merged chain and, if the piece is short, holds them for the next time.
func (c *cache) keep(piece string, chain []symbol) []part {
	if c.at == nil || len(c.parts) > cachedParts {
		c.at, c.parts = make(map[string][2]int32), c.parts[:0]
	}
	from := len(c.parts)
	for _, s := range chain {
		c.parts = append(c.parts, part{s.id, s.size})
	}
	parts := c.parts[from:]
	if len(piece) > cachedBytes {
		c.parts = c.parts[:from]
		return parts
	}
	c.at[strings.Clone(piece)] = [2]int32{int32(from), int32(len(c.parts))}
	return parts
}
