// The instance: its order of starting and stopping, with the log lines in the order and the words of the real one.
package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

type Instance struct {
	set     Settings
	log     *Log
	license *License

	mu       sync.Mutex // guards what follows
	cpf      *CPF
	dbs      map[string]*Database // by name, those that could be mounted
	status   string               // as `iris qlist` tells it
	state    string               // ok, warn: the system monitor's view
	logons   bool                 // sessions can be had
	sampled  bool                 // the sensors have looked at the databases
	since    time.Time
	alerts   []string
	listener []net.Listener
}

func newInstance(s Settings, log *Log) *Instance {
	in := &Instance{set: s, log: log, dbs: map[string]*Database{}, status: "sign-on inhibited", state: "ok", since: time.Now()}
	in.license = newLicense(s.LicenseUnits, s.LicenseExpires, func(times int) {
		log.event(2, "Generic.Event", "License limit exceeded %d times since instance start.", times)
	})
	return in
}

func (s Settings) identity() identity { return identity{s.UID, s.GID} }

// start brings the instance up. Its time is spent in the shares that the log of a real start shows.
func (in *Instance) start(stopped <-chan struct{}) error {
	wait := func(share float64) { sleep(seconds(in.set.StartSeconds*share), stopped) }
	s := in.set
	if os.Getuid() != s.UID {
		in.log.main("Insufficient privilege to start InterSystems IRIS.")
		return fmt.Errorf("running as user %d, not %d", os.Getuid(), s.UID)
	}
	cloned, err := openDataDirectory(s, s.identity())
	if err != nil {
		return in.cannotInitialize(err)
	}
	if err := in.checkLicense(); err != nil {
		return err
	}
	if err := installApplication(s, s.identity()); err != nil {
		return in.cannotInitialize(err)
	}
	if cloned {
		in.logMemory(newCPF(s)) // The small instance that does the cloning.
		if err := clone(s, s.identity(), func() { wait(0.5) }); err != nil {
			return in.cannotInitialize(fmt.Errorf("ERROR #5001: %w", err))
		}
	}
	mgr := filepath.Join(s.DataDir, "mgr")
	if err := in.log.open(filepath.Join(mgr, "messages.log")); err != nil {
		return in.cannotInitialize(fmt.Errorf("ERROR #5001: %w", err))
	}
	text, err := os.ReadFile(filepath.Join(s.DataDir, "iris.cpf"))
	if err != nil {
		return in.cannotInitialize(fmt.Errorf("ERROR #5001: %w", err))
	}
	in.cpf = parseCPF(string(text))
	lock := filepath.Join(mgr, "iris.lck")
	_, err = os.Stat(lock)
	abnormal := err == nil
	if err := in.upgrade(abnormal); err != nil {
		return err
	}
	if err := os.WriteFile(lock, []byte(hostname()+"\n"), 0o664); err != nil {
		return in.cannotInitialize(fmt.Errorf("ERROR #5001: %w", err))
	}
	if abnormal {
		in.state = "warn"
		in.alerts = append(in.alerts, "Previous system shutdown was abnormal")
		in.log.event(1, "Generic.Event", "Previous system shutdown was abnormal, system forced down or crashed")
		in.log.event(2, "Generic.Event", "Preserving journal files in %s/journal/ for journal recovery", mgr)
	}
	wait(0.2)
	in.mountAll()
	if s.MergeFile != "" {
		in.mergeMemory() // Memory is taken before the instance runs.
	}
	in.logMemory(in.cpf)
	in.log.event(0, "WriteDaemon.UsingWIJFile", "Using WIJ file: %s/IRIS.WIJ", mgr)
	in.log.event(0, "Database.MountedRW", "Mounted database %s/ (SFN 0) read-write.", mgr)
	wait(0.3)
	if err := in.listen(s.SuperPort, nil); err != nil {
		return fmt.Errorf("Superserver failed to start: %w", err)
	}
	in.become("running", false)
	if s.MergeFile != "" {
		in.merge(s.MergeFile)
	}
	wait(0.25)
	if on, _ := in.cpf.get("Startup", "WebServer"); on == "1" {
		if err := in.listen(s.WebPort, in.web()); err != nil {
			return err
		}
		in.log.event(0, "Utility.Event", "Private webserver started on %d", s.WebPort)
	}
	wait(0.2)
	in.log.event(0, "Utility.Event", "Enabling logons")
	in.become("running", true)
	os.WriteFile(filepath.Join(s.DataDir, "_LastGood_.cpf"), []byte(in.cpf.String()), 0o664)
	wait(0.05)
	time.AfterFunc(seconds(s.SensorSeconds), func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.sampled = true
	})
	return nil
}

func (in *Instance) become(status string, logons bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.status, in.logons = status, logons
}

// volumeError is a data directory that IRIS cannot use.
type volumeError struct{ error }

func (in *Instance) cannotInitialize(err error) error {
	in.log.main("An error was encountered while initializing the system.")
	in.log.main("Please see the clone.log and messages.log files in %s/mgr/ and %s/mgr.", in.set.InstallDir, in.set.DataDir)
	return volumeError{err}
}

func (in *Instance) checkLicense() error {
	in.log.main("[INFO] This copy of InterSystems IRIS has been licensed for use exclusively by:")
	if !in.license.expired() {
		in.log.main("InterSystems IRIS Community")
		return nil
	}
	in.log.main("Community License expired.")
	in.log.main("Error: Invalid Community Edition license, may have exceeded core limit. - Shutting down the system : $zu(56,2)= 0Starting IRIS")
	in.log.main("An error was detected during InterSystems IRIS startup.")
	in.log.main("** Startup aborted **")
	return fmt.Errorf("the licence ended on %s", in.set.LicenseExpires)
}

// upgrade adopts data of another version, unless that instance was killed: its journals are the old version's business.
func (in *Instance) upgrade(abnormal bool) error {
	had, _ := in.cpf.get("ConfigFile", "Version")
	if had == in.set.Version {
		return nil
	}
	if abnormal {
		err := fmt.Errorf("Error during Upgrade,ERROR #5001: %s was not shut down cleanly", had) // The words after #5001 are ours.
		in.log.event(3, "Utility.Event", "%v", err)
		return err
	}
	in.cpf.section("ConfigFile").set("Version", in.set.Version)
	in.saveCPF()
	in.log.event(0, "Utility.Event", "Upgraded from %s to %s", had, in.set.Version)
	return nil
}

// mountAll opens what iris.cpf names. A database whose file is lost stays defined, and is not there.
func (in *Instance) mountAll() {
	for _, l := range in.cpf.section("Databases").lines {
		d, err := openDatabase(strings.TrimRight(l.value, "/"))
		if err != nil {
			in.log.event(2, "Database.MountError", "Error mounting database %s: %v", l.value, err)
			continue
		}
		in.dbs[l.key] = d
	}
}

// security holds the accounts; a database of ours always has them in IRISSYS.
func (in *Instance) security() *Security { return in.dbs["IRISSYS"].Security }

func (in *Instance) saveCPF() {
	if err := writeCPF(in.set.DataDir, in.cpf); err != nil {
		in.log.event(2, "Utility.Event", "Cannot write iris.cpf: %v", err)
	}
}

// mergeMemory takes over what only counts at a start; the rest of the merge file waits until the instance runs.
func (in *Instance) mergeMemory() {
	text, err := os.ReadFile(in.set.MergeFile)
	if err != nil {
		return // merge says so.
	}
	for _, s := range parseCPF(string(text)).sections {
		for _, l := range s.lines {
			if strings.EqualFold(s.name, "config") {
				in.cpf.section("config").set(l.key, l.value)
			}
		}
	}
}

// logMemory tells how much shared memory the settings come to. Without a size for the global buffers IRIS takes a quarter
// of the host's memory, whatever limit the pod has.
func (in *Instance) logMemory(c *CPF) {
	number := func(key string, field int) int {
		v, _ := c.get("config", key)
		if f := strings.Split(v, ","); field < len(f) {
			n, _ := strconv.Atoi(strings.TrimSpace(f[field]))
			return n
		}
		return 0
	}
	globals := number("globals", 2)
	if globals == 0 {
		in.log.event(1, "Generic.Event", "Global buffer setting requires attention.  Auto-selected 25%% of total memory.")
		globals = hostMemoryMB() / 4
	}
	routines, heap := max(80, number("routines", 0)), number("gmheap", 0)/1024
	if heap == 0 {
		heap = 300
	}
	in.log.event(0, "Generic.Event", "Allocated %dMB shared memory: %dMB global buffers, %dMB routine buffers, 64MB journal buffers, %dMB heap, 19MB miscellaneous",
		globals+routines+64+heap+19, globals, routines, heap)
}

func hostMemoryMB() int {
	data, _ := os.ReadFile("/proc/meminfo")
	for _, line := range bytes.Split(data, []byte("\n")) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "MemTotal:" {
			kb, _ := strconv.Atoi(string(f[1]))
			return kb / 1024
		}
	}
	return 0
}

// listen opens a port. Without a handler it accepts connections and says nothing, as far as the superserver is modelled.
func (in *Instance) listen(port int, handler http.Handler) error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	in.listener = append(in.listener, l)
	if handler != nil {
		go http.Serve(l, handler)
		return nil
	}
	go func() {
		for {
			if c, err := l.Accept(); err != nil {
				return
			} else {
				time.AfterFunc(10*time.Second, func() { c.Close() })
			}
		}
	}()
	return nil
}

// stop is the graceful end: databases are closed and the lock goes.
func (in *Instance) stop() {
	in.become("sign-on inhibited", false)
	in.log.event(0, "Utility.Event", "Shutdown started") // The words of a stop are ours.
	time.Sleep(seconds(in.set.StopSeconds))
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range in.listener {
		l.Close()
	}
	os.Remove(filepath.Join(in.set.DataDir, "mgr", "iris.lck"))
	in.log.event(0, "Utility.Event", "Shutdown complete")
}

// monitorCPF merges the file again whenever its text changes, as long as the container runs.
func (in *Instance) monitorCPF(stopped <-chan struct{}) {
	last, _ := os.ReadFile(in.set.MergeFile)
	for sleep(time.Second, stopped) {
		now, err := os.ReadFile(in.set.MergeFile)
		if err == nil && !bytes.Equal(now, last) {
			last = now
			in.log.main("[INFO] Executing command iris merge IRIS %s...", in.set.MergeFile)
			in.merge(in.set.MergeFile)
			in.log.main("[INFO] ...executed command iris merge IRIS %s", in.set.MergeFile)
		}
	}
}

// sleep waits, and says false when the container is being stopped.
func sleep(d time.Duration, stopped <-chan struct{}) bool {
	select {
	case <-time.After(d):
		return true
	case <-stopped:
		return false
	}
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}
