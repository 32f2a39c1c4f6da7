package ui

// Structure are the settings for added layers and gradual unfreezing. They have no keys of their own in run.json: each is a part
// of the value of trainable or unfreeze.
func (s *Studio) Structure() []*Field {
	paths := []string{"added.at"}
	switch added, _ := s.added(); {
	case added == nil:
	case added["at"] == "classify":
		paths = append(paths, "added.sizes", "added.activation", "added.num_labels")
	default:
		paths = append(paths, "added.sizes", "added.activation")
	}
	paths = append(paths, "unfreeze.way")
	if blocks, _, ok := s.fromTheHead(); ok && blocks > 0 {
		paths = append(paths, "unfreeze.blocks", "unfreeze.every")
	}
	return s.list(paths)
}

// derived is a setting that is a part of another key's value.
type derived struct {
	choices []string
	none    any // the default; its type is the type of the setting
	get     func(*Studio) any
	set     func(*Studio, any) bool // it returns false for an invalid value
}

// derivedSettings are these settings, by paths that only the page uses.
var derivedSettings map[string]derived

func init() { // the functions use fields, which use the table
	derivedSettings = map[string]derived{
		"added.at":         {[]string{"none", "between", "classify"}, "none", (*Studio).addedAt, (*Studio).setAddedAt},
		"added.sizes":      {nil, "", (*Studio).addedSizes, (*Studio).setAddedSizes},
		"added.activation": {nil, "silu", addedKey("activation"), setAddedKey("activation")},
		"added.num_labels": {nil, "", addedKey("num_labels"), (*Studio).setAddedLabels},
		"unfreeze.way":     {[]string{"none", "head", "own"}, "none", (*Studio).unfreezeWay, (*Studio).setUnfreezeWay},
		"unfreeze.blocks":  {nil, 2.0, func(s *Studio) any { b, _, _ := s.fromTheHead(); return float64(b) }, (*Studio).setUnfreezeBlocks},
		"unfreeze.every":   {nil, 50.0, func(s *Studio) any { _, n, _ := s.fromTheHead(); return float64(n) }, (*Studio).setUnfreezeEvery},
	}
}

func (s *Studio) setTrainable(list []any) {
	if len(list) == 0 {
		delete(s.Config, "trainable")
	} else {
		s.Config["trainable"] = list
	}
	delete(s.invalid, "trainable")
}
