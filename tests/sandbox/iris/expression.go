// Expressions of a session's commands: strings, numbers, globals, locals, a few functions and class methods, joined by
// _ + - = from left to right.
package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	commandWord = regexp.MustCompile(`^[A-Za-z]+`)
	nameWord    = regexp.MustCompile(`^[%A-Za-z][A-Za-z0-9.]*`)
	number      = regexp.MustCompile(`^[0-9]*\.?[0-9]+`)
	stringText  = regexp.MustCompile(`^"(?:[^"]|"")*"`)
	methodCall  = regexp.MustCompile(`^##class\(([%\w.]+)\)\.(%?\w+)\(`)
)

type parser struct {
	s    *session
	rest string
}

// resultSet is what %ExecDirect gives.
type resultSet struct {
	code int
	row  map[string]string
}

func (p *parser) take(pattern *regexp.Regexp) string {
	m := pattern.FindString(p.rest)
	p.rest = p.rest[len(m):]
	return m
}

func (p *parser) accept(token string) bool {
	after, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = after
	}
	return ok
}

func (p *parser) must(token string) {
	if !p.accept(token) {
		panic(objectError("<SYNTAX>"))
	}
}

// list runs item for each element of a comma-separated list.
func (p *parser) list(item func()) {
	for item(); p.accept(","); {
		item()
	}
}

// reference reads the name of a local or a global with its subscripts, in canonical form.
func (p *parser) reference() string {
	caret := ""
	if p.accept("^") {
		caret = "^"
	}
	name := p.take(nameWord)
	if name == "" {
		panic(objectError("<SYNTAX>"))
	}
	name = caret + name
	if caret != "" && p.accept("(") {
		var subs []string
		p.list(func() {
			v := text(p.expression())
			if _, err := strconv.ParseFloat(v, 64); err != nil {
				v = strconv.Quote(v)
			}
			subs = append(subs, v)
		})
		p.must(")")
		name += "(" + strings.Join(subs, ",") + ")"
	}
	return name
}

func (p *parser) expression() any {
	left := p.term()
	for {
		switch {
		case p.accept("_"):
			left = text(left) + text(p.term())
		case p.accept("+"):
			left = num(left) + num(p.term())
		case p.accept("-"):
			left = num(left) - num(p.term())
		case p.accept("="):
			left = truth(text(left) == text(p.term()))
		default:
			return left
		}
	}
}

func (p *parser) term() any {
	switch {
	case p.accept("("):
		v := p.expression()
		p.must(")")
		return v
	case strings.HasPrefix(p.rest, `"`):
		quoted := p.take(stringText)
		if quoted == "" {
			panic(objectError("<SYNTAX>"))
		}
		return strings.ReplaceAll(quoted[1:len(quoted)-1], `""`, `"`)
	case p.accept("$"):
		return p.function()
	case strings.HasPrefix(p.rest, "##class("):
		return p.method()
	}
	if n := p.take(number); n != "" {
		return num(n)
	}
	return p.value(p.reference())
}

// value reads a variable, or a property of a result set.
func (p *parser) value(name string) any {
	if strings.HasPrefix(name, "^") {
		v, ok := p.s.database().Globals[name]
		if !ok {
			panic(objectError("<UNDEFINED> *" + name))
		}
		return v
	}
	if object, property, ok := strings.Cut(name, "."); ok {
		rs, is := p.s.locals[object].(resultSet)
		if !is || property != "" {
			panic(objectError("<INVALID OREF>"))
		}
		return p.property(rs)
	}
	v, ok := p.s.locals[name]
	if !ok {
		panic(objectError("<UNDEFINED> *" + name))
	}
	return v
}

// property reads what follows `rs.`.
func (p *parser) property(rs resultSet) any {
	switch {
	case p.accept("%SQLCODE"):
		return rs.code
	case p.accept("%Next()"):
		return truth(rs.code == 0)
	case p.accept("%Get("):
		column := text(p.expression())
		p.must(")")
		return rs.row[column]
	}
	panic(objectError("<PROPERTY DOES NOT EXIST>"))
}

func (p *parser) function() any {
	word := strings.ToLower(p.take(commandWord))
	switch word {
	case "h", "horolog":
		now := time.Now().In(p.s.in.log.zone)
		days := int(now.Sub(time.Date(1840, 12, 31, 0, 0, 0, 0, now.Location())).Hours() / 24)
		return fmt.Sprintf("%d,%d", days, now.Hour()*3600+now.Minute()*60+now.Second())
	case "zv", "zversion":
		return "IRIS for UNIX (Ubuntu Server LTS for x86-64 Containers) " + p.s.in.set.Version
	case "namespace":
		return p.s.namespace
	case "get", "g", "data", "d":
		p.must("(")
		name := p.reference()
		fallback := ""
		if p.accept(",") {
			fallback = text(p.expression())
		}
		p.must(")")
		v, ok := p.s.database().Globals[name]
		if word[0] == 'd' {
			return truth(ok)
		}
		if !ok {
			return fallback
		}
		return v
	}
	panic(objectError("<SYNTAX>"))
}

func (p *parser) method() any {
	m := methodCall.FindStringSubmatch(p.rest)
	if m == nil {
		panic(objectError("<SYNTAX>"))
	}
	p.rest = p.rest[len(m[0]):]
	var args []string
	if !p.accept(")") {
		p.list(func() {
			if strings.HasPrefix(p.rest, ",") || strings.HasPrefix(p.rest, ")") {
				args = append(args, "")
			} else {
				args = append(args, text(p.expression()))
			}
		})
		p.must(")")
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	exists := func(section, name string) any {
		_, ok := p.s.in.cpf.get(section, strings.ToUpper(name))
		return truth(ok)
	}
	switch m[1] + "." + m[2] {
	case "%SYS.Namespace.Exists", "Config.Namespaces.Exists":
		return exists("Namespaces", arg(0))
	case "Config.Databases.Exists":
		return exists("Databases", arg(0))
	case "%SQL.Statement.%ExecDirect":
		columns, row, code := selectLiterals(arg(1))
		rs := resultSet{code, map[string]string{}}
		for i, c := range columns {
			rs.row[c] = row[i]
		}
		return rs
	}
	panic(objectError("<CLASS DOES NOT EXIST> *" + m[1]))
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		t := strconv.FormatFloat(v, 'f', -1, 64)
		if strings.HasPrefix(t, "0.") {
			t = t[1:] // IRIS writes one half as .5.
		}
		return t
	case resultSet:
		return "1@%SQL.StatementResult"
	}
	return fmt.Sprint(v)
}

func num(v any) float64 {
	f, _ := strconv.ParseFloat(number.FindString(text(v)), 64)
	return f
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
