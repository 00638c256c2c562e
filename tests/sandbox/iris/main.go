// Stands in for InterSystems IRIS Community Edition as a container image: one static program, called by several names.
//
// What it keeps of the real one, the unpleasant first:
//   - An expired licence stops it with messages that talk of a core limit, and the pod goes into CrashLoopBackOff.
//   - A durable directory that user 51773 (group 52773 up to 2021.1) cannot write stops it; supplementary groups do not help.
//   - A durable directory that holds anything but a former instance (lost+found, for one) stops it.
//   - Failing [Actions] are logged and IRIS goes on, so a pod is Running and Ready without its database.
//   - [Startup] PasswordHash works once per durable directory, and leaves the flag "must change the password".
//   - The portal answers 200 with its login page for every name, whether the page exists or not.
//   - Sessions without a cookie cost a licence unit each; when they are used up, everything but metrics is refused.
//   - `iris qlist` says running, and port 1972 is open, before a session can be had; the first metrics know no database.
//   - `iris session` exits 0 whatever happened in it.
//   - A kill leaves its marks: "Previous system shutdown was abnormal", and a state of warn for half an hour.
//   - A database whose file is gone is still defined, so its CreateDatabase does nothing.
//   - Databases of an application that is built upon it are in each container anew, unless they lie on a volume.
//
// What it refuses to pretend: options, commands and actions that it does not model end with an error that says so.
// Texts of failures that no public log shows are ours; the comments beside them say so.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	switch name {
	case "iris":
		os.Exit(irisCommand(args))
	case "iris-main":
		os.Exit(irisMain(args))
	case "docker-entrypoint.sh":
		os.Exit(communityEntrypoint(args))
	case "getent":
		os.Exit(getent(args))
	}
	fmt.Fprintf(os.Stderr, "%s: call it as iris-main, iris, docker-entrypoint.sh or getent\n", name)
	os.Exit(64)
}
