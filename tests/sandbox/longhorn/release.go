// What differs between the two versions of Longhorn, in one table.
package main

import (
	"fmt"
	"os"
	"strings"
)

type release struct {
	version string
	api     string
	// Conditions are a list with a type in each, or else a map by type.
	listed bool
	// The condition of a volume that says whether it found room.
	scheduled string
	webhooks  bool
	// How much may be promised, in percent of a disk without its reserve.
	overProvisioning string
	// Uninstalling wants the setting deleting-confirmation-flag.
	confirmation bool
	// The kinds of instance managers that a node has.
	instanceManagers []string
	// The provisioner wants Kubernetes' VolumeAttributesClass v1, and keeps a finalizer on volumes.
	newProvisioner bool
	// Kubernetes' old APIs that the manager watches and cannot do without.
	oldAPIs bool
	// The class longhorn-static is made, too.
	staticClass bool
	// Images of the CSI programs, where the manifest does not say others.
	images map[string]string
	// The liveness probe is a third container of the plugin.
	livenessProbe bool
}

var releases = map[string]release{
	"v1.2.3": {
		version: "v1.2.3", api: "v1beta1", scheduled: "scheduled", overProvisioning: "200",
		instanceManagers: []string{"engine", "replica"}, oldAPIs: true,
		images: map[string]string{
			"CSI_ATTACHER_IMAGE": "longhornio/csi-attacher:v3.2.1", "CSI_PROVISIONER_IMAGE": "longhornio/csi-provisioner:v2.1.2",
			"CSI_RESIZER_IMAGE": "longhornio/csi-resizer:v1.2.0", "CSI_SNAPSHOTTER_IMAGE": "longhornio/csi-snapshotter:v3.0.3",
			"CSI_NODE_DRIVER_REGISTRAR_IMAGE": "longhornio/csi-node-driver-registrar:v2.3.0",
		},
	},
	"v1.11.3": {
		version: "v1.11.3", api: "v1beta2", listed: true, scheduled: "Scheduled", webhooks: true, overProvisioning: "100",
		confirmation: true, instanceManagers: []string{"aio"}, newProvisioner: true, staticClass: true, livenessProbe: true,
		images: map[string]string{
			"CSI_ATTACHER_IMAGE": "longhornio/csi-attacher:v4.12.0", "CSI_PROVISIONER_IMAGE": "longhornio/csi-provisioner:v6.3.0",
			"CSI_RESIZER_IMAGE": "longhornio/csi-resizer:v2.2.0", "CSI_SNAPSHOTTER_IMAGE": "longhornio/csi-snapshotter:v8.6.0",
			"CSI_NODE_DRIVER_REGISTRAR_IMAGE": "longhornio/csi-node-driver-registrar:v2.17.0",
			"CSI_LIVENESS_PROBE_IMAGE":        "longhornio/livenessprobe:v2.19.0",
		},
	},
}

// ownRelease is the one that the image says it is.
func ownRelease() (release, error) {
	version := os.Getenv("LONGHORN_STANDIN_VERSION")
	found, ok := releases[version]
	if !ok {
		return release{}, fmt.Errorf("LONGHORN_STANDIN_VERSION is %q: there is no such version of the stand-in", version)
	}
	return found, nil
}

// engineImageName is Longhorn's name for it: a hash in the real one, and long enough to look like it.
func engineImageName(image string) string { return "ei-" + hash8(image) }

func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return version
	}
	return parts[0] + "." + parts[1]
}
