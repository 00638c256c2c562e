// What the command `iris` and the instance say to each other: one request a connection, on a socket below the install
// directory. The instance answers with a line that is the command's exit code, then with what it is to print.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

type request struct {
	Op        string `json:"op"` // qlist, session, sql or merge
	Namespace string `json:"namespace,omitempty"`
	Emergency bool   `json:"emergency,omitempty"` // a session that needs no licence unit
	File      string `json:"file,omitempty"`
}

// `iris session` before "Enabling logons": this text and this exit code.
const exitInhibited = 239

func (s Settings) socket() string { return filepath.Join(s.InstallDir, "mgr", "irisdb.socket") }

func (in *Instance) serveControl() error {
	path := in.set.socket()
	if err := os.MkdirAll(filepath.Dir(path), 0o775); err != nil {
		return err
	}
	os.Remove(path) // Left over by a kill.
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	in.listener = append(in.listener, l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go in.answer(c)
		}
	}()
	return nil
}

var sessionCount atomic.Int64

// hangUp ends a connection when all that was said is on its way: closing one with unread input would take the answer back.
func hangUp(c net.Conn) {
	if unix, ok := c.(*net.UnixConn); ok {
		unix.CloseWrite()
		unix.SetReadDeadline(time.Now().Add(time.Second))
		io.Copy(io.Discard, unix)
	}
	c.Close()
}

func (in *Instance) answer(c net.Conn) {
	defer hangUp(c)
	from := bufio.NewReader(c)
	line, err := from.ReadBytes('\n')
	var req request
	if err != nil || json.Unmarshal(line, &req) != nil {
		return
	}
	in.mu.Lock()
	status, state, logons, since := in.status, in.state, in.logons, in.since
	in.mu.Unlock()
	switch {
	case req.Op == "qlist":
		fmt.Fprintf(c, "0\n%s\n", in.set.qlist(fmt.Sprintf("%s, since %s", status, since.In(in.log.zone).Format("Mon Jan _2 15:04:05 2006")), state))
	case !logons:
		fmt.Fprintf(c, "%d\nSign-on inhibited: Startup or Installation in progress\n", exitInhibited)
	case req.Op == "merge":
		fmt.Fprintln(c, "0")
		in.merge(req.File)
	default:
		id := fmt.Sprintf("terminal-%d", sessionCount.Add(1))
		fmt.Fprintln(c, "0")
		if !req.Emergency {
			if in.license.take(id, 0) != nil {
				fmt.Fprintln(c, "<LICENSE LIMIT EXCEEDED>")
				return
			}
			defer in.license.release(id)
		}
		s := &session{in: in, out: c, namespace: req.Namespace, locals: map[string]any{}}
		s.run(from, req.Op == "sql")
	}
}

// ask sends a request and copies the answer out; it returns the exit code that came with it.
func ask(s Settings, req request, input io.Reader, output io.Writer) (int, error) {
	c, err := net.Dial("unix", s.socket())
	if err != nil {
		return 1, err
	}
	defer c.Close()
	head, _ := json.Marshal(req)
	if _, err := c.Write(append(head, '\n')); err != nil {
		return 1, err
	}
	go func() {
		io.Copy(c, input)
		c.(*net.UnixConn).CloseWrite()
	}()
	var code int
	from := bufio.NewReader(c)
	if _, err := fmt.Fscanf(from, "%d\n", &code); err != nil {
		return 1, err
	}
	_, err = io.Copy(output, from)
	return code, err
}

// qlist is the line of `iris qlist`: 1 name, 2 install directory, 3 version, 4 status, 5 parameter file, 6 to 8 ports,
// 9 state, 10 product, 11 and 12 mirror, 13 data directory.
func (s Settings) qlist(status, state string) string {
	return fmt.Sprintf("IRIS^%s^%s^%s^iris.cpf^%d^%d^62972^%s^IRIS^^^%s^", s.InstallDir, s.Version, status, s.SuperPort,
		s.WebPort, state, s.DataDir)
}
