package ui

import (
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// Settings of run.json that say how the data is read.
const (
	formatPath   = "dataset.format"
	columnsPath  = "dataset.columns"
	templatePath = "dataset.template"
	autoFormat   = "auto"
)

// Mappable reports whether the data has columns to choose from. It has none while it is unknown, and where it is plain text.
func (s *Studio) Mappable() bool { return s.Data.Usable() && s.File != nil && len(s.File.Columns) > 0 }

// MappingShown reports whether format and columns can be seen: where the person has opened them, and where the data is refused.
func (s *Studio) MappingShown() bool { return s.Mappable() && (s.Mapping || s.DataFault != nil) }

// MappingText says in a line which column is read for what.
func (s *Studio) MappingText() Text {
	if !s.Mappable() {
		return ""
	}
	var read []string
	for _, k := range s.Keys() {
		if k.Column != "" {
			read = append(read, string(s.keyName(k.Key))+": "+k.Column)
		}
	}
	return Text(strings.Join(read, " · "))
}

// UnreadText names the columns that are read for nothing.
func (s *Studio) UnreadText() Text {
	if !s.Mappable() || len(s.Keys()) == 0 {
		return ""
	}
	var unread []string
	for _, c := range s.File.Columns {
		if !slices.ContainsFunc(s.Keys(), func(k message.DataKey) bool { return k.Column == c.Name }) {
			unread = append(unread, c.Name)
		}
	}
	if len(unread) == 0 {
		return ""
	}
	return s.T("mapping.unread", "columns", strings.Join(unread, s.say("comma")))
}

// FileColumns are the columns of the file.
func (s *Studio) FileColumns() []message.DataColumn {
	if !s.Mappable() {
		return nil
	}
	return s.File.Columns
}

// Keys are what the format reads of a row, with their columns.
func (s *Studio) Keys() []message.DataKey {
	if s.File == nil {
		return nil
	}
	return s.File.Keys
}

func (s *Studio) keyName(key string) Text {
	if s.Has("column." + key) {
		return s.T("column." + key)
	}
	return Text(key)
}

// KeyText names a key of the format.
func (s *Studio) KeyText(k message.DataKey) Text {
	if k.Optional {
		return s.T("mapping.optional", "name", s.keyName(k.Key))
	}
	return s.keyName(k.Key)
}

// KeyExample shows what the file has for a key.
func (s *Studio) KeyExample(k message.DataKey) Text {
	if s.File == nil {
		return ""
	}
	for i, c := range s.File.Columns {
		if c.Name == k.Column || strconv.Itoa(i+1) == k.Column && s.File.File.Layout == "table" {
			return Text(c.Example)
		}
	}
	return ""
}

// columnOption is a column that can be chosen for a key. Value is its name in dataset.columns, "" for none.
type columnOption struct {
	Value string
	Title Text
}

// ColumnOptions are the columns that can be chosen for a key. Those of a table whose first row names columns can also be chosen by
// number, as that row may hold data.
func (s *Studio) ColumnOptions(k message.DataKey) (options []columnOption) {
	if s.File == nil {
		return nil
	}
	own := false
	for _, c := range s.File.Columns {
		own = own || c.Name == k.Key
	}
	if k.Column == "" || k.Optional && !own { // a column with the key's own name is always read for it
		options = append(options, columnOption{"", s.T("mapping.none")})
	}
	table := s.File.File.Layout == "table"
	for _, c := range s.File.Columns {
		title := Text(c.Name)
		if table && !s.File.File.Header {
			title = s.T("mapping.number", "n", c.Name)
		}
		options = append(options, columnOption{c.Name, title})
	}
	for i := range s.File.Columns {
		if n := strconv.Itoa(i + 1); table && s.File.File.Header {
			options = append(options, columnOption{n, s.T("mapping.number", "n", n)})
		}
	}
	if !slices.ContainsFunc(options, func(o columnOption) bool { return o.Value == k.Column }) { // a name that the file does not have
		options = append(options, columnOption{k.Column, Text(k.Column)})
	}
	return options
}

// Map has a column of the file read for a key of the format.
func (s *Studio) Map(key, column string) {
	if !s.Mappable() { // another file has been chosen since
		return
	}
	columns := Tree{}
	for i := range s.Keys() {
		k := &s.File.Keys[i]
		if k.Key == key { // noted at once: another key may be chosen before the next preview comes
			k.Column = column
		}
		if k.Column != "" && k.Column != k.Key {
			columns[k.Key] = k.Column
		}
	}
	s.takeColumns(columns)
	s.changed()
}

func (s *Studio) takeColumns(columns Tree) {
	s.mapped = s.Data.Name
	if len(columns) == 0 {
		s.Config.Delete(columnsPath)
		return
	}
	s.Config.Set(columnsPath, map[string]any(columns))
}

// Formats are the formats that can be chosen.
func (s *Studio) Formats() (formats []message.Option) {
	for _, o := range s.About.Choices[formatPath] {
		if o.Refused == "" {
			formats = append(formats, o)
		}
	}
	return formats
}

// Format is the format of the settings.
func (s *Studio) Format() string {
	if v, ok := s.Config.Get(formatPath); ok {
		return spell(v)
	}
	return autoFormat
}

func (s *Studio) formatTitle(format string) Text {
	if key := "option." + formatPath + "." + format; s.Has(key) {
		return s.T(key)
	}
	return Text(format)
}

// FormatText names a format. Of the one that is found by looking it says what was found.
func (s *Studio) FormatText(o message.Option) Text {
	text := s.formatTitle(o.Value)
	if o.Value == autoFormat && s.Preview != nil && s.Format() == autoFormat {
		text += ": " + s.formatTitle(s.Preview.Format)
	}
	return text
}

// kindsOfKeys are the kinds of values that only one key takes: a column with such a value is proposed for it.
var kindsOfKeys = []struct{ format, key, kind string }{
	{"messages", "messages", "messages"}, {"sharegpt", "conversations", "sharegpt"}, {"text", "text", "text"},
}

// ReadAs has the rows read by a format. Columns that were chosen for another format are let go.
func (s *Studio) ReadAs(format string) {
	if !s.Mappable() { // another file has been chosen since
		return
	}
	columns := Tree{}
	for _, x := range kindsOfKeys {
		var fit []string
		for _, c := range s.File.Columns {
			if c.Kind == x.kind {
				fit = append(fit, c.Name)
			}
		}
		if x.format == format && len(fit) == 1 && fit[0] != x.key {
			columns[x.key] = fit[0]
		}
	}
	s.takeColumns(columns)
	if s.Config.Set(formatPath, format); format == autoFormat {
		s.Config.Delete(formatPath)
	}
	s.changed()
}

// forgetReading lets go of what the person has chosen in the preview of other data: its format and columns, and to leave out its
// malformed rows. A file of the same name keeps them, as it may be the same one, mended.
func (s *Studio) forgetReading() {
	if s.mapped != "" && s.mapped != s.Data.Name {
		s.Config.Delete(columnsPath)
		s.Config.Delete(formatPath)
		s.mapped = ""
	}
	if s.skipping != "" && s.skipping != s.Data.Name {
		s.Config.Delete(badRowPath)
		s.skipping = ""
	}
	s.Mapping = false
}

// HasTurns reports whether the rows are conversations, so that a chat template makes text of them.
func (s *Studio) HasTurns() bool {
	if !s.Data.Usable() || s.File == nil {
		return false
	}
	return s.File.Template != nil || slices.ContainsFunc(s.Keys(), func(k message.DataKey) bool { return k.Key == "messages" || k.Key == "conversations" })
}

// TemplateText says which chat template has made the texts.
func (s *Studio) TemplateText() Text {
	if s.Preview == nil || s.Preview.Template == nil {
		return ""
	}
	switch t := s.Preview.Template; {
	case t.StandIn:
		return s.T("template.stand_in", "name", t.Name)
	case t.Source == "":
		return s.T("template.builtin", "name", t.Name)
	default:
		return s.T("template.own", "name", t.Name, "file", t.Source)
	}
}

// namedTemplates are the values of dataset.template that name one of several templates of the model.
func (s *Studio) namedTemplates() (named []message.Option) {
	if s.File == nil || s.File.Template == nil || len(s.File.Template.Own) < 2 {
		return nil
	}
	for _, name := range s.File.Template.Own {
		named = append(named, message.Option{Value: "model:" + name})
	}
	return named
}
