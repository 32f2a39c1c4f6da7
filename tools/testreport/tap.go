package main

import (
	"fmt"
	"regexp"
	"strings"
)

// tapReader follows the output of a run that prints TAP (testanything.org), version 13 or 14. Subtests are indented and
// come before the test that they belong to.
type tapReader struct {
	children [][]outcome // outcomes of subtests seen at each depth whose parent is still to come
	failing  bool        // the lines that follow tell of a failure
	n        map[outcome]int
}

var tapResult = regexp.MustCompile(`^( *)(not ok|ok)\b *\d* *(?:- )?(.*?)(?: # (?i:(SKIP|TODO))\S* *(.*))?$`)

func (t *tapReader) empty() bool { return len(t.n) == 0 }

func (t *tapReader) counts() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.n[passed], t.n[failed], t.n[skipped])
}

// tapLine takes a line of output that is no event of go test.
func (r *report) tapLine(line string) {
	t := &r.tap
	m := tapResult.FindStringSubmatch(line)
	if m == nil {
		if t.failing {
			r.show(line)
			t.failing = strings.TrimSpace(line) != "..."
		}
		return
	}
	t.failing = false
	if t.n == nil {
		t.n = map[outcome]int{}
	}
	depth, o := len(m[1])/4, passed
	switch {
	case m[4] != "":
		o = skipped
	case m[2] == "not ok":
		o = failed
	}
	for len(t.children) <= depth+1 {
		t.children = append(t.children, nil)
	}
	below := t.children[depth+1]
	t.children[depth+1] = nil
	t.children[depth] = append(t.children[depth], o)
	x := &test{run: r.run, pkg: r.run, name: m[3]}
	r.names[key{x.pkg, x.name}] = true
	switch {
	case o == failed:
		t.failing = true
		for _, c := range below {
			if c == failed {
				return // its subtest is the failure
			}
		}
		t.n[o]++
		r.fail(x.name+" ("+r.run+")", "")
	case o == skipped:
		t.n[o]++
		x.output.WriteString(m[5])
		r.skipped = append(r.skipped, x)
	case len(below) == 0:
		t.n[o]++
		r.passes++
	}
}
