// A terminal session: the few ObjectScript commands that a check or a test needs, one line after the other. A line that
// is not understood prints <SYNTAX>, and the session goes on; nothing of it shows in the exit code.
package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

type session struct {
	in        *Instance
	out       io.Writer
	namespace string
	locals    map[string]any
}

// objectError is an error as a terminal shows it: <UNDEFINED> *^x.
type objectError string

func (s *session) run(from *bufio.Reader, sql bool) {
	if s.database() == nil {
		fmt.Fprintf(s.out, "Namespace '%s' does not exist or has no database\n", s.namespace) // The words are ours.
		return
	}
	if !sql {
		fmt.Fprintf(s.out, "\nNode: %s, Instance: IRIS\n", hostname())
	}
	for {
		if sql {
			fmt.Fprintf(s.out, "\n[SQL]%s>>", s.namespace)
		} else {
			fmt.Fprintf(s.out, "\n%s>\n", s.namespace)
		}
		line, err := from.ReadString('\n')
		line = strings.TrimSpace(line)
		if err != nil && line == "" {
			return
		}
		if sql {
			if l := strings.ToLower(line); l == "quit" || l == "exit" || l == "q" {
				return
			}
			s.runSQL(line)
		} else if s.runLine(line) {
			return
		}
	}
}

// runLine runs the commands of one line and tells whether the session is over.
func (s *session) runLine(line string) (halted bool) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	defer func() {
		if e := recover(); e != nil {
			message, ours := e.(objectError)
			if !ours {
				panic(e)
			}
			fmt.Fprintf(s.out, "%s\n", message)
		}
	}()
	p := &parser{s: s, rest: line}
	for p.rest != "" {
		word := p.take(commandWord)
		p.accept(" ")
		switch strings.ToLower(word) {
		case "halt", "h":
			return true
		case "write", "w":
			p.list(func() {
				if p.accept("!") {
					fmt.Fprintln(s.out)
				} else {
					fmt.Fprint(s.out, text(p.expression()))
				}
			})
		case "set", "s":
			p.list(func() {
				name := p.reference()
				p.must("=")
				s.set(name, p.expression())
			})
		case "kill", "k":
			p.list(func() {
				if name := p.reference(); strings.HasPrefix(name, "^") {
					s.database().kill(name)
					s.save()
				} else {
					delete(s.locals, name)
				}
			})
		case "zn", "znspace":
			was := s.namespace
			s.namespace = strings.ToUpper(text(p.expression()))
			if s.database() == nil {
				s.namespace = was
				panic(objectError("<NAMESPACE>"))
			}
		default:
			panic(objectError("<SYNTAX>"))
		}
		if p.rest != "" {
			p.must(" ")
		}
		p.rest = strings.TrimLeft(p.rest, " ")
	}
	return false
}

func (s *session) set(name string, value any) {
	if !strings.HasPrefix(name, "^") {
		s.locals[name] = value
		return
	}
	s.database().Globals[name] = text(value)
	s.save()
}

func (s *session) save() {
	if err := s.database().save(); err != nil {
		panic(objectError("<DISKHARD>"))
	}
}

// database is where the namespace keeps its globals; nil if there is none.
func (s *session) database() *Database {
	value, ok := s.in.cpf.get("Namespaces", s.namespace)
	if !ok {
		return nil
	}
	return s.in.dbs[strings.Split(value, ",")[0]]
}

func (s *session) runSQL(statement string) {
	columns, row, code := selectLiterals(statement)
	if code != 0 {
		fmt.Fprintf(s.out, "[SQLCODE: <%d>:<Invalid SQL statement>]\n", code)
		return
	}
	fmt.Fprintf(s.out, "%s\n%s\n\n1 Rows(s) Affected\n", strings.Join(columns, "\t"), strings.Join(row, "\t"))
}

var (
	selectList = regexp.MustCompile(`(?i)^\s*select\s+(.+?)\s*;?\s*$`)
	selectItem = regexp.MustCompile(`(?i)^\s*(\d+|'[^']*')(?:\s+as\s+(\w+))?\s*$`)
)

// selectLiterals understands SELECT of numbers and strings without a table; anything else has SQLCODE -1.
func selectLiterals(statement string) (columns, row []string, code int) {
	m := selectList.FindStringSubmatch(statement)
	if m == nil {
		return nil, nil, -1
	}
	for i, item := range strings.Split(m[1], ",") {
		f := selectItem.FindStringSubmatch(item)
		if f == nil {
			return nil, nil, -1
		}
		name := f[2]
		if name == "" {
			name = "Expression_" + strconv.Itoa(i+1)
		}
		columns, row = append(columns, name), append(row, strings.Trim(f[1], "'"))
	}
	return columns, row, 0
}
