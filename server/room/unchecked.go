package room

import (
	"fmt"
	"slices"
	"strings"
)

// A tab whose result differs from what others computed may have sent wrong results before, in slots that no audit compared. The
// room keeps the steps in which it added results of each tab that nobody compared, and names them when the tab is removed.

// stepRange is the steps from one to another, both included.
type stepRange struct{ from, to uint64 }

func (s stepRange) String() string {
	if s.from == s.to {
		return fmt.Sprint(s.from)
	}
	return fmt.Sprintf("%d–%d", s.from, s.to)
}

// noteUnchecked keeps that a step holds a tab's result that nobody compared.
func (r *Room) noteUnchecked(tab uint32, step uint64) {
	list := r.unchecked[tab]
	switch n := len(list); {
	case n > 0 && list[n-1].to == step:
	case n > 0 && list[n-1].to+1 == step:
		list[n-1].to = step
	default:
		r.unchecked[tab] = append(list, stepRange{step, step})
	}
}

// noteCommit goes through the slots of a commit. Of a commit that is read from the log it is not known which were compared: none
// counts as compared.
func (r *Room) noteCommit(rec Record, fromLog bool) {
	for k, from := range rec.Slots {
		if fromLog || k >= len(r.slots) || !r.slots[k].compared {
			for _, tab := range from {
				r.noteUnchecked(tab, rec.Step)
			}
		}
	}
}

// forgetUnchecked forgets steps from a version on, which are computed again.
func (r *Room) forgetUnchecked(version uint64) {
	for tab, list := range r.unchecked {
		list = slices.DeleteFunc(list, func(s stepRange) bool { return s.from >= version })
		if n := len(list); n > 0 && list[n-1].to >= version {
			list[n-1].to = version - 1
		}
		r.unchecked[tab] = list
	}
}

// doubt names the steps that hold results of a removed tab that nobody compared.
func (r *Room) doubt(tab uint32) {
	list := r.unchecked[tab]
	if len(list) == 0 {
		return
	}
	var names []string
	for _, s := range list {
		names = append(names, s.String())
	}
	r.note("doubtful", tab, "results of tab %d were added in steps %s and compared with nobody's: they may be wrong", tab, strings.Join(names, ", "))
}
