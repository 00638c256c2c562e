// Stands in for Longhorn, which is not to be had here: the programs of all its images in one, told apart by the name they are called by. It
// runs on a real Kubernetes, and keeps of Longhorn 1.2.3 and 1.11.3 what a cluster, its kubelet and whoever installs it can see:
//
//   - the manager does not start without iscsiadm on the host; it makes settings, node, engine image and instance manager with Longhorn's
//     finalizer, conditions as a map (v1beta1) or a list (v1beta2), and the class `longhorn` from its ConfigMap long before the CSI driver works;
//   - webhooks with failurePolicy Fail (1.11.3 only), which also judge changes of every claim of the cluster;
//   - the driver deployer looks for kubelet's root in the arguments of a process `kubelet`, and does not look again once it has deployed;
//   - volumes with an engine, replicas and both rules of space: one that does not fit is bound all the same, and never attaches;
//   - a CSI driver that kubelet really uses, with ext4 on /dev/longhorn/VOLUME, so that kubelet sets the group of the pod;
//   - the uninstall job with its order, its conditions and its ninety seconds.
//
// What it does not have: replicas on other nodes, snapshots, backups, expansion, volumes for several nodes. Data lies in a file behind a loop
// device instead of an iSCSI disk; the session is entered in the machine's stand-in for iscsiadm.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

type program func(ctx context.Context, args []string) error

// Longhorn's programs by their file names, and those of the manager by its first argument.
var programs = map[string]program{
	"longhorn-manager":          manager,
	"longhorn-instance-manager": instanceManager,
	"longhorn":                  engineImage,
	"longhorn-ui":               ui,
	"csi-provisioner":           provisioner,
	"csi-attacher":              attacher,
	"csi-resizer":               idleSidecar,
	"csi-snapshotter":           idleSidecar,
	"csi-node-driver-registrar": registrar,
	"livenessprobe":             livenessProbe,
	"curl":                      curl,
}

func manager(ctx context.Context, args []string) error {
	for i, arg := range args {
		switch arg {
		case "daemon":
			return daemon(ctx, args[i+1:])
		case "deploy-driver":
			return deployDriver(ctx, args[i+1:])
		case "csi":
			return csiPlugin(ctx, args[i+1:])
		case "uninstall":
			return uninstall(ctx, args[i+1:])
		}
	}
	return fmt.Errorf("longhorn-manager: no command among %q", args)
}

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	run, ok := programs[filepath.Base(os.Args[0])]
	if !ok {
		log.Fatalf("%s is no program of Longhorn's", os.Args[0])
	}
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		log.Fatalf(`level=fatal msg="%v"`, err)
	}
}

// flagOf is the value of --NAME VALUE or --NAME=VALUE.
func flagOf(args []string, name string) string {
	for i, arg := range args {
		if arg == "--"+name && i+1 < len(args) {
			return args[i+1]
		}
		if value, ok := cut(arg, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}
