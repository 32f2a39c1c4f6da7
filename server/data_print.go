package main

import (
	"fmt"
	"io"
	"strings"

	"llamatab/engine/message"
)

// print writes the report for a person. With colours what is trained is green; else it stands between ⟦ and ⟧.
func (r *dataReport) print(w io.Writer, colours bool) {
	if !r.tokens {
		r.withoutTokens()
	}
	fmt.Fprintf(w, "file       %s\n", printable(r.Path))
	if how := r.how(); how != "" {
		fmt.Fprintf(w, "read as    %s\n", how)
	}
	for i, c := range r.Columns {
		title := "columns"
		if i > 0 {
			title = ""
		}
		kind := c.Kind
		if kind == "" {
			kind = "empty in the first rows"
		}
		fmt.Fprintf(w, "%-10s %s (%s) %s%s\n", title, printable(c.Name), kind, r.keyOf(c.Name), printable(c.Example))
	}
	if r.Failed != nil {
		return
	}
	if t := r.Template; t != nil {
		fmt.Fprintf(w, "template   %s\n", printable(templateText(t)))
	}
	r.counts(w)
	for _, m := range r.Remarks {
		if m.Code != "rows_bad" && m.Code != "rows_dropped" && m.Code != "rows_cut" && m.Code != "rows_repeated" {
			fmt.Fprintf(w, "%-10s %s\n", m.Level(), printable(m.Message))
		}
	}
	r.rows(w, colours)
}

// how says in which form the file is.
func (r *dataReport) how() string {
	f := r.File
	var parts []string
	for _, part := range []string{r.Format, f.Layout, f.Packed, f.Member, f.Encoding} {
		if part != "" {
			parts = append(parts, printable(part))
		}
	}
	if f.Separator != "" {
		parts = append(parts, fmt.Sprintf("separator %q", f.Separator))
	}
	return strings.Join(parts, ", ")
}

// keyOf names the key of the format that a column is read for.
func (r *dataReport) keyOf(column string) string {
	for _, k := range r.Keys {
		if k.Column == column {
			return "read as " + k.Key + ": "
		}
	}
	return ""
}

func templateText(t *message.PreviewTemplate) string {
	switch {
	case t.StandIn:
		return t.Name + ", a built-in one: the model has none"
	case t.Source != "":
		return t.Name + " of " + t.Source
	}
	return t.Name + ", a built-in one"
}

// counts writes how many rows there are, and what is wrong with which.
func (r *dataReport) counts(w io.Writer) {
	s := r.Counts
	fmt.Fprintf(w, "rows       %d", s.Rows)
	if r.tokens {
		fmt.Fprintf(w, ", %d tokens, %d of them trained", s.Tokens, s.Trained)
	} else {
		fmt.Fprint(w, " (tokens are counted with --model)")
	}
	fmt.Fprintf(w, "\nleft out   %d: %d empty, %d without a trained token, %d cut off before their trained tokens\n", s.Dropped, s.Empty, s.Masked, s.CutOff)
	if s.Untrained > 0 {
		fmt.Fprintf(w, "untrained  %d rows are kept although none of their tokens is trained\n", s.Untrained)
	}
	if r.tokens {
		fmt.Fprintf(w, "cut        %d, %d tokens lost\n", s.Truncated, s.Lost)
	}
	fmt.Fprintf(w, "repeated   %d\nmalformed  %d\n", s.Duplicates, s.Bad)
	for _, b := range r.Bad {
		fmt.Fprintf(w, "  line %d: %s\n", b.Line, printable(causeText(b.Cause)))
	}
	if more := s.Bad - len(r.Bad); more > 0 && len(r.Bad) > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
}

// causeText is the English text of a cause, which came as JSON.
func causeText(cause any) string {
	if remark, ok := cause.(map[string]any); ok {
		text, _ := remark["message"].(string)
		return text
	}
	return fmt.Sprint(cause)
}

// rows writes the first rows as the model sees them.
func (r *dataReport) rows(w io.Writer, colours bool) {
	from, to := "⟦", "⟧"
	if colours {
		from, to = "\x1b[32m", "\x1b[0m"
	}
	if len(r.Rows) > 0 {
		fmt.Fprintf(w, "\nThe first rows as the model sees them; what is trained is %s.\n", map[bool]string{true: from + "green" + to, false: "between " + from + " and " + to}[colours])
	}
	for i, row := range r.Rows {
		fmt.Fprintf(w, "\nrow %d, line %d", i+1, row.Line)
		if r.tokens {
			fmt.Fprintf(w, ", %d tokens", row.Length)
		}
		if row.Label != "" {
			fmt.Fprintf(w, ", label %s", printable(row.Label))
		}
		fmt.Fprintln(w, ":")
		trained := false
		for _, t := range row.Tokens {
			if t.Trained != trained {
				if trained = t.Trained; trained {
					fmt.Fprint(w, from)
				} else {
					fmt.Fprint(w, to)
				}
			}
			text := printable(t.Text)
			if t.Text == "" && r.Format == "tokens" && r.noText() {
				text = fmt.Sprintf("[%d]", t.ID)
			}
			fmt.Fprint(w, text)
		}
		if trained {
			fmt.Fprint(w, to)
		}
		if n := row.Length; n > len(row.Tokens) {
			fmt.Fprintf(w, "…")
		}
		fmt.Fprintln(w)
	}
}

// noText tells whether no token of the rows has a text: the model has no tokenizer.
func (r *dataReport) noText() bool {
	for _, row := range r.Rows {
		for _, t := range row.Tokens {
			if t.Text != "" {
				return false
			}
		}
	}
	return true
}

// printable is text without the characters that control a terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f || c >= 0x80 && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return '\ufffd'
		}
		return c
	}, text)
}
