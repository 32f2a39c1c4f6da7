package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/message"
)

// What is offered is exactly what Parse lists when it is given something else.
func TestDescribe(t *testing.T) {
	minimal := []byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`)
	d := Describe()
	for path, choices := range d.Choices {
		if path == "training.gradient_checkpointing" || path == "quantization" { // also take values that are no words
			continue
		}
		_, err := ParseWithSets(minimal, "", []string{path + "=nonsense"})
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s takes any word", path)
			continue
		}
		_, list, _ := strings.Cut(e.Message, "not one of ")
		said := strings.Split(list, ", ")
		var offered []string
		for _, c := range choices {
			offered = append(offered, c.Value)
		}
		slices.Sort(said)
		slices.Sort(offered)
		if !slices.Equal(said, offered) {
			t.Errorf("%s: %v are offered, %v are known", path, offered, said)
		}
	}
	for _, o := range d.Choices["training.lr_scheduler_type"] {
		if o.Incomplete != (o.Refused != "") {
			t.Errorf("schedule %s: refused %q, incomplete %v", o.Value, o.Refused, o.Incomplete)
		}
	}
	for _, m := range d.Methods {
		if (m.Refused == "") != (m.Defaults != nil) {
			t.Errorf("%s: refused %q with defaults %s", m.Value, m.Refused, m.Defaults)
		}
		if strings.Contains(m.Refused, "not one of") || strings.Contains(m.Refused, "missing") {
			t.Errorf("%s is unknown: %s", m.Value, m.Refused)
		}
	}
	for _, p := range d.Parts {
		if strings.Contains(p.Refused, "not one of") {
			t.Errorf("%s is unknown: %s", p.Value, p.Refused)
		}
	}
	if i := slices.IndexFunc(d.Parts, func(c message.Option) bool { return c.Value == "all" }); d.Parts[i].Refused != "" {
		t.Error(`"all" is refused`)
	}
}
