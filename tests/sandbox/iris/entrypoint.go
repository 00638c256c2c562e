// The image's entry points: /iris-main, and /docker-entrypoint.sh of the developer community's images, which makes the
// durable directory, leaves the ISC agent out and goes on as iris-main.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

type options struct{ agent, monitorCPF, checkCaps, community bool }

func irisMain(args []string) int {
	opt := options{agent: true, monitorCPF: true, checkCaps: true}
	return opt.run(args)
}

func communityEntrypoint(args []string) int {
	opt := options{monitorCPF: true, checkCaps: true, community: true}
	if len(args) > 0 && args[0] == "iris" {
		args = args[1:]
	}
	for _, key := range []string{"IRIS_USERNAME", "IRIS_PASSWORD", "IRIS_NAMESPACE"} {
		if os.Getenv(key) != "" {
			fmt.Printf("[FATAL] the stand-in does not model %s\n", key)
			return 64
		}
	}
	if dir := os.Getenv("ISC_DATA_DIRECTORY"); dir != "" {
		if err := os.MkdirAll(dir, 0o775); err != nil {
			fmt.Printf("Durable folder: %s does not exists, or cannot be created\n", dir)
			return 1
		}
	}
	return opt.run(args)
}

// parse takes the options that are modelled; any other ends the container with a word about it.
func (o *options) parse(args []string) error {
	switches := map[string]*bool{"--ISCAgent": &o.agent, "--monitorCPF": &o.monitorCPF, "--check-caps": &o.checkCaps}
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		into := switches[name]
		if into == nil {
			return fmt.Errorf("the stand-in does not model the option %s", name)
		}
		if !inline {
			if i++; i == len(args) {
				return fmt.Errorf("%s needs true or false", name)
			}
			value = args[i]
		}
		*into = value == "true"
	}
	return nil
}

func (o *options) run(args []string) int {
	log := newLog(os.Stdout, os.Getenv("TZ"))
	set, err := settingsFromEnv()
	if err == nil {
		err = o.parse(args)
	}
	if err == nil && o.checkCaps && set.year() < 2026 {
		err = checkCapabilities()
	}
	if err != nil {
		log.main("[FATAL] %v", err)
		return 1
	}
	stopped := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-signals; close(stopped) }()

	in := newInstance(set, log)
	if err := in.serveControl(); err != nil {
		log.main("[FATAL] %v", err)
		return 1
	}
	if o.agent {
		log.main("[INFO] Executing command /home/irisowner/irissys/startISCAgent.sh %d...", set.AgentPort)
		if err := in.listen(set.AgentPort, nil); err != nil {
			log.main("[WARN] %v", err)
		}
		log.main("[INFO] ...executed command /home/irisowner/irissys/startISCAgent.sh %d", set.AgentPort)
	}
	log.main("[INFO] Starting InterSystems IRIS instance IRIS...")
	if err := in.start(stopped); err != nil {
		log.main(`[ERROR] Command "iris start IRIS quietly" exited with status 256`)
		if errors.As(err, new(volumeError)) {
			log.event(3, "Utility.Event", "Error while moving data directories %v", err)
		}
		log.main("[FATAL] Error starting InterSystems IRIS")
		return 1
	}
	log.main("[INFO] ...started InterSystems IRIS instance IRIS")
	if o.community {
		log.main("[INFO] Executing command /docker-entrypoint.sh iris-after-start ...")
	}
	if o.monitorCPF && set.MergeFile != "" {
		go in.monitorCPF(stopped)
	}
	<-stopped
	log.main("[INFO] Stopping InterSystems IRIS instance IRIS...")
	in.stop()
	log.main("[INFO] ...stopped InterSystems IRIS instance IRIS")
	return 0
}

// checkCapabilities is the check of images before 2026: what the container may never get is missing for good. The words
// are ours.
func checkCapabilities() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(status), "CapBnd:")
	var bounding uint64
	if _, err := fmt.Sscanf(rest, "%x", &bounding); err != nil {
		return fmt.Errorf("cannot read the capabilities of this process: %w", err)
	}
	for name, bit := range map[string]int{"CAP_SETGID": 6, "CAP_SETUID": 7} {
		if bounding&(1<<bit) == 0 {
			return fmt.Errorf("required capability %s is missing; use --check-caps false to start without it", name)
		}
	}
	return nil
}
