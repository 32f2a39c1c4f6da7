package pretrained

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// misfits collects how the tensors of files differ from those that a model or an adapter wants.
type misfits struct {
	wanted  int      // tensors that were looked for
	missing []string // names of wanted tensors that no file has
	extra   []string // names in a file that nothing wants
	other   []string // messages about tensors of the right name
	whole   string   // what extra tensors are no part of: "the model"
}

// want looks for a floating-point tensor of a name and a shape in c.
func (m *misfits) want(c *weights.Checkpoint, name string, shape tensor.Shape) (fits bool) {
	m.wanted++
	if _, ok := c.Tensor(name); !ok {
		m.missing = append(m.missing, name)
		return false
	}
	if msg := Mismatch(c, name, shape); msg != "" {
		m.other = append(m.other, msg)
		return false
	}
	return true
}

// message names at most 20 of the differences, "" for none. Where all names differ in one way, it names that way instead.
func (m *misfits) message() string {
	if len(m.other) == 0 && len(m.missing) == m.wanted && m.wanted > 1 {
		if way := spelledOtherwise(m.missing, m.extra); way != "" {
			return way
		}
	}
	all := slices.Clone(m.other)
	for _, name := range m.missing {
		all = append(all, fmt.Sprintf("%q is missing", name))
	}
	for _, name := range m.extra {
		all = append(all, fmt.Sprintf("%q is not part of %s", name, m.whole))
	}
	sort.Strings(all)
	return list(all)
}

// mostDifferences is the greatest number of differences that still make one way of spelling: lora_A and lora_B have two.
const mostDifferences = 3

// spelledOtherwise says in which parts the names of a file differ from those that are wanted, where all names differ in the
// same few parts, and "" where they do not.
func spelledOtherwise(wanted, have []string) string {
	if len(wanted) != len(have) {
		return ""
	}
	wanted, have = slices.Sorted(slices.Values(wanted)), slices.Sorted(slices.Values(have))
	differences := map[string]bool{}
	for i, w := range wanted {
		right, wrong := differingParts(w, have[i])
		switch {
		case right == "":
			differences[fmt.Sprintf("an extra %q", wrong)] = true
		case wrong == "":
			differences[fmt.Sprintf("no %q", right)] = true
		default:
			differences[fmt.Sprintf("%q in place of %q", wrong, right)] = true
		}
		if len(differences) > mostDifferences {
			return ""
		}
	}
	return fmt.Sprintf("all %d names of its tensors have %s: rename %q to %q, and the others in the same way",
		len(have), strings.Join(slices.Sorted(maps.Keys(differences)), " and "), have[0], wanted[0])
}

// differingParts cuts off the beginning and the end that two names have in common.
func differingParts(a, b string) (ofA, ofB string) {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	a, b = a[n:], b[n:]
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}
