package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLayers(t *testing.T) {
	for entry, want := range map[string][]int{
		"layers:last:2": {3, 4}, "layers:first:2": {0, 1}, "layers:last:5": {0, 1, 2, 3, 4}, "layers:3,0,3": {3, 0, 3}, "layers:4": {4},
		"all": nil, `regex:layers\.1`: nil,
	} {
		if got, err := (Part{Select: entry}).Layers(5); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", entry, got, err, want)
		}
	}
	for _, entry := range []string{"layers:last:6", "layers:first:6", "layers:5", "layers:0,7"} {
		if _, err := (Part{Select: entry}).Layers(5); err == nil || !strings.Contains(err.Error(), "the model has 5") {
			t.Errorf("%s: error %v, want one that tells how many layers there are", entry, err)
		}
	}
}

func TestParseParts(t *testing.T) {
	parts, err := ParseParts([]string{"norm", `regex:a,b\.`}, "--trainable")
	if err != nil || fmt.Sprint(parts) != `["norm" "regex:a,b\\."]` || !parts[1].Regexp().MatchString("xa,b.") || parts[0].Regexp() != nil {
		t.Errorf("%v, %v", parts, err)
	}
	if _, err := ParseParts([]string{"norm", "nrom"}, "--trainable"); err == nil || !strings.Contains(err.Error(), "--trainable[1]") {
		t.Errorf("error %v, want one that names the entry", err)
	}
}
