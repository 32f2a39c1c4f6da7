package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestPasted: a setting of Hugging Face's trainers is explained by its name, wherever it stands, and none of them is a key
// that this program has.
func TestPasted(t *testing.T) {
	var known []string
	for key := range strings.SplitSeq(strings.Join(pathsOf(reflect.TypeFor[Config](), ""), "."), ".") {
		known = append(known, key)
	}
	for key, advice := range pasted {
		if slices.Contains(known, key) && key != "optimizer" {
			t.Errorf("%s is a key of run.json", key)
		}
		if !strings.HasPrefix(advice, "use ") && !strings.HasPrefix(advice, "it ") {
			t.Errorf("%s: %q", key, advice)
		}
		for _, section := range []string{"", "training."} {
			_, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "run.json", []string{section + key + "=1"})
			if err == nil || !strings.Contains(err.Error(), section+key+": is a setting of Hugging Face's trainers; "+advice) {
				t.Errorf("%s%s: %v", section, key, err)
			}
		}
	}
}

// TestNearestKey: a key is suggested only where at most a third of the letters differ.
func TestNearestKey(t *testing.T) {
	for key, want := range map[string]string{
		"training.learning_rat":   "training.learning_rate",
		"training.learningrate":   "training.learning_rate",
		"training.max_step":       "training.max_steps",
		"training.sead":           "training.seed",
		"modle":                   "model",
		"training.zzz":            "",
		"training.banana":         "",
		"training.wholly_unheard": "",
		"max_steps":               "training.max_steps",
		"dataset.lerning_rate":    "training.learning_rate",
	} {
		_, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "run.json", []string{key + "=1"})
		if err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%s: %v", key, err)
			continue
		}
		_, suggested, _ := strings.Cut(err.Error(), "the nearest known key is ")
		if suggested != want {
			t.Errorf("%s: %q is suggested, want %q", key, suggested, want)
		}
	}
}

func TestWarmup(t *testing.T) {
	for _, c := range []struct {
		steps int
		ratio float64
		total int
		want  int
	}{{0, 0, 10, 0}, {3, 0, 10, 3}, {0, 0.25, 10, 3}, {0, 0.03, 100, 3}, {0, 0.1, 0, 0}, {2, 0.5, 10, 2}, {0, 1, 7, 7}, {0, 0.001, 10, 1}} {
		if got := (&Training{WarmupSteps: c.steps, WarmupRatio: c.ratio}).Warmup(c.total); got != c.want {
			t.Errorf("warmup_steps %d, warmup_ratio %v of %d steps: %d, want %d", c.steps, c.ratio, c.total, got, c.want)
		}
	}
	for _, bad := range []string{"-0.1", "1.5", `"x"`} {
		if _, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "run.json", []string{"training.warmup_ratio=" + bad}); err == nil || !strings.Contains(err.Error(), "warmup_ratio") {
			t.Errorf("warmup_ratio %s: %v", bad, err)
		}
	}
}
