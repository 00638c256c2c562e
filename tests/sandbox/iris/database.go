// A database is one directory with an IRIS.DAT. Ours holds its globals as JSON after a line that names the format, and is
// filled up to whole megabytes, which is what IRIS reports as its size.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	datFile  = "IRIS.DAT"
	datMagic = "IRIS.DAT of the stand-in, format 1\n"
	megabyte = 1 << 20
)

type Database struct {
	dir      string
	Globals  map[string]string `json:"globals"`            // ^name or ^name(subscripts), in canonical form
	Security *Security         `json:"security,omitempty"` // in IRISSYS only
}

// createDatabase makes the directory, with its parents, and an empty database in it. One that is there already is
// mounted: what IRIS does when only the directory of its registry was lost is not publicly known.
func createDatabase(dir string, who identity) (*Database, error) {
	err := who.mayCreate(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o775)
	}
	if err != nil {
		var no syscall.Errno
		errors.As(err, &no)
		return nil, fmt.Errorf("ERROR #5032: Cannot create directory '%s/, Error=-%d'", strings.TrimRight(dir, "/"), int(no))
	}
	if d, err := openDatabase(dir); err == nil {
		return d, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	d := &Database{dir: dir, Globals: map[string]string{}}
	return d, d.save()
}

func openDatabase(dir string) (*Database, error) {
	data, err := os.ReadFile(filepath.Join(dir, datFile))
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(data, []byte(datMagic))
	if !ok {
		return nil, fmt.Errorf("%s/%s is not a database", dir, datFile)
	}
	d := &Database{dir: dir, Globals: map[string]string{}}
	return d, json.NewDecoder(bytes.NewReader(body)).Decode(d)
}

// save writes beside the file and renames, so that a power cut leaves the old or the new database.
func (d *Database) save() error {
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	tmp := filepath.Join(d.dir, ".iris.dat")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o660)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(append([]byte(datMagic), body...)); err == nil {
		size := int64(len(datMagic) + len(body))
		if err = f.Truncate((size/megabyte + 1) * megabyte); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(d.dir, datFile))
}

func (d *Database) sizeMB() int64 {
	info, err := os.Stat(filepath.Join(d.dir, datFile))
	if err != nil {
		return 0
	}
	return info.Size() / megabyte
}

// kill removes a global with everything below it.
func (d *Database) kill(ref string) {
	below := strings.TrimSuffix(ref, ")")
	for k := range d.Globals {
		if k == ref || (below == ref && strings.HasPrefix(k, ref+"(")) || (below != ref && strings.HasPrefix(k, below+",")) {
			delete(d.Globals, k)
		}
	}
}
