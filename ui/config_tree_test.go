package ui

import (
	"slices"
	"testing"
)

func TestTree(t *testing.T) {
	tree := Tree{}
	tree.Set("training.max_steps", 5.0)
	tree.Set("training.seed", 1.0)
	tree.Set("peft", nil)
	if v, ok := tree.Get("training.max_steps"); !ok || v != 5.0 {
		t.Errorf("got %v %v", v, ok)
	}
	for _, absent := range []string{"x", "training.x", "training.seed.x", "peft.r"} {
		if v, ok := tree.Get(absent); ok {
			t.Errorf("%s is %v", absent, v)
		}
	}
	if got := string(tree.JSON()); got != `{"peft":null,"training":{"max_steps":5,"seed":1}}` {
		t.Error(got)
	}
	if got := tree.Leaves(); !slices.Equal(got, []string{"peft", "training.max_steps", "training.seed"}) {
		t.Error(got)
	}
	tree.Set("peft.r", 8.0) // an object takes the place of null
	copied := tree.Clone()
	copied.merge(Tree{"peft": map[string]any{"alpha": 1.0}, "training": "x"})
	if got := string(copied.JSON()); got != `{"peft":{"alpha":1,"r":8},"training":"x"}` {
		t.Error(got)
	}
	for _, path := range []string{"training.max_steps", "training.seed", "peft.r.x", "nothing.at.all", "peft.r"} {
		tree.Delete(path)
	}
	if got := string(tree.JSON()); got != `{}` {
		t.Errorf("left %s", got)
	}
}
