package ui

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The fragment of the page's address is the name of a screen, the studio with settings, "studio?v=1&config=…", or the code of a
// room, "join=CODE".

const (
	linkVersion = 1    // of the format of links
	linkLimit   = 2048 // characters: messengers do not accept longer links
	codeLimit   = 64   // characters of a room's code
)

// address is the content of a fragment.
type address struct {
	Screen   string
	Code     string           // of a room, or ""
	Settings *settingsMessage // of a link, or nil
}

// parseAddress reads a fragment. Settings that cannot be read are an empty text.
func parseAddress(fragment string) address {
	if code, ok := strings.CutPrefix(fragment, "join="); ok && isCode(code) {
		return address{Screen: screenHome, Code: code}
	}
	screen, query, _ := strings.Cut(fragment, "?")
	a := address{Screen: screen}
	given := map[string]string{}
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		given[name] = value
	}
	config, ok := given["config"]
	if !ok {
		return a
	}
	_, lesson := given["lesson"]
	version, _ := strconv.ParseFloat(given["v"], 64)
	a.Settings = &settingsMessage{Text: decodeSettings(config), Newer: version > linkVersion, Lesson: lesson}
	return a
}

func isCode(s string) bool {
	for _, c := range s {
		if !(c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return 0 < len(s) && len(s) <= codeLimit
}

// settingsLink is a link with settings; a locked one is for a lesson. It is "" where the settings are too long.
func settingsLink(origin string, config []byte, locked bool) string {
	link := origin + "/#" + screenStudio + "?v=" + strconv.Itoa(linkVersion)
	if locked {
		link += "&lesson"
	}
	link += "&config=" + base64.RawURLEncoding.EncodeToString(config)
	if len(link) > linkLimit {
		return ""
	}
	return link
}

// decodeSettings decodes the settings of a link, also where a messenger has escaped them, or in the standard base64 alphabet.
func decodeSettings(text string) string {
	text = strings.NewReplacer("%3D", "=", "%3d", "=", "%2B", "-", "%2b", "-", "%2F", "_", "%2f", "_", "+", "-", "/", "_").Replace(text)
	bytes, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || !utf8.Valid(bytes) {
		return ""
	}
	return string(bytes)
}

// arrive shows what the address asks for. A code or settings are read once, and then removed from the address.
func (p *Page) arrive(m addressMessage) {
	p.Origin = m.Origin
	a := parseAddress(m.Fragment)
	if a.Code != "" || a.Settings != nil {
		p.browser.ReplaceAddress(m.Fragment, a.Screen)
	}
	switch first := !p.arrived; {
	case a.Code != "":
		p.Room.fillCode(a.Code)
	case first:
		p.browser.RecallRoom()
	}
	p.arrived = true
	p.show(a.Screen)
	if a.Settings != nil {
		p.Studio.takeSettings(*a.Settings)
	}
}
