package ui

import (
	"encoding/json"
	"slices"
	"strings"

	"llamatab/engine/message"
)

// Choices are changes of the settings with which the run fits, the least harmful first.
func (s *Studio) Choices() []message.Choice {
	var all []message.Choice
	switch {
	case s.Plan != nil:
		all = s.Plan.Choices
	case s.Fault != nil:
		all = s.Fault.Choices
	}
	return slices.DeleteFunc(slices.Clone(all), func(c message.Choice) bool { return !c.Fits })
}

// OtherModel reports whether a choice is another model. The person has to choose that.
func (s *Studio) OtherModel(c message.Choice) bool { return c.Code == "smaller_model" }

// Fix applies the changes of a choice.
func (s *Studio) Fix(c message.Choice) {
	for _, change := range c.Changes {
		var v any
		if json.Unmarshal(change.Value, &v) == nil {
			s.Config.Set(change.Path, v)
			delete(s.suggested, change.Path)
			delete(s.invalid, change.Path)
		}
	}
	s.suggest()
	s.changed()
}

// FixText says what a choice changes, and how much memory the run then needs.
func (s *Studio) FixText(c message.Choice) Text {
	text := c.Text
	if key := "fix." + c.Code; s.Has(key) {
		text = s.say(key)
	}
	for _, change := range c.Changes {
		v := strings.Trim(string(change.Value), `"`)
		if key := "option." + change.Path + "." + v; s.Has(key) {
			v = s.say(key)
		}
		if len(v) < 24 {
			text += " · " + string(s.label(change.Path)) + " → " + v
		}
	}
	return Text(text + " (" + Bytes(c.Bytes) + ")")
}
