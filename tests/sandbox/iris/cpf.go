// Configuration parameter files: iris.cpf and the merge file. Sections and keys keep their order; names of sections are
// compared without case. A merge file's [Actions] are kept as lines, because their order is their meaning. Comments are those of the
// reference ("CPF Format"): `;`, `#` and `//` to the end of the line, `/*` to `*/` over lines, at the beginning of a line or behind
// something else on it, not within quotes.
package main

import (
	"fmt"
	"strings"
)

type CPF struct{ sections []*cpfSection }

type cpfSection struct {
	name  string
	lines []cpfLine
}

// An entry is `key=value`; an action is `Verb:Prop=value,...`, held whole in value with an empty key.
type cpfLine struct{ key, value string }

func parseCPF(text string) *CPF {
	c := &CPF{}
	var at *cpfSection
	for _, line := range strings.Split(withoutComments(text), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			at = c.section(line[1 : len(line)-1])
		case at == nil:
		case strings.EqualFold(at.name, "Actions"):
			at.lines = append(at.lines, cpfLine{value: line})
		default:
			if key, value, ok := strings.Cut(line, "="); ok {
				at.set(key, value)
			}
		}
	}
	return c
}

// withoutComments keeps the lines. Within a word the signs belong to the value, as in IRIS's own default file (`80^#,$C(27)`).
func withoutComments(text string) string {
	var b strings.Builder
	quoted, block := false, false
	for i := 0; i < len(text); i++ {
		rest, c := text[i:], text[i]
		line := b.String()[strings.LastIndexByte(b.String(), '\n')+1:]
		opens := strings.TrimSpace(line) == "" || strings.ContainsRune(" \t]", rune(line[len(line)-1]))
		switch {
		case c == '\n':
			quoted = false
			b.WriteByte(c)
		case block:
			if strings.HasPrefix(rest, "*/") {
				block = false
				i++
			}
		case quoted || c == '"':
			quoted = quoted != (c == '"')
			b.WriteByte(c)
		case opens && strings.HasPrefix(rest, "/*"):
			block = true
			i++
		case opens && (c == ';' || c == '#' || strings.HasPrefix(rest, "//")):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				return b.String()
			}
			i += end - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// section finds a section or makes it; a section that comes twice in a file is one.
func (c *CPF) section(name string) *cpfSection {
	for _, s := range c.sections {
		if strings.EqualFold(s.name, name) {
			return s
		}
	}
	s := &cpfSection{name: name}
	c.sections = append(c.sections, s)
	return s
}

func (s *cpfSection) set(key, value string) (changed bool) {
	for i := range s.lines {
		if s.lines[i].key == key {
			changed = s.lines[i].value != value
			s.lines[i].value = value
			return changed
		}
	}
	s.lines = append(s.lines, cpfLine{key, value})
	return true
}

func (c *CPF) get(section, key string) (string, bool) {
	for _, l := range c.section(section).lines {
		if l.key == key {
			return l.value, true
		}
	}
	return "", false
}

func (c *CPF) String() string {
	var b strings.Builder
	for i, s := range c.sections {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "[%s]\n", s.name)
		for _, l := range s.lines {
			if l.key == "" {
				fmt.Fprintln(&b, l.value)
			} else {
				fmt.Fprintf(&b, "%s=%s\n", l.key, l.value)
			}
		}
	}
	return b.String()
}

// action is one line of [Actions], taken apart.
type action struct {
	verb  string
	props map[string]string
}

// parseAction splits `Verb:Prop=value,Prop="quoted, value"`. A quote inside quotes is doubled.
func parseAction(line string) (action, error) {
	verb, rest, ok := strings.Cut(line, ":")
	if !ok || verb == "" {
		return action{}, fmt.Errorf("no verb in '%s'", line)
	}
	a := action{verb: strings.TrimSpace(verb), props: map[string]string{}}
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return a, fmt.Errorf("no value for '%s'", rest)
		}
		var value strings.Builder
		quoted := false
		i := 0
		for ; i < len(after); i++ {
			switch {
			case after[i] == '"' && quoted && i+1 < len(after) && after[i+1] == '"':
				value.WriteByte('"')
				i++
			case after[i] == '"':
				quoted = !quoted
			case after[i] == ',' && !quoted:
				goto done
			default:
				value.WriteByte(after[i])
			}
		}
	done:
		if quoted {
			return a, fmt.Errorf("a quote is open in '%s'", line)
		}
		a.props[strings.TrimSpace(key)] = value.String()
		rest = ""
		if i < len(after) {
			rest = after[i+1:]
		}
	}
	return a, nil
}
