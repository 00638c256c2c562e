package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test's own program is the container's when it is called by one of its names.
func TestMain(m *testing.M) {
	if !strings.HasSuffix(os.Args[0], ".test") {
		main()
	}
	os.Exit(m.Run())
}

// container runs the program under a name as user 51773, in a directory that stands for the volumes.
type container struct {
	t   *testing.T
	dir string
	env []string
}

func newContainer(t *testing.T) *container {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can run it as user 51773")
	}
	c := &container{t: t, dir: t.TempDir()}
	program, _ := os.ReadFile("/proc/self/exe")
	if err := os.WriteFile(c.dir+"/iris", program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iris-main", "docker-entrypoint.sh"} {
		os.Symlink("iris", filepath.Join(c.dir, name))
	}
	for _, dir := range []string{"install", "mgr"} {
		os.Mkdir(filepath.Join(c.dir, dir), 0o755)
		os.Chown(filepath.Join(c.dir, dir), 51773, 51773)
	}
	for up := c.dir; up != "/"; up = filepath.Dir(up) {
		if info, err := os.Stat(up); err == nil && info.Mode()&0o001 == 0 {
			os.Chmod(up, info.Mode()|0o001) // t.TempDir may lie in a folder of root alone.
		}
	}
	c.env = []string{"ISC_PACKAGE_INSTALLDIR=" + c.dir + "/install", "ISC_DATA_DIRECTORY=" + c.dir + "/mgr/IRIS_conf.d", "IRIS_STANDIN_START_SECONDS=0.5",
		"IRIS_STANDIN_STOP_SECONDS=0.1", "IRIS_STANDIN_LICENSE_EXPIRES=2099-12-31"}
	return c
}

func (c *container) command(uid uint32, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.dir, name), args...)
	cmd.Env = c.env
	// Ports are the container's own, so each has a network of its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: 51773}, Cloneflags: syscall.CLONE_NEWNET}
	return cmd
}

func (c *container) exec(uid uint32, args ...string) (string, int) {
	cmd := c.command(uid, "iris", args...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

func TestContainerLife(t *testing.T) {
	c := newContainer(t)
	out := &lockedBuffer{}
	cmd := c.command(51773, "docker-entrypoint.sh", "iris")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	early, code, seen := "", 0, map[string]bool{}
	for begin := time.Now(); !strings.Contains(out.String(), "...started") && time.Since(begin) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		line, _ := c.exec(51773, "qlist", "IRIS")
		if status := strings.Split(line, "^"); len(status) > 3 {
			seen[strings.Split(status[3], ",")[0]] = true
		}
		if seen["running"] && early == "" { // It says running before a session can be had.
			early, code = c.exec(51773, "session", "IRIS")
		}
	}
	if !seen["sign-on inhibited"] || !seen["running"] {
		t.Errorf("qlist said only %v", seen)
	}
	if code != exitInhibited || !strings.Contains(early, "Sign-on inhibited: Startup or Installation in progress") {
		t.Errorf("a session too early: %d %s", code, early)
	}
	line, _ := c.exec(51773, "qlist", "iris")
	if f := strings.Split(strings.TrimSpace(line), "^"); len(f) != 14 || !strings.HasPrefix(f[3], "running, since ") || f[8] != "ok" || f[12] != c.dir+"/mgr/IRIS_conf.d" {
		t.Errorf("qlist: %s", line)
	}
	if line, _ := c.exec(0, "qlist", "IRIS"); !strings.Contains(line, "^indeterminate^") {
		t.Errorf("qlist as root: %s", line)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the stop: %v", err)
	}
	wantInOrder(t, out.String(), "Starting InterSystems IRIS instance IRIS...", "...started InterSystems IRIS instance IRIS",
		"[INFO] Executing command /docker-entrypoint.sh iris-after-start ...", "...stopped InterSystems IRIS instance IRIS")
	if _, err := os.Stat(c.dir + "/mgr/IRIS_conf.d/mgr/iris.lck"); err == nil {
		t.Error("after the stop it looks as if it ran")
	}
	if strings.Contains(out.String(), "ISCAgent") {
		t.Error("the community's image starts the ISC agent")
	}
	if line, _ := c.exec(51773, "qlist", "IRIS"); !strings.Contains(line, "^down, last used ") {
		t.Errorf("qlist when down: %s", line)
	}
}

func TestContainerFailures(t *testing.T) {
	for name, c := range map[string]struct {
		entry string
		uid   uint32
		args  []string
		spoil func(c *container)
		want  []string
	}{
		"unwritable": {"iris-main", 51773, nil, func(c *container) { os.Chown(c.dir+"/mgr", 0, 0) },
			[]string{"An error was encountered while initializing the system.\nPlease see the clone.log and messages.log files in ",
				"[ERROR] Command \"iris start IRIS quietly\" exited with status 256\n", " 3 [Utility.Event] Error while moving data directories ERROR #5001: Cannot create target: ",
				"/mgr/IRIS_conf.d/\n", "[FATAL] Error starting InterSystems IRIS"}},
		"unwritable, community": {"docker-entrypoint.sh", 51773, []string{"iris"}, func(c *container) { os.Chown(c.dir+"/mgr", 0, 0) },
			[]string{"Durable folder: ", " does not exists, or cannot be created"}},
		"expired": {"iris-main", 51773, nil, func(c *container) { c.env = append(c.env, "IRIS_STANDIN_LICENSE_EXPIRES=2023-03-31") },
			[]string{"Community License expired.", "[ERROR] Command", "[FATAL] Error starting InterSystems IRIS"}},
		"another user": {"iris-main", 1000, nil, func(c *container) { os.Chmod(c.dir+"/install", 0o777); os.Chmod(c.dir+"/mgr", 0o777) },
			[]string{"Insufficient privilege to start InterSystems IRIS", "[FATAL]"}},
		"an option": {"iris-main", 51773, []string{"--password-file", "/x"}, func(c *container) {}, []string{"[FATAL] the stand-in does not model the option --password-file"}},
	} {
		t.Run(name, func(t *testing.T) {
			box := newContainer(t)
			c.spoil(box)
			cmd := box.command(c.uid, c.entry, c.args...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit %d", code)
			}
			wantInOrder(t, string(out), c.want...)
		})
	}
}
