// The command `iris`, as far as somebody outside of the instance needs it.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func irisCommand(args []string) int {
	set, err := settingsFromEnv()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "iris: a command is missing: list, qlist, session, terminal, sql, merge")
		return 1
	}
	command, instance, rest := args[0], "IRIS", args[1:]
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		instance, rest = rest[0], rest[1:]
	}
	if !strings.EqualFold(instance, "IRIS") {
		fmt.Printf("Instance '%s' not found\n", instance)
		return 1
	}
	switch command {
	case "qlist":
		fmt.Println(set.askStatus())
		return 0
	case "list":
		f := strings.Split(set.askStatus(), "^")
		fmt.Printf("\nConfiguration 'IRIS'   (default)\n\tdirectory:    %s\n\tversionid:    %s\n\tdatadir:      %s\n\tconf file:    %s  (SuperServer port = %s, WebServer = %s)\n\tstatus:       %s\n\tstate:        %s\n\tproduct:      InterSystems IRIS\n",
			f[1], f[2], f[12], f[4], f[5], f[6], f[3], f[8])
		return 0
	case "session", "terminal", "sql":
		return set.session(command, rest)
	case "merge":
		if len(rest) == 1 {
			return set.send(request{Op: "merge", File: rest[0]}, strings.NewReader(""))
		}
	}
	fmt.Fprintf(os.Stderr, "iris: the stand-in does not model: iris %s\n", strings.Join(args, " "))
	return 64
}

// askStatus asks the instance; root gets no proper answer, as the real command does not tell root either.
func (s Settings) askStatus() string {
	if os.Getuid() == 0 {
		return s.qlist("indeterminate", "")
	}
	var out strings.Builder
	if _, err := ask(s, request{Op: "qlist"}, strings.NewReader(""), &out); err != nil {
		return s.qlist("down, last used "+s.lastUsed(), "")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (s Settings) lastUsed() string {
	info, err := os.Stat(s.DataDir + "/iris.cpf")
	if err != nil {
		return ""
	}
	return info.ModTime().In(zone(os.Getenv("TZ"))).Format("Mon Jan _2 15:04:05 2006")
}

func (s Settings) session(command string, args []string) int {
	req := request{Op: command, Namespace: "USER"}
	var input io.Reader = os.Stdin
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-U" && i+1 < len(args):
			i++
			req.Namespace = strings.ToUpper(args[i])
		case strings.HasPrefix(args[i], "-U"):
			req.Namespace = strings.ToUpper(args[i][2:])
		case args[i] == "-B":
			req.Emergency = true
		default:
			fmt.Fprintf(os.Stderr, "iris: the stand-in does not model the argument %s\n", args[i])
			return 64
		}
	}
	if req.Op == "terminal" {
		req.Op = "session"
	}
	return s.send(req, input)
}

func (s Settings) send(req request, input io.Reader) int {
	code, err := ask(s, req, input, os.Stdout)
	if err != nil {
		fmt.Println("InterSystems IRIS instance IRIS is not running") // The words are ours.
		return 1
	}
	return code
}
