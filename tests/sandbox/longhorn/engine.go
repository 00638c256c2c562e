// The instance manager: runs the engines of its node. An engine is a disk of the machine, /dev/longhorn/VOLUME, as long as this process holds
// it. Longhorn's is a disk of iSCSI; this one is a loop device on the replica's file, with the session entered in the machine's iscsiadm.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	devices   = "/host/dev/longhorn"
	iqn       = "iqn.2019-10.io.longhorn:"
	loopMajor = 7
)

func imageFile(folder string) string {
	return filepath.Join(dataPath, "replicas", filepath.Base(folder), "volume-head-000.img")
}

func blocks(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks
	}
	return 0
}

func instanceManager(ctx context.Context, args []string) error {
	c, err := connect()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", flagOf(args, "listen"))
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
	if flagOf(args, "type") == "replica" {
		<-ctx.Done()
		return nil
	}
	held := map[string]*os.File{}
	portal := os.Getenv("POD_IP")
	err = c.whenever(ctx, []string{"engines"}, func(ctx context.Context) error {
		engines, err := c.all(ctx, "engines")
		if err != nil {
			return err
		}
		var failed error
		for _, engine := range engines {
			failed = errors.Join(failed, c.keepEngine(ctx, &engine, held, portal))
		}
		return failed
	})
	// The engines end with their process: so do the sessions.
	for volume, device := range held {
		stopEngine(context.Background(), volume, device, portal)
	}
	return err
}

func (c *cluster) keepEngine(ctx context.Context, engine *object, held map[string]*os.File, portal string) error {
	volume := text(engine, "spec", "volumeName")
	device, holds := held[volume]
	wanted := text(engine, "spec", "desireState") == "running" && text(engine, "spec", "nodeID") == c.node
	switch {
	case wanted && !holds:
		device, err := c.startEngine(ctx, engine, portal)
		if err != nil {
			log.Printf(`level=error msg="failed to start engine %s: %v"`, engine.GetName(), err)
			if text(engine, "status", "currentState") != "error" || text(engine, "status", "errorMsg") != err.Error() {
				c.event(ctx, engine, "Warning", "FailedStarting", fmt.Sprintf("Error starting %s: %v", engine.GetName(), err))
			}
			if err := c.report(ctx, "engines", engine, dict{"currentState": "error", "errorMsg": err.Error()}); err != nil {
				return unlessGone(err)
			}
			return err
		}
		held[volume] = device
		return unlessGone(c.report(ctx, "engines", engine, dict{"currentState": "running", "errorMsg": "", "endpoint": "/dev/longhorn/" + volume, "ip": portal, "ownerID": c.node}))
	case !wanted && holds:
		stopEngine(ctx, volume, device, portal)
		delete(held, volume)
	}
	state, endpoint := "stopped", ""
	if wanted {
		state, endpoint = "running", "/dev/longhorn/"+volume
	}
	return unlessGone(c.report(ctx, "engines", engine, dict{"currentState": state, "endpoint": endpoint, "errorMsg": ""}))
}

func (c *cluster) startEngine(ctx context.Context, engine *object, portal string) (*os.File, error) {
	volume := text(engine, "spec", "volumeName")
	folder, err := c.dataFolder(ctx, volume)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(imageFile(folder)), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(imageFile(folder), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := file.Truncate(bytesOf(engine)); err != nil {
		return nil, err
	}
	// As the real one: the target is up before the host logs in to it.
	if _, err := onHost(ctx, "iscsiadm", "-m", "node", "-T", iqn+volume, "-p", portal+":3260", "--login"); err != nil {
		return nil, fmt.Errorf("failed to start frontend: %w", err)
	}
	device, err := attach(file, filepath.Join(devices, volume))
	if err != nil {
		logout(ctx, volume, portal)
	}
	return device, err
}

// dataFolder is the folder of the replica that has a place on this node.
func (c *cluster) dataFolder(ctx context.Context, volume string) (string, error) {
	replicas, err := c.all(ctx, "replicas")
	if err != nil {
		return "", err
	}
	for _, replica := range ofVolume(replicas, volume) {
		if text(&replica, "spec", "nodeID") == c.node {
			return text(&replica, "spec", "dataDirectoryName"), nil
		}
	}
	return "", fmt.Errorf("volume %s has no replica on this node", volume)
}

func logout(ctx context.Context, volume, portal string) {
	if _, err := onHost(ctx, "iscsiadm", "-m", "node", "-T", iqn+volume, "-p", portal+":3260", "--logout"); err != nil {
		log.Print(err)
	}
}

func stopEngine(ctx context.Context, volume string, device *os.File, portal string) {
	device.Close()
	if err := os.Remove(filepath.Join(devices, volume)); err != nil {
		log.Print(err)
	}
	logout(ctx, volume, portal)
}

// attach puts a loop device on the file. It goes by itself once nobody has it open or mounted: a machine that loses its power leaves none.
func attach(file *os.File, node string) (*os.File, error) {
	if err := os.MkdirAll(devices, 0o755); err != nil {
		return nil, err
	}
	if again, err := reopen(file, node); err == nil {
		return again, nil
	}
	control, err := os.OpenFile("/host/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 16 {
		free, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("no free loop device: %w", err)
		}
		os.Remove(node)
		if err := unix.Mknod(node, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(free)))); err != nil {
			return nil, err
		}
		device, err := os.OpenFile(node, os.O_RDWR|syscall.O_EXCL, 0)
		if err != nil {
			continue
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(device.Fd()), &config); err == nil {
			return shared(device, node)
		}
		device.Close()
		// Another machine of this computer took it first.
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("loop device %d: %w", free, err)
		}
	}
	return nil, errors.New("no loop device could be had")
}

// shared exchanges the handle that nobody else may mount beside for one that allows it.
func shared(device *os.File, node string) (*os.File, error) {
	defer device.Close()
	return os.OpenFile(node, os.O_RDWR, 0)
}

// reopen takes over a device that an instance manager before this one left, because it is still mounted.
func reopen(file *os.File, node string) (*os.File, error) {
	device, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	own, statErr := file.Stat()
	if err == nil && statErr == nil {
		if stat, ok := own.Sys().(*syscall.Stat_t); ok && info.Inode == stat.Ino && info.Device == stat.Dev {
			return device, nil
		}
	}
	device.Close()
	return nil, errors.New("another device")
}
