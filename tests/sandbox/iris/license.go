// The Community licence: baked into the image with its last day, and a number of units that sessions use up. One unit is
// in use even when nobody is there.
package main

import (
	"errors"
	"sync"
	"time"
)

var errLicenseLimit = errors.New("license limit exceeded")

type License struct {
	mu       sync.Mutex
	units    int
	end      time.Time            // the first moment after the last day
	sessions map[string]time.Time // until when a session holds its unit; zero: until it is given back
	exceeded int                  // refusals since the instance started
	onExceed func(times int)
}

func newLicense(units int, lastDay string, onExceed func(times int)) *License {
	day, _ := time.ParseInLocation(time.DateOnly, lastDay, time.UTC)
	return &License{units: units, end: day.AddDate(0, 0, 1), sessions: map[string]time.Time{}, onExceed: onExceed}
}

func (l *License) expired() bool { return !time.Now().Before(l.end) }

func (l *License) daysRemaining() int { return max(0, int(time.Until(l.end)/(24*time.Hour))) }

// take gives a session its unit, or renews it. hold is how long the unit stays taken after this; 0 is until release.
func (l *License) take(session string, hold time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, has := l.sessions[session]; !has && l.inUse() >= l.units {
		l.exceeded++
		l.onExceed(l.exceeded)
		return errLicenseLimit
	}
	var until time.Time
	if hold > 0 {
		until = time.Now().Add(hold)
	}
	l.sessions[session] = until
	return nil
}

func (l *License) release(session string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, session)
}

func (l *License) consumed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inUse()
}

func (l *License) inUse() int {
	for id, until := range l.sessions {
		if !until.IsZero() && time.Now().After(until) {
			delete(l.sessions, id)
		}
	}
	return len(l.sessions) + 1
}
