package hub

import "time"

// measuredOver is the time over which a speed is measured.
const measuredOver = 10 * time.Second

// Speed measures bytes per second over the last seconds.
type Speed struct{ readings []reading }

type reading struct {
	when time.Time
	came int64
}

// Add notes how many bytes have come until now, which is Progress.Came.
func (s *Speed) Add(now time.Time, came int64) {
	if n := len(s.readings); n > 0 && now.Sub(s.readings[n-1].when) < measuredOver/100 {
		return
	}
	s.readings = append(s.readings, reading{now, came})
	for len(s.readings) > 2 && now.Sub(s.readings[0].when) > measuredOver {
		s.readings = s.readings[1:]
	}
}

// PerSecond is the speed, 0 where it is not known yet.
func (s *Speed) PerSecond() float64 {
	if len(s.readings) < 2 {
		return 0
	}
	first, last := s.readings[0], s.readings[len(s.readings)-1]
	return max(float64(last.came-first.came), 0) / last.when.Sub(first.when).Seconds()
}
