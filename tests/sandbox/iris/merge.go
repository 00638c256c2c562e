// The merge of a CPF file into a running instance: entries go to iris.cpf, [Startup] PasswordHash to the accounts, and
// [Actions] are run in their order. Create* does nothing when the object is there, Modify* when it is not.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// merge reads and applies a merge file. What fails is logged; IRIS goes on.
func (in *Instance) merge(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		in.log.main("[ERROR] Cannot read the merge file %s: %v", path, err) // Documented; the words are ours.
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	file := parseCPF(string(text))
	changed := false
	for _, s := range file.sections {
		for _, l := range s.lines {
			switch {
			case l.key == "":
			case l.key == "PasswordHash" && strings.EqualFold(s.name, "Startup"):
				used, err := in.security().applyPasswordHash(l.value)
				if err == nil && used {
					err = in.dbs["IRISSYS"].save()
				}
				if err != nil {
					in.log.event(1, "Utility.Event", "%v", err)
				}
			default:
				changed = in.cpf.section(s.name).set(l.key, l.value) || changed
			}
		}
	}
	if changed {
		in.saveCPF()
	}
	in.runActions(file.section("Actions"))
}

// runActions writes the actions to merge_actions.cpf, whose line numbers the messages count, and runs them until one
// fails.
func (in *Instance) runActions(s *cpfSection) {
	if len(s.lines) == 0 {
		return
	}
	path := filepath.Join(in.set.DataDir, "merge_actions.cpf")
	text := (&CPF{sections: []*cpfSection{s}}).String()
	if err := os.WriteFile(path, []byte(text), 0o664); err != nil {
		in.log.event(1, "Utility.Event", "ERROR #503: Error executing [Actions] section in file %s", path)
		return
	}
	for i, l := range s.lines {
		a, err := parseAction(l.value)
		method := a.verb
		if err == nil {
			method, err = in.runAction(a)
		}
		if err != nil {
			in.log.event(1, "Utility.Event", "ERROR #503: Error executing [Actions] section in file %s", path)
			in.log.event(1, "Utility.Event", "ERROR #507: Action '%s' failed at line %d, Method Config.CPF:%s(), Error=%v",
				a.verb, i+2, method, err)
			return
		}
	}
}

// runAction runs one action and names the method that a message shows.
func (in *Instance) runAction(a action) (method string, err error) {
	name := a.props["Name"]
	method = strings.Replace(strings.Replace(a.verb, "Create", "CreateOne", 1), "Modify", "ModifyOne", 1)
	if name == "" {
		return method, errors.New("ERROR #5001: Name is missing")
	}
	sec := in.security()
	switch a.verb {
	case "CreateDatabase":
		return method, in.createDatabase(name, a.props["Directory"])
	case "CreateNamespace", "ModifyNamespace":
		_, there := in.cpf.get("Namespaces", name)
		if there == (a.verb == "CreateNamespace") {
			return method, nil
		}
		return method, in.setNamespace(name, a.props)
	case "CreateResource":
		if slices.Contains(sec.Resources, name) {
			return method, nil
		}
		sec.Resources = append(sec.Resources, name)
	case "CreateUser":
		if sec.Users[name] != nil {
			return method, nil
		}
		u := &User{Enabled: true}
		if err := u.modify(a.props); err != nil {
			return method, err
		}
		sec.Users[name] = u
	case "ModifyUser":
		if sec.Users[name] == nil {
			return method, nil
		}
		if err := sec.Users[name].modify(a.props); err != nil {
			return method, err
		}
	default:
		return method, fmt.Errorf("the stand-in does not model the action %s", a.verb)
	}
	return method, in.dbs["IRISSYS"].save()
}

func (in *Instance) createDatabase(name, dir string) error {
	if _, there := in.cpf.get("Databases", name); there {
		return nil
	}
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("ERROR #5001: Directory of %s is not absolute: '%s'", name, dir)
	}
	d, err := createDatabase(dir, in.set.identity())
	if err != nil {
		return err
	}
	in.dbs[name] = d
	in.cpf.section("Databases").set(name, strings.TrimRight(dir, "/")+"/")
	in.saveCPF()
	in.log.event(0, "Database.MountedRW", "Mounted database %s/ (SFN %d) read-write.", strings.TrimRight(dir, "/"), len(in.dbs))
	return nil
}

func (in *Instance) setNamespace(name string, props map[string]string) error {
	globals, routines := props["Globals"], props["Routines"]
	if routines == "" {
		routines = globals
	}
	for _, db := range []string{globals, routines} {
		if _, there := in.cpf.get("Databases", db); !there {
			return fmt.Errorf("ERROR #5001: Database '%s' does not exist", db)
		}
	}
	value := globals
	if routines != globals {
		value += "," + routines
	}
	in.cpf.section("Namespaces").set(name, value)
	in.saveCPF()
	return nil
}

// modify sets an account's properties; one that is not modelled is an error, so that nobody relies on it.
func (u *User) modify(props map[string]string) error {
	for key, value := range props {
		switch key {
		case "Name", "FullName", "Comment", "PasswordNeverExpires":
		case "PasswordHash":
			if _, err := parsePasswordHash(value); err != nil {
				return err
			}
			u.PasswordHash = value
		case "Roles":
			u.Roles = roles(value)
		case "ChangePassword", "Enabled":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("%s is not 0 or 1: '%s'", key, value)
			}
			if key == "Enabled" {
				u.Enabled = on
			} else {
				u.ChangePassword = on
			}
		default:
			return fmt.Errorf("the stand-in does not model the property %s of a user", key)
		}
	}
	return nil
}
