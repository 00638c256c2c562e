package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhoMayWrite(t *testing.T) {
	me, mine := os.Getuid(), os.Getgid()
	for _, c := range []struct {
		mode os.FileMode
		who  identity
		may  bool
	}{
		{0o700, identity{me, mine}, true},
		{0o500, identity{me, mine}, false},
		{0o577, identity{me, mine}, false},         // The owner's bits alone count for the owner.
		{0o775, identity{me + 1, mine}, true},      // fsGroup is the group of IRIS
		{0o775, identity{me + 1, mine + 1}, false}, // and here it is not, whatever supplementary groups the process has.
		{0o755, identity{me + 1, mine}, false},
		{0o777, identity{me + 1, mine + 1}, true}, // What MicroK8s' provisioner makes.
	} {
		dir := t.TempDir()
		os.Chmod(dir, c.mode)
		for _, path := range []string{dir, filepath.Join(dir, "new", "folder")} {
			if err := c.who.mayCreate(path); (err == nil) != c.may {
				t.Errorf("mode %o, %v, %s: %v", c.mode, c.who, path, err)
			}
		}
		os.Chmod(dir, 0o700)
	}
}

func TestDataDirectory(t *testing.T) {
	who := identity{os.Getuid(), os.Getgid()}
	for name, c := range map[string]struct {
		prepare func(dir string)
		cloned  bool
		error   string
	}{
		"missing":    {func(dir string) {}, true, ""},
		"empty":      {func(dir string) { os.Mkdir(dir, 0o755) }, true, ""},
		"lost+found": {func(dir string) { os.MkdirAll(dir+"/lost+found", 0o755) }, false, "ERROR #5001: Target exists but holds no instance"},
		"unwritable": {func(dir string) { os.Mkdir(dir, 0o555) }, false, "ERROR #5001: Target exists but is not writeable: "},
		"its parent": {func(dir string) { os.Chmod(filepath.Dir(dir), 0o555) }, false, "ERROR #5001: Cannot create target: "},
		"incomplete": {func(dir string) { os.MkdirAll(dir+"/mgr", 0o755); os.WriteFile(dir+"/"+incomplete, nil, 0o644) }, true, ""},
		"an instance": {func(dir string) {
			os.Mkdir(dir, 0o755)
			if err := clone(Settings{DataDir: dir, Version: "1"}, who, func() {}); err != nil {
				t.Fatal(err)
			}
		}, false, ""},
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "IRIS_conf.d")
		c.prepare(dir)
		cloned, err := openDataDirectory(Settings{DataDir: dir, InstallDir: "/usr/irissys"}, who)
		if cloned != c.cloned || (err == nil) != (c.error == "") || (err != nil && !strings.HasPrefix(err.Error(), c.error)) {
			t.Errorf("%s: cloned %v, %v", name, cloned, err)
		}
		os.Chmod(parent, 0o755)
		if _, err := os.Stat(dir + "/mgr"); name == "incomplete" && err == nil {
			t.Error("an incomplete clone is kept")
		}
	}
}
