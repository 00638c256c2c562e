// What a node of Longhorn's consists of: itself with its disk, the engine image, the instance managers.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const dataPath = "/var/lib/longhorn"

// space is what the file system under the data says of itself.
type space struct {
	id                 string
	maximum, available int64
	kind               string
}

func measure() (space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dataPath, &s); err != nil {
		return space{}, err
	}
	kind := map[int64]string{0xef53: "ext2/ext3", 0x58465342: "xfs", 0x794c7630: "overlayfs"}[s.Type]
	return space{
		id: fmt.Sprintf("%08x%08x", uint32(s.Fsid.Val[0]), uint32(s.Fsid.Val[1])), kind: kind,
		maximum: int64(s.Blocks) * s.Bsize, available: int64(s.Bavail) * s.Bsize,
	}, nil
}

// registerNode makes it once, when the manager starts.
func (c *cluster) registerNode(ctx context.Context) error {
	if _, err := c.get(ctx, "nodes", c.node); !apierrors.IsNotFound(err) {
		return err
	}
	disk, err := measure()
	if err != nil {
		return err
	}
	reserved := disk.maximum * c.percentage(ctx, "storage-reserved-percentage-for-default-disk", 30) / 100
	spec := dict{"path": dataPath + "/", "allowScheduling": true, "evictionRequested": false, "storageReserved": reserved, "tags": list{}}
	if c.listed {
		spec["diskType"], spec["diskDriver"] = "filesystem", ""
	}
	return c.make(ctx, "nodes", c.own("Node", c.node, nil, dict{
		"name": c.node, "allowScheduling": true, "evictionRequested": false, "tags": list{},
		"disks": dict{"default-disk-" + disk.id: spec},
	}))
}

// diskUUID is in a file on the disk, which stays there for good.
func diskUUID(id string) (string, error) {
	path := filepath.Join(dataPath, "longhorn-disk.cfg")
	var known struct {
		DiskUUID string `json:"diskUUID"`
	}
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &known) == nil && known.DiskUUID != "" {
		return known.DiskUUID, nil
	}
	raw, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return "", err
	}
	known.DiskUUID = strings.TrimSpace(string(raw))
	data, _ := json.Marshal(known)
	for _, folder := range []string{"replicas", "engine-binaries", "unix-domain-socket"} {
		if err := os.MkdirAll(filepath.Join(dataPath, folder), 0o755); err != nil {
			return "", err
		}
	}
	return known.DiskUUID, os.WriteFile(path, data, 0o644)
}

// room is what the two rules of space judge by.
type room struct{ maximum, available, reserved, scheduled, overProvisioning, minimal int64 }

// fits is Longhorn's rule: what is free must stay above a part of the whole, and what is promised below a part of what may be promised.
func (r room) fits(size, required int64) bool {
	return r.maximum > 0 && r.available > 0 &&
		r.available-required > r.maximum*r.minimal/100 &&
		size+r.scheduled <= (r.maximum-r.reserved)*r.overProvisioning/100
}

func (c *cluster) room(ctx context.Context, reserved int64, replicas []object) (room, error) {
	disk, err := measure()
	r := room{maximum: disk.maximum, available: disk.available, reserved: reserved,
		overProvisioning: c.percentage(ctx, "storage-over-provisioning-percentage", 100),
		minimal:          c.percentage(ctx, "storage-minimal-available-percentage", 25)}
	for _, each := range replicas {
		if text(&each, "spec", "nodeID") == c.node {
			r.scheduled += bytesOf(&each)
		}
	}
	return r, err
}

func (c *cluster) reportNode(ctx context.Context, observed [][4]string) error {
	node, err := c.get(ctx, "nodes", c.node)
	if err != nil {
		return unlessGone(err)
	}
	replicas, err := c.all(ctx, "replicas")
	if err != nil {
		return err
	}
	ready := [4]string{"Ready", "True", "", fmt.Sprintf("Node %s is ready", c.node)}
	if pressure := c.pressure(ctx); pressure != "" {
		ready = [4]string{"Ready", "False", "KubernetesNodePressure", fmt.Sprintf("Kubernetes node %s has pressure: %s", c.node, pressure)}
	}
	propagation := [4]string{"MountPropagation", "True", "", ""}
	if !c.sharesMounts(ctx) {
		propagation = [4]string{"MountPropagation", "False", "NoMountPropagationSupport", "The MountPropagation value NoMountPropagationSupport is not detected from the node"}
	}
	all := [][4]string{ready, propagation, {"Schedulable", "True", "", ""}}
	if c.listed {
		all = append(all, observed...)
	}
	disks, states := dig(node.Object, "spec", "disks"), dict{}
	specs, _ := disks.(dict)
	for name, spec := range specs {
		state, err := c.diskState(ctx, node, name, &object{Object: dict{"spec": spec}}, replicas)
		if err != nil {
			return err
		}
		states[name] = state
	}
	return c.report(ctx, "nodes", node, dict{"conditions": c.conditions(node, all...), "diskStatus": states, "region": "", "zone": ""})
}

func (c *cluster) diskState(ctx context.Context, node *object, name string, spec *object, replicas []object) (dict, error) {
	path := text(spec, "spec", "path")
	r, err := c.room(ctx, number(spec, "spec", "storageReserved"), replicas)
	if err != nil {
		return nil, err
	}
	disk, err := measure()
	if err != nil {
		return nil, err
	}
	uuid, err := diskUUID(disk.id)
	if err != nil {
		return nil, err
	}
	ready := [4]string{"Ready", "True", "", fmt.Sprintf("Disk %s(%s) on node %s is ready", name, path, c.node)}
	schedulable := [4]string{"Schedulable", "True", "", fmt.Sprintf("Disk %s(%s) on node %s is schedulable", name, path, c.node)}
	switch {
	case disk.kind == "overlayfs" || disk.kind == "":
		ready = [4]string{"Ready", "False", "DiskFilesystemChanged", fmt.Sprintf("Disk %s(%s) on node %s is not ready: its file system does not support extents", name, path, c.node)}
		schedulable = [4]string{"Schedulable", "False", "DiskNotReady", fmt.Sprintf("Disk %s(%s) on node %s is not ready", name, path, c.node)}
	case !r.fits(0, 0):
		schedulable = [4]string{"Schedulable", "False", "DiskPressure", fmt.Sprintf(
			"Disk %s (%s) on the node %s has %d available, but requires reserved %d, minimal %d%% to schedule more replicas", name, path, c.node, r.available, r.reserved, r.minimal)}
	}
	scheduled := dict{}
	for _, each := range replicas {
		if text(&each, "spec", "nodeID") == c.node {
			scheduled[each.GetName()] = bytesOf(&each)
		}
	}
	was := &object{Object: dict{"status": dig(node.Object, "status", "diskStatus", name)}}
	state := dict{"conditions": c.conditions(was, ready, schedulable), "diskUUID": uuid, "scheduledReplica": scheduled,
		"storageAvailable": r.available >> 20 << 20, "storageMaximum": r.maximum, "storageScheduled": r.scheduled}
	if c.listed {
		state["diskName"], state["diskPath"], state["diskType"], state["filesystemType"] = name, path, "filesystem", disk.kind
	}
	return state, nil
}

// pressure names what presses on Kubernetes' own node.
func (c *cluster) pressure(ctx context.Context) string {
	node, err := c.get(ctx, "nodes-of-kubernetes", c.node)
	if err != nil {
		return ""
	}
	for _, kind := range []string{"DiskPressure", "MemoryPressure", "PIDPressure"} {
		if condition(node, kind)["status"] == "True" {
			return kind
		}
	}
	return ""
}

// sharesMounts asks no more than Longhorn does: that the manager's own pod was admitted with a mount that goes both ways.
func (c *cluster) sharesMounts(ctx context.Context) bool {
	pods, err := c.all(ctx, "pods")
	if err != nil {
		return false
	}
	for _, pod := range pods {
		if pod.GetLabels()["app"] != "longhorn-manager" || text(&pod, "spec", "nodeName") != c.node {
			continue
		}
		containers, _ := dig(pod.Object, "spec", "containers").(list)
		for _, container := range containers {
			mounts, _ := dig(container, "volumeMounts").(list)
			for _, mount := range mounts {
				if dig(mount, "mountPropagation") == "Bidirectional" {
					return true
				}
			}
		}
	}
	return false
}

// finishDeletion lets go of nodes and engine images that are deleted. When the whole namespace goes, Longhorn's manager goes with it and mostly
// comes too late; this one always does, so that what is left is the same every time.
func (c *cluster) finishDeletion(ctx context.Context) error {
	if home, err := c.get(ctx, "namespaces", c.ns); err != nil || home.GetDeletionTimestamp() != nil {
		return err
	}
	for _, plural := range []string{"nodes", "engineimages"} {
		all, err := c.all(ctx, plural)
		if err != nil {
			return err
		}
		for _, each := range all {
			if each.GetDeletionTimestamp() == nil {
				continue
			}
			if plural == "engineimages" {
				if err := c.remove(ctx, "daemonsets", "engine-image-"+each.GetName()); err != nil {
					return err
				}
			}
			if err := c.dropFinalizer(ctx, plural, &each, finalizer); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) keepEngineImages(ctx context.Context, use images) error {
	all, err := c.all(ctx, "engineimages")
	if err != nil {
		return err
	}
	for _, image := range all {
		if image.GetDeletionTimestamp() != nil {
			continue
		}
		if err := c.deployEngineImage(ctx, image.GetName(), text(&image, "spec", "image"), use.serviceAccount); err != nil {
			return err
		}
		if err := c.reportEngineImage(ctx, &image); err != nil {
			return unlessGone(err)
		}
	}
	return nil
}

func (c *cluster) deployEngineImage(ctx context.Context, name, image, account string) error {
	labels := dict{"longhorn.io/component": "engine-image", "longhorn.io/engine-image": name, "longhorn.io/managed-by": "longhorn-manager"}
	folder := dataPath + "/engine-binaries/" + strings.NewReplacer("/", "-", ":", "-").Replace(image)
	return c.make(ctx, "daemonsets", dict{
		"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": dict{"name": "engine-image-" + name, "namespace": c.ns, "labels": labels},
		"spec": dict{"selector": dict{"matchLabels": labels}, "template": dict{"metadata": dict{"labels": labels}, "spec": dict{
			"serviceAccountName":            account,
			"terminationGracePeriodSeconds": int64(1),
			"containers": list{dict{
				"name": "engine-image-" + name, "image": image, "imagePullPolicy": "IfNotPresent", "command": list{"longhorn"},
				"securityContext": dict{"privileged": true}, "volumeMounts": list{dict{"name": "data", "mountPath": "/data/"}},
				"readinessProbe": dict{"exec": dict{"command": list{"test", "-x", "/data/longhorn"}}, "periodSeconds": int64(5)},
			}},
			"volumes": list{dict{"name": "data", "hostPath": dict{"path": folder, "type": "DirectoryOrCreate"}}},
		}}},
	})
}

func (c *cluster) reportEngineImage(ctx context.Context, image *object) error {
	name := image.GetName()
	state, ready := "deploying", [4]string{"ready", "False", "daemonSet", "no running engine image pod"}
	set, err := c.get(ctx, "daemonsets", "engine-image-"+name)
	if err == nil && number(set, "status", "numberReady") > 0 {
		state = "deployed"
		ready = [4]string{"ready", "True", "", "Engine image " + name + " (" + text(image, "spec", "image") + ") is fully deployed on all ready nodes"}
	}
	return c.report(ctx, "engineimages", image, dict{"state": state, "ownerID": c.node, "conditions": c.conditions(image, ready),
		"nodeDeploymentMap": dict{c.node: state == "deployed"}, "version": c.version})
}

// keepInstanceManagers has them for a node that stays: they belong to it and go with it.
func (c *cluster) keepInstanceManagers(ctx context.Context, use images) error {
	node, err := c.get(ctx, "nodes", c.node)
	if err != nil || node.GetDeletionTimestamp() != nil {
		return unlessGone(err)
	}
	for _, kind := range c.instanceManagers {
		name := fmt.Sprintf("instance-manager-%s-%s", kind[:1], hash8(c.node+use.instanceManager+kind))
		if kind == "aio" {
			name = "instance-manager-" + hash8(c.node+use.instanceManager) + hash8(name)
		}
		spec := dict{"image": use.instanceManager, "nodeID": c.node, "type": kind}
		if c.listed {
			spec["dataEngine"] = "v1"
		} else {
			spec["engineImage"] = ""
		}
		labels := dict{"longhorn.io/component": "instance-manager", "longhorn.io/instance-manager-type": kind,
			"longhorn.io/instance-manager-image": "imi-" + hash8(use.instanceManager), "longhorn.io/node": c.node, "longhorn.io/managed-by": "longhorn-manager"}
		wanted := c.own("InstanceManager", name, labels, spec)
		wanted["metadata"] = dict{"name": name, "namespace": c.ns, "labels": labels, "ownerReferences": list{owner(node)}}
		if err := c.make(ctx, "instancemanagers", wanted); err != nil {
			return err
		}
		own, err := c.get(ctx, "instancemanagers", name)
		if err != nil {
			return unlessGone(err)
		}
		pod, err := c.get(ctx, "pods", name)
		if apierrors.IsNotFound(err) {
			err = c.make(ctx, "pods", c.instanceManagerPod(ctx, name, kind, labels, own, use))
			pod = &object{Object: dict{}}
		}
		if err != nil {
			return err
		}
		state := "starting"
		switch phase := text(pod, "status", "phase"); {
		case phase == "Running" && condition(pod, "Ready")["status"] == "True":
			state = "running"
		case phase == "Failed" || phase == "Succeeded":
			// A pod that ended is of no use any more: the next look makes another.
			state = "error"
			if err := c.remove(ctx, "pods", name); err != nil {
				return err
			}
		}
		if err := c.report(ctx, "instancemanagers", own, dict{"currentState": state, "ownerID": c.node, "ip": text(pod, "status", "podIP")}); err != nil {
			return err
		}
	}
	return nil
}

func owner(o *object) dict {
	return dict{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "name": o.GetName(), "uid": string(o.GetUID()), "blockOwnerDeletion": true}
}

func (c *cluster) instanceManagerPod(ctx context.Context, name, kind string, labels dict, own *object, use images) dict {
	milli := int64(0)
	if node, err := c.get(ctx, "nodes-of-kubernetes", c.node); err == nil {
		milli = cpuMilli(text(node, "status", "allocatable", "cpu")) * 12 / 100
	}
	mount := func(name, path, way string) dict {
		m := dict{"name": name, "mountPath": path}
		if way != "" {
			m["mountPropagation"] = way
		}
		return m
	}
	host := func(name, path string) dict { return dict{"name": name, "hostPath": dict{"path": path}} }
	return dict{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": dict{"name": name, "namespace": c.ns, "labels": labels, "ownerReferences": list{owner(own)}},
		"spec": dict{
			"serviceAccountName": use.serviceAccount, "nodeName": c.node, "restartPolicy": "Never", "terminationGracePeriodSeconds": int64(5),
			"containers": list{dict{
				"name": kind + "-manager", "image": use.instanceManager, "imagePullPolicy": "IfNotPresent",
				"command":         list{"longhorn-instance-manager", "--debug", "daemon", "--listen", "0.0.0.0:8500", "--type", kind},
				"securityContext": dict{"privileged": true},
				"resources":       dict{"requests": dict{"cpu": fmt.Sprintf("%dm", milli)}},
				"readinessProbe":  dict{"tcpSocket": dict{"port": int64(8500)}, "periodSeconds": int64(3)},
				"env": list{
					dict{"name": "POD_NAMESPACE", "value": c.ns}, dict{"name": "NODE_NAME", "value": c.node},
					dict{"name": "POD_IP", "valueFrom": dict{"fieldRef": dict{"fieldPath": "status.podIP"}}},
				},
				"volumeMounts": list{mount("proc", "/host/proc", ""), mount("dev", "/host/dev", ""), mount("data", dataPath, "Bidirectional")},
			}},
			"volumes": list{host("proc", "/proc"), host("dev", "/dev"), host("data", dataPath)},
		},
	}
}
