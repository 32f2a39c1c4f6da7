package strictjson

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	if got := Keys([]byte(`{"b": {"x": 1, "y": [1, {"z": 2}]}, "a": "c", "d": [], "e": null}`)); !slices.Equal(got, []string{"b", "a", "d", "e"}) {
		t.Errorf("%q", got)
	}
	if got := Keys([]byte(`{"b": 1, "a"`)); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("of an object that is cut off: %q", got)
	}
}
