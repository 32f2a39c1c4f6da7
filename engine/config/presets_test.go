package config

import (
	"fmt"
	"math"
	"testing"
)

func TestPresets(t *testing.T) {
	if got := fmt.Sprint(FromTheHead(2, 50)); got != `[{0 ["lm_head" "norm"]} {50 ["lm_head" "norm" "layers:last:1"]} {100 ["lm_head" "norm" "layers:last:2"]}]` {
		t.Errorf("from the head: %s", got)
	}
	if g := Discriminative(5, 0.1); math.Abs(math.Pow(g, 4)-0.1) > 1e-12 || Discriminative(1, 0.1) != 1 {
		t.Errorf("decay %v", g)
	}
}
