// What a pod's log shows: lines of iris-main, and messages.log, whose lines go both to the file and to standard output.
// Stamps are in the time zone of TZ, which in the wild is often a POSIX rule such as JST-9.
package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
	_ "time/tzdata" // The images hold no zone files, and TZ may name a place.
)

type Log struct {
	mu   sync.Mutex
	out  io.Writer
	file *os.File // messages.log, once the data directory is there
	zone *time.Location
}

func newLog(out io.Writer, tz string) *Log { return &Log{out: out, zone: zone(tz)} }

// open starts messages.log in a directory; what was written before it exists only on standard output.
func (l *Log) open(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o664)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file = f
	return nil
}

// main writes a line of iris-main, which is not part of messages.log.
func (l *Log) main(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", a...)
}

// event writes a line of messages.log. Severity: 0 information, 1 warning, 2 severe, 3 fatal.
func (l *Log) event(severity int, category, format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().In(l.zone)
	line := fmt.Sprintf("%s:%03d (%d) %d [%s] %s\n", now.Format("01/02/06-15:04:05"), now.Nanosecond()/1e6,
		os.Getpid(), severity, category, fmt.Sprintf(format, a...))
	io.WriteString(l.out, line)
	if l.file != nil {
		l.file.WriteString(line)
	}
}

var posixZone = regexp.MustCompile(`^([A-Za-z]{3,}|<[^>]+>)([+-]?)(\d{1,2})(?::(\d{2}))?`)

// zone reads TZ. In a POSIX rule the sign is that of the way back to UTC: JST-9 is nine hours east. Rules for summer
// time are left out.
func zone(tz string) *time.Location {
	if tz == "" {
		return time.UTC
	}
	if l, err := time.LoadLocation(tz); err == nil {
		return l
	}
	m := posixZone.FindStringSubmatch(tz)
	if m == nil {
		return time.UTC
	}
	hours, _ := strconv.Atoi(m[3])
	minutes, _ := strconv.Atoi("0" + m[4])
	offset := hours*3600 + minutes*60
	if m[2] != "-" {
		offset = -offset
	}
	return time.FixedZone(m[1], offset)
}
