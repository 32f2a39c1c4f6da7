package enginetest

import (
	"fmt"
	"testing"
)

// rounds is the number of random cases a test tries.
var rounds = 6

// Shapes checks the case that f makes for several random shapes. The seed of each is in its name.
func Shapes(t *testing.T, f func(r *Rand) Case) {
	t.Helper()
	for seed := range uint64(rounds) {
		r := NewRand(seed)
		c := f(r)
		c.Name = fmt.Sprintf("%s seed %d", t.Name(), seed)
		for _, in := range c.In {
			c.Name += " " + in.Shape.String()
		}
		Check(t, r, c)
		if t.Failed() {
			return
		}
	}
}
