package ui

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// forecast is the engine's plan of a run: memory, parameters, steps.
type forecast struct{ message.Forecast }

// totalKey is the key of the sum in planned_bytes.
const totalKey = "total"

func (f *forecast) total() int64 { return f.Bytes[totalKey] }

// planRow is a line of the memory table.
type planRow struct {
	Kind  string
	Bytes int64
}

// Rows is the memory table, the largest first.
func (f *forecast) Rows() []planRow {
	var rows []planRow
	for kind, n := range f.Bytes {
		if kind != totalKey {
			rows = append(rows, planRow{kind, n})
		}
	}
	slices.SortFunc(rows, func(a, b planRow) int {
		if a.Bytes != b.Bytes {
			return int(max(-1, min(1, b.Bytes-a.Bytes)))
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	return rows
}

// changed has the engine plan the run again, and read the data again where it has changed. Changes while it plans cause one
// more plan at its end.
func (s *Studio) changed() {
	s.page.Run.canStart = s.ready()
	if s.shown != s.chosen { // plan and preview are of other files
		s.shown, s.previewed = s.chosen, ""
		s.Plan, s.Fault, s.Ways, s.Preview, s.File, s.DataFault, s.Reading = nil, nil, nil, nil, nil, nil, false
	}
	s.fillElements()
	if !s.ready() || s.page.Run.Stage.Active() || s.page.Screen != screenStudio {
		return
	}
	if s.planning {
		s.replan = true
		return
	}
	s.planning, s.replan = true, false
	config := s.config()
	s.previewData(config)
	gpu, asked := s.page.GPU, s.chosen
	job := message.Job{
		Command: message.Plan, Config: config.JSON(), Mounts: map[string]string{"model": "", "dataset": ""},
		Plan: &message.PlanJob{MaxBuffer: gpu.MaxBuffer, MaxBinding: gpu.MaxBinding}, MemoryBudget: s.limit(),
	}
	s.page.ask(job, s.sources(), func(e message.Envelope) {
		switch {
		case asked != s.chosen: // the answer is about files that are not chosen any more
		case e.Result != nil:
			s.Plan, s.Fault = new(forecast), nil
			json.Unmarshal(e.Result, s.Plan)
		case e.Failed != nil:
			s.Plan, s.Fault = nil, e.Failed
		}
		if e.Done != nil || e.Failed != nil {
			s.planning = false
			if s.replan {
				s.changed()
			} else if s.Comparing {
				s.compare()
			}
		}
	})
}

// barWidth is the length of the memory bar in its own units.
const barWidth = 1000

// barPart is one kind of memory in the memory bar.
type barPart struct {
	Kind        string
	From, Width int64
}

// Bar is the memory bar, with its kinds in the order of the table. Its full length is the limit, or the planned memory where
// that is more.
func (s *Studio) Bar() (parts []barPart) {
	var sum int64
	at := func(n int64) int64 { return int64(float64(n) / float64(max(s.Plan.total(), s.limit(), 1)) * barWidth) }
	for _, r := range s.Plan.Rows() {
		parts = append(parts, barPart{r.Kind, at(sum), max(at(sum+r.Bytes)-at(sum), 1)})
		sum += r.Bytes
	}
	return parts
}

// LimitAt is the place of the limit on the bar: its end, unless the plan exceeds the limit.
func (s *Studio) LimitAt() int64 {
	if total := s.Plan.total(); s.limit() > 0 && total > s.limit() {
		return int64(float64(s.limit()) / float64(total) * barWidth)
	}
	return barWidth
}

// BarText is the bar in words, for screen readers.
func (s *Studio) BarText() Text {
	var parts []string
	for _, r := range s.Plan.Rows() {
		parts = append(parts, string(s.KindText(r))+" "+Bytes(r.Bytes))
	}
	return s.T("plan.table") + ": " + Text(strings.Join(parts, ", "))
}

// limit is the limit of GPU memory in bytes, 0 for none.
func (s *Studio) limit() int64 {
	gigabytes, err := strconv.ParseFloat(s.Budget, 64)
	if err != nil || !(gigabytes > 0 && gigabytes < 1e6) {
		return 0
	}
	return int64(gigabytes * 1e9)
}

// BadBudget reports whether the typed limit is not a number.
func (s *Studio) BadBudget() bool { return s.Budget != "" && s.limit() == 0 }

// Limit takes the typed limit. The browser remembers it.
func (s *Studio) Limit(event vugu.DOMEvent) {
	s.Budget = strings.TrimSpace(event.PropString("target", "value"))
	if !s.BadBudget() {
		s.page.browser.Remember("budget", s.Budget)
		s.changed()
	}
}

// PlanText says in a sentence whether the run fits.
func (s *Studio) PlanText() Text {
	switch {
	case s.Plan == nil && s.Fault != nil:
		return ""
	case s.Plan == nil && s.planning:
		return s.T("plan.working")
	case s.Plan == nil:
		return s.T("plan.none")
	case s.limit() > 0 && s.Plan.Fits:
		return s.T("plan.within", "need", Bytes(s.Plan.total()), "limit", Bytes(s.limit()))
	case s.limit() > 0 && s.Plan.total() > s.limit():
		return s.T("plan.beyond", "need", Bytes(s.Plan.total()), "limit", Bytes(s.limit()))
	case !s.Plan.Fits:
		return s.T("plan.misfit", "need", Bytes(s.Plan.total()))
	}
	return s.T("plan.fits", "need", Bytes(s.Plan.total()))
}

// Fits is "true", "false", or "" while there is no plan.
func (s *Studio) Fits() string {
	if s.Plan == nil {
		return ""
	}
	return strconv.FormatBool(s.Plan.Fits)
}

func (s *Studio) KindText(r planRow) Text {
	if s.Has("memory." + r.Kind) {
		return s.T("memory." + r.Kind)
	}
	return Text(r.Kind)
}

// MisfitText says what is too large for the GPU.
func (s *Studio) MisfitText() Text {
	if s.Plan == nil || s.Plan.Misfit == nil {
		return ""
	}
	return s.RemarkText(*s.Plan.Misfit)
}

// Remarks are the engine's remarks on the run, without those that the data panel shows.
func (s *Studio) Remarks() (all []message.Remark) {
	if s.Plan == nil {
		return nil
	}
	beside := s.DataRemarks()
	for _, r := range s.Plan.Remarks {
		if !slices.ContainsFunc(beside, func(other message.Remark) bool { return other.Message == r.Message }) {
			all = append(all, r)
		}
	}
	return all
}

// ShareText says which share of the weights trains.
func (s *Studio) ShareText() Text {
	if s.Plan == nil || s.Plan.Total == 0 {
		return ""
	}
	return s.T("plan.share", "trainable", count(s.Plan.Trainable), "total", count(s.Plan.Total),
		"share", number(100*float64(s.Plan.Trainable)/float64(s.Plan.Total)), "steps", s.Plan.Steps)
}

// FaultText says why the engine refuses the settings. FaultDetail is the engine's English message.
func (s *Studio) FaultText() Text { return s.causeAndAdvice(s.fault()) }

func (s *Studio) FaultDetail() Text { return s.detail(s.fault()) }

// fault is the fault of the settings, unless it is the data's, which the data panel shows.
func (s *Studio) fault() *message.Failed {
	if s.Fault == nil || s.DataFault != nil && s.Fault.Message == s.DataFault.Message {
		return nil
	}
	return s.Fault
}
