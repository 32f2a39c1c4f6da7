package data

import (
	"strings"
	"testing"
)

// TestOneBOSAndEOS: a text that brings BOS (the byte 1 here) or EOS (the byte 2), as a rendered chat does, gets neither a
// second time, and a remark counts such rows.
func TestOneBOSAndEOS(t *testing.T) {
	for _, c := range []struct {
		name, file, rows string
		opt              Options
		want             string
		remarks          int
	}{
		{"neither", "d.jsonl", `{"text":"ab"}`, Options{}, "<ab>", 0},
		{"both", "d.jsonl", `{"text":"\u0001ab\u0002"}`, Options{}, "<ab>", 1},
		{"BOS alone", "d.jsonl", `{"text":"\u0001ab"}`, Options{}, "<ab>", 1},
		{"EOS alone", "d.jsonl", `{"text":"ab\u0002"}`, Options{}, "<ab>", 1},
		{"a second BOS of its own stays", "d.jsonl", `{"text":"\u0001\u0001ab"}`, Options{}, "<<ab>", 1},
		{"inside it is text", "d.jsonl", `{"text":"a\u0001\u0002b"}`, Options{}, "<a<>b>", 0},
		{"some rows", "d.jsonl", "{\"text\":\"ab\"}\n{\"text\":\"\\u0001ac\"}", Options{}, "<ab> <ac>", 1},
		{"a tokenizer without BOS", "d.jsonl", `{"text":"\u0001ab"}`, Options{Tokenizer: bytesTokenizer{bare: true}}, "<ab>", 0},
		{"a prompt", "d.jsonl", `{"prompt":"\u0001ab","completion":"cd\u0002"}`, Options{}, "(<)(a)(b)cd>", 1},
		{"raw text", "d.txt", "\x01abcdef", Options{MaxLength: 8}, "<abcdef", 0},
		{"a class", "d.jsonl", "{\"text\":\"\\u0001ab\",\"label\":\"x\"}\n{\"text\":\"cd\",\"label\":\"y\"}", Options{Classify: true}, "<ab <cd", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := loadString(c.rows, c.file, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			var rows []string
			for _, s := range d.Samples {
				if s.Labels == nil {
					s.Labels = s.IDs
				}
				rows = append(rows, show(s))
			}
			if got := strings.Join(rows, " "); got != c.want {
				t.Errorf("rows %s, want %s", got, c.want)
			}
			n := 0
			for _, r := range d.Remarks {
				if r.Code == "rows_own_ends" {
					n++
				}
			}
			if n != c.remarks {
				t.Errorf("remarks %v", d.Remarks)
			}
		})
	}
}
