package ui

import "maps"

// texts are texts of the page by name, in English and Chinese. A text's {names} are filled in when it is shown.
type texts map[string]struct{ en, zh string }

// catalogue holds every text of the page but those of settings (setting_names.go). Texts of one kind share a prefix, such
// as "phase.": they are found by a word of the engine, whose own English is shown where the catalogue has no text.
var catalogue = func() texts {
	all := texts{}
	for _, part := range []texts{pageTexts, studioTexts, settingTexts, runTexts, resultTexts, roomTexts, engineTexts, hubTexts, talkTexts} {
		maps.Copy(all, part)
	}
	return all
}()
