package tokenizer

// normalizer rewrites a stretch of text before it is cut into pieces.
type normalizer func(span) span

func (t *Tokenizer) normalize(s span) span {
	for _, n := range t.normalizers {
		s = n(s)
	}
	return s
}

func prepending(p string) normalizer {
	return func(s span) span {
		if s.text == "" {
			return s
		}
		return s.prepend(p)
	}
}

func replacing(from, to string) normalizer {
	return func(s span) span { return s.replace(from, to) }
}
