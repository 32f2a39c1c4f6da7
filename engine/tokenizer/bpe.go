package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const missing = -1 // in place of an id where there is no token

// bpe is a byte-pair model: characters or bytes, and the ranked merges that join them.
type bpe struct {
	vocab  map[string]int32
	chars  []int32 // the tokens of single characters below len(chars), missing where there is none: a table is faster than vocab
	merges mergeTable

	// bytes holds the token of each byte: its printable stand-in when the model is byteLevel, its "<0x0A>" otherwise.
	bytes     [256]int32
	byteLevel bool             // pieces are bytes; otherwise they are characters
	fallback  bool             // a character without a token becomes the tokens of its bytes
	unk       int32            // what is left becomes this
	fuseUnk   bool             // and neighbours become one
	whole     map[string]int32 // pieces that are a token at once, whatever the merges say; nil without ignore_merges

	// mark is a character that no token has after another character. No merge crosses the place before it, so a piece may be
	// cut there: SentencePiece's "▁", in files that leave whole texts in one piece. "" where there is no such character.
	mark string
}

// symbol is a token in the linked list of a piece's tokens.
type symbol struct {
	id, prev, next int32
	size           int32 // bytes of the piece; 0 once merged into the symbol on its left
}

// merger applies a bpe to one piece after another, keeping its memory.
type merger struct {
	*bpe
	chain []symbol
	pairs []merge
	queue queue
	known cache
}

// encode adds the tokens of a piece to e.
func (m *merger) encode(s span, e *encoding) error {
	if m.mark == "" {
		return m.encodePart(s, e)
	}
	for s.text != "" {
		n := 0
		for strings.HasPrefix(s.text[n:], m.mark) { // a run of marks goes with what follows
			n += len(m.mark)
		}
		if i := strings.Index(s.text[n:], m.mark); i >= 0 {
			n += i
		} else {
			n = len(s.text)
		}
		if err := m.encodePart(s.cut(0, n), e); err != nil {
			return err
		}
		s = s.cut(n, len(s.text))
	}
	return nil
}

// encodePart merges a piece, or remembers what it became before.
func (m *merger) encodePart(s span, e *encoding) error {
	parts, ok := m.known.find(s.text)
	if !ok {
		m.chain = m.chain[:0]
		if id, ok := m.whole[s.text]; ok {
			m.link(id, len(s.text))
		} else if err := m.start(s.text); err != nil {
			return err
		} else if len(m.chain) <= shortPiece {
			m.mergeShort()
		} else {
			m.mergeLong()
		}
		parts = m.known.keep(s.text, m.chain)
	}
	at := 0
	for _, p := range parts {
		e.add(int(p.id), s, at, at+int(p.size))
		at += int(p.size)
	}
	return nil
}

// shortPiece is the number of symbols up to which looking through all pairs for the lowest rank is faster than a queue.
const shortPiece = 48

// mergeShort merges the chain in O(n²) time and leaves in it what remains.
func (m *merger) mergeShort() {
	chain, pairs := m.chain, m.pairs[:0] // pairs[i] is what chain[i] and chain[i+1] become
	for i := range len(chain) - 1 {
		pairs = append(pairs, m.merges.get(chain[i].id, chain[i+1].id))
	}
	m.pairs = pairs
	for {
		best, at := noMerge, 0
		for i, p := range pairs {
			if p.rank < best.rank {
				best, at = p, i
			}
		}
		if best == noMerge {
			break
		}
		chain[at].id = best.id
		chain[at].size += chain[at+1].size
		chain = append(chain[:at+1], chain[at+2:]...)
		pairs = append(pairs[:at], pairs[at+1:]...)
		if at < len(pairs) {
			pairs[at] = m.merges.get(chain[at].id, chain[at+1].id)
		}
		if at > 0 {
			pairs[at-1] = m.merges.get(chain[at-1].id, chain[at].id)
		}
	}
	m.chain = chain
}

// mergeLong merges the chain and leaves in it what remains. It takes O(n log n) time: possible merges are in a queue, and a
// merge adds at most two pairs to it.
func (m *merger) mergeLong() {
	m.queue = m.queue[:0]
	for i := range m.chain {
		m.offer(int32(i))
	}
	for len(m.queue) > 0 {
		rank, i := m.queue.pop()
		left := &m.chain[i]
		if left.size == 0 || left.next < 0 {
			continue
		}
		right := &m.chain[left.next]
		// A pair may have changed since it was queued. Ranks are unique, so another rank shows that.
		to := m.merges.get(left.id, right.id)
		if to.rank != rank {
			continue
		}
		left.id, left.size, left.next = to.id, left.size+right.size, right.next
		right.size = 0
		if left.next >= 0 {
			m.chain[left.next].prev = i
			m.offer(i)
		}
		if left.prev >= 0 {
			m.offer(left.prev)
		}
	}
	kept := m.chain[:0]
	for i := int32(0); i >= 0; {
		c := m.chain[i]
		kept = append(kept, c) // never past i: next only goes forward
		i = c.next
	}
	m.chain = kept
}

// start makes the list of a piece's single characters or bytes.
func (m *merger) start(piece string) error {
	unknown := false // the last link is unk
	for i := 0; i < len(piece); {
		n, id := 1, int32(missing)
		if m.byteLevel {
			id = m.bytes[piece[i]]
		} else {
			var c rune
			c, n = utf8.DecodeRuneInString(piece[i:])
			id = m.char(c, piece[i:i+n])
		}
		switch {
		case id != missing:
			m.link(id, n)
			unknown = false
		case m.fallback && m.hasBytes(piece[i:i+n]):
			for j := range n {
				m.link(m.bytes[piece[i+j]], 1)
			}
			unknown = false
		case m.unk == missing:
			return fmt.Errorf("tokenizer: %q has no token, and the vocabulary has no unknown token to stand for it", piece[i:i+n])
		case unknown && m.fuseUnk:
			m.chain[len(m.chain)-1].size += int32(n)
		default:
			m.link(m.unk, n)
			unknown = true
		}
		i += n
	}
	m.chain[len(m.chain)-1].next = -1
	return nil
}

// charTable bounds chars: characters of most scripts are below it.
const charTable = 1 << 16

// setChars fills chars from vocab.
func (m *bpe) setChars() {
	m.chars = slices.Repeat([]int32{missing}, charTable)
	for token, id := range m.vocab {
		if c, n := utf8.DecodeRuneInString(token); n == len(token) && c < charTable && (c != utf8.RuneError || n > 1) {
			m.chars[c] = id
		}
	}
}

// char is the token of the character c, spelled as text, or missing.
func (m *bpe) char(c rune, text string) int32 {
	if int(c) < len(m.chars) {
		return m.chars[c]
	}
	if id, ok := m.vocab[text]; ok {
		return id
	}
	return missing
}

func (m *merger) hasBytes(s string) bool {
	for i := range len(s) {
		if m.bytes[s[i]] == missing {
			return false
		}
	}
	return true
}

func (m *merger) link(id int32, size int) {
	i := int32(len(m.chain))
	m.chain = append(m.chain, symbol{id: id, prev: i - 1, next: i + 1, size: int32(size)})
}

// offer queues the merge of symbol i with the one on its right, if there is one.
func (m *merger) offer(i int32) {
	c := m.chain[i]
	if c.next < 0 {
		return
	}
	if to := m.merges.get(c.id, m.chain[c.next].id); to != noMerge {
		m.queue.push(to.rank, i)
	}
}

// queue is a binary heap of merges, rank<<32 | place: the lowest rank first, leftmost first.
type queue []uint64

func (q *queue) push(rank, place int32) {
	*q = append(*q, uint64(rank)<<32|uint64(place))
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			return
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (q *queue) pop() (rank, place int32) {
	h := *q
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < last && h[down+1] < h[down] {
			down++
		}
		if down >= last || h[i] <= h[down] {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	*q = h
	return int32(top >> 32), int32(uint32(top))
}

// byteRunes spells each byte as a printable character, as byte-level vocabularies do: printable Latin-1 as itself, the
// other 68 bytes as U+0100 and up. runeBytes inverts it.
var byteRunes, runeBytes = func() (to [256]rune, from map[rune]byte) {
	from = make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range to {
		r := rune(b)
		if r < 0x21 || 0x7E < r && r < 0xA1 || r == 0xAD {
			r = next
			next++
		}
		to[b], from[r] = r, byte(b)
	}
	return to, from
}()

// appendBytes appends the bytes that a byte-level token spells. ok is false, and dst unchanged, if it spells none.
func appendBytes(dst []byte, token string) (_ []byte, ok bool) {
	n := len(dst)
	for _, r := range token {
		b, ok := runeBytes[r]
		if !ok {
			return dst[:n], false
		}
		dst = append(dst, b)
	}
	return dst, true
}
