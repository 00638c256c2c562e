// The durable directory (ISC_DATA_DIRECTORY): made from the image at the first start, used again later.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// identity is who IRIS' processes are: one user and one group. They give up supplementary groups, so an fsGroup that is
// not IRIS' own group does not let them write.
type identity struct{ uid, gid int }

// mayCreate tells whether a directory exists writable, or can be made below its nearest parent that exists.
func (who identity) mayCreate(dir string) error {
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != "/" {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return err
		}
		st, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
		owner, group, other := mode&0o300 == 0o300, mode&0o030 == 0o030, mode&0o003 == 0o003
		switch {
		case int(st.Uid) == who.uid && owner, int(st.Uid) != who.uid && int(st.Gid) == who.gid && group:
		case int(st.Uid) != who.uid && int(st.Gid) != who.gid && other:
		default:
			return syscall.EACCES
		}
		return syscall.Access(dir, 2 /* W_OK: a read-only mount shows here */)
	}
}

// A clone that did not come to its end leaves this mark, and is thrown away at the next start.
const incomplete = ".clone-incomplete"

// openDataDirectory finds or clones the data directory. It returns whether it was cloned. An error is for the log, with
// the wording of IRIS.
func openDataDirectory(s Settings, who identity) (cloned bool, err error) {
	dir := s.DataDir
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("ERROR #5001: Cannot create target: %s/", dir)
	}
	if who.mayCreate(dir) != nil {
		if err == nil {
			return false, fmt.Errorf("ERROR #5001: Target exists but is not writeable: %s/", dir)
		}
		return false, fmt.Errorf("ERROR #5001: Cannot create target: %s/", dir)
	}
	if _, bad := os.Stat(filepath.Join(dir, incomplete)); bad == nil {
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return false, fmt.Errorf("ERROR #5001: Cannot remove an incomplete clone: %w", err)
			}
		}
		entries = nil
	}
	if _, err := os.Stat(filepath.Join(dir, "mgr", datFile)); err == nil {
		return false, nil
	}
	if len(entries) > 0 && s.durable() {
		// That such a container does not start is documented, the words are ours.
		return false, fmt.Errorf("ERROR #5001: Target exists but holds no instance: %s/ (has %s)", dir, entries[0].Name())
	}
	return true, os.MkdirAll(dir, 0o775)
}

// clone fills a new data directory. between runs half way, where a crash leaves an incomplete clone.
func clone(s Settings, who identity, between func()) error {
	dir, cpf := s.DataDir, newCPF(s)
	mark := filepath.Join(dir, incomplete)
	if err := os.WriteFile(mark, nil, 0o664); err != nil {
		return err
	}
	for _, sub := range []string{"mgr/journal", "csp", "dist", "httpd"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o775); err != nil {
			return err
		}
	}
	for _, sub := range []string{"mgr", "mgr/user", "mgr/iristemp", "mgr/irislocaldata", "mgr/irisaudit"} {
		d, err := createDatabase(filepath.Join(dir, sub), who)
		if err != nil {
			return err
		}
		if sub == "mgr" {
			d.Security = newSecurity()
			addApplication(s, cpf, d.Security)
			if err := d.save(); err != nil {
				return err
			}
			between()
		}
	}
	for _, file := range []string{"ContainerCheck", "mgr/IRIS.WIJ", "mgr/alerts.log", "mgr/SystemMonitor.log"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o664); err != nil {
			return err
		}
	}
	if err := writeCPF(dir, cpf); err != nil {
		return err
	}
	return os.Remove(mark)
}

// newCPF is iris.cpf as an image has it.
func newCPF(s Settings) *CPF {
	mgr := s.DataDir + "/mgr/"
	return parseCPF(strings.NewReplacer("MGR/", mgr, "VERSION", s.Version).Replace(`
[ConfigFile]
Product=IRIS
Version=VERSION

[Databases]
IRISSYS=MGR/
IRISLOCALDATA=MGR/irislocaldata/
IRISAUDIT=MGR/irisaudit/
IRISTEMP=MGR/iristemp/
USER=MGR/user/

[Namespaces]
%SYS=IRISSYS
USER=USER

[Startup]
DefaultPort=1972
SystemMode=
WebServer=1
ShutdownTimeout=300

[config]
globals=0,0,0,0,0,0
gmheap=0
routines=0
`))
}

func writeCPF(dir string, c *CPF) error {
	path := filepath.Join(dir, "iris.cpf")
	if err := os.WriteFile(path+".new", []byte(c.String()), 0o664); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
