// Volumes: each with one engine and its replicas, scheduled by the rules of space, attached to a node and detached again.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// bytesOf is the size of a volume, an engine or a replica, which Longhorn writes as a text.
func bytesOf(o *object) int64 {
	for _, field := range []string{"size", "volumeSize"} {
		if size, err := strconv.ParseInt(text(o, "spec", field), 10, 64); err == nil {
			return size
		}
	}
	return 0
}

func cpuMilli(quantity string) int64 {
	q, err := resource.ParseQuantity(quantity)
	if err != nil {
		return 0
	}
	return q.MilliValue()
}

func ofVolume(all []object, volume string) []object {
	found := []object{}
	for _, each := range all {
		if text(&each, "spec", "volumeName") == volume {
			found = append(found, each)
		}
	}
	return found
}

func (c *cluster) keepVolumes(ctx context.Context, use images) error {
	volumes, err := c.all(ctx, "volumes")
	if err != nil {
		return err
	}
	engines, err := c.all(ctx, "engines")
	if err != nil {
		return err
	}
	replicas, err := c.all(ctx, "replicas")
	if err != nil {
		return err
	}
	if c.webhooks {
		if err := c.followAttachments(ctx, volumes); err != nil {
			return err
		}
	}
	for _, volume := range volumes {
		name := volume.GetName()
		if err := c.keepVolume(ctx, &volume, ofVolume(engines, name), ofVolume(replicas, name), replicas, use); err != nil {
			return fmt.Errorf("volume %s: %w", name, err)
		}
	}
	return c.forget(ctx, volumes, engines, replicas)
}

func (c *cluster) keepVolume(ctx context.Context, volume *object, engines, replicas, allReplicas []object, use images) error {
	if volume.GetDeletionTimestamp() != nil {
		return c.deleteVolume(ctx, volume, engines, replicas)
	}
	name, labels := volume.GetName(), dict{"longhornvolume": volume.GetName()}
	if len(engines) == 0 {
		return c.make(ctx, "engines", c.own("Engine", name+"-e-"+hash8(name), labels, dict{
			"volumeName": name, "volumeSize": text(volume, "spec", "size"), "nodeID": "", "desireState": "stopped", "engineImage": use.engine,
			"image": use.engine, "frontend": "blockdev", "active": true,
		}))
	}
	complete := true
	for i := int64(len(replicas)); i < max(1, number(volume, "spec", "numberOfReplicas")); i++ {
		complete = false
		id := hash8(fmt.Sprint(name, i))
		if err := c.make(ctx, "replicas", c.own("Replica", name+"-r-"+id, labels, dict{
			"volumeName": name, "volumeSize": text(volume, "spec", "size"), "nodeID": "", "desireState": "stopped", "engineImage": use.engine,
			"image": use.engine, "active": true, "healthyAt": "", "failedAt": "", "dataDirectoryName": name + "-" + id, "diskPath": "", "diskID": "",
		})); err != nil {
			return err
		}
	}
	// What was made just now comes back as a change, and is looked at then.
	if !complete {
		return nil
	}
	scheduled, problem, err := c.schedule(ctx, volume, replicas, allReplicas)
	if err != nil {
		return err
	}
	return c.reportVolume(ctx, volume, &engines[0], replicas, scheduled, problem)
}

// schedule gives a node to the first replica, if the disk has room for it. The others find none: one node holds one replica of a volume.
func (c *cluster) schedule(ctx context.Context, volume *object, replicas, all []object) (scheduled int, problem string, err error) {
	for _, replica := range replicas {
		if text(&replica, "spec", "nodeID") != "" {
			scheduled++
		}
	}
	if scheduled > 0 || len(replicas) == 0 {
		if scheduled < len(replicas) {
			problem = "replica scheduling failed"
		}
		return scheduled, problem, nil
	}
	node, err := c.get(ctx, "nodes", c.node)
	if err != nil {
		return 0, "node not found", unlessGone(err)
	}
	disks, _ := dig(node.Object, "spec", "disks").(dict)
	for name, spec := range disks {
		disk := &object{Object: dict{"spec": spec}}
		if ready := conditionIn(dig(node.Object, "status", "diskStatus", name, "conditions"), "Ready"); ready["status"] != "True" {
			return 0, "disks are unavailable", nil
		}
		r, err := c.room(ctx, number(disk, "spec", "storageReserved"), all)
		if err != nil {
			return 0, "", err
		}
		if !r.fits(bytesOf(volume), 0) {
			return 0, "insufficient storage", nil
		}
		path := text(disk, "spec", "path")
		// Known to the next volume of this round, too.
		first := &replicas[0]
		first.Object["spec"].(dict)["nodeID"] = c.node
		for i := range all {
			if all[i].GetName() == first.GetName() {
				all[i].Object["spec"].(dict)["nodeID"] = c.node
			}
		}
		id := text(&object{Object: node.Object}, "status", "diskStatus", name, "diskUUID")
		return 1, "", c.patch(ctx, "replicas", first.GetName(), dict{"spec": dict{"nodeID": c.node, "diskPath": path, "diskID": id, "healthyAt": now()}})
	}
	return 0, "disks are unavailable", nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// reportVolume moves the engine towards the node that the volume is wanted on, and tells what came of it.
func (c *cluster) reportVolume(ctx context.Context, volume, engine *object, replicas []object, scheduled int, problem string) error {
	wanted, running := text(volume, "spec", "nodeID"), text(engine, "status", "currentState") == "running"
	condition := [4]string{c.scheduled, "True", "", ""}
	if scheduled == 0 {
		condition = [4]string{c.scheduled, "False", "ReplicaSchedulingFailure", problem}
		wanted = ""
	}
	if err := c.markVolume(ctx, volume, scheduled == 0, problem); err != nil {
		return err
	}
	desire := "stopped"
	if wanted != "" {
		desire = "running"
	}
	if text(engine, "spec", "desireState") != desire || text(engine, "spec", "nodeID") != wanted && wanted != "" {
		if err := c.patch(ctx, "engines", engine.GetName(), dict{"spec": dict{"desireState": desire, "nodeID": wanted}}); err != nil {
			return err
		}
	}
	state, robustness, current := "detached", "unknown", ""
	switch {
	case wanted != "" && running:
		state, robustness, current = "attached", "healthy", wanted
		if scheduled < len(replicas) || scheduled < int(number(volume, "spec", "numberOfReplicas")) {
			robustness = "degraded"
		}
	case wanted != "":
		state = "attaching"
		// It goes round: an engine that cannot start takes the volume down again.
		if text(engine, "status", "currentState") == "error" && text(volume, "status", "state") == "attaching" {
			state = "detaching"
		}
	case running:
		state = "detaching"
	}
	for _, replica := range replicas {
		is, should := "stopped", "stopped"
		if text(&replica, "spec", "nodeID") != "" && state == "attached" {
			is, should = "running", "running"
		}
		if text(&replica, "spec", "desireState") != should {
			if err := c.patch(ctx, "replicas", replica.GetName(), dict{"spec": dict{"desireState": should}}); err != nil {
				return err
			}
		}
		if err := c.report(ctx, "replicas", &replica, dict{"currentState": is, "ownerID": c.node}); err != nil {
			return err
		}
	}
	restore := [4]string{"restore", "False", "", ""}
	if c.listed {
		restore[0] = "Restore"
	}
	status := dict{"state": state, "robustness": robustness, "currentNodeID": current, "ownerID": c.node, "actualSize": actualSize(replicas),
		"conditions": c.conditions(volume, condition, restore), "kubernetesStatus": c.kubernetesStatus(ctx, volume)}
	return c.report(ctx, "volumes", volume, status)
}

// kubernetesStatus tells which claim the volume is of.
func (c *cluster) kubernetesStatus(ctx context.Context, volume *object) dict {
	pv, err := c.get(ctx, "persistentvolumes", volume.GetName())
	if err != nil {
		return dict{"pvName": "", "pvStatus": "", "namespace": "", "pvcName": ""}
	}
	return dict{"pvName": pv.GetName(), "pvStatus": text(pv, "status", "phase"), "namespace": text(pv, "spec", "claimRef", "namespace"),
		"pvcName": text(pv, "spec", "claimRef", "name")}
}

const schedulingError = "longhorn.io/volume-scheduling-error"

// markVolume writes at Kubernetes' volume that there is no room for it: 1.2.3 does not do that yet.
func (c *cluster) markVolume(ctx context.Context, volume *object, unscheduled bool, problem string) error {
	if !c.webhooks {
		return nil
	}
	pv, err := c.get(ctx, "persistentvolumes", volume.GetName())
	if err != nil {
		return unlessGone(err)
	}
	was, marked := pv.GetAnnotations()[schedulingError]
	switch {
	case unscheduled && (!marked || was != problem):
		return c.patch(ctx, "persistentvolumes", pv.GetName(), dict{"metadata": dict{"annotations": dict{schedulingError: problem}}})
	case !unscheduled && marked:
		return c.patch(ctx, "persistentvolumes", pv.GetName(), dict{"metadata": dict{"annotations": dict{schedulingError: nil}}})
	}
	return nil
}

// followAttachments: in 1.11 a volume is where Longhorn's own attachment of it has a ticket for.
func (c *cluster) followAttachments(ctx context.Context, volumes []object) error {
	for _, volume := range volumes {
		own, err := c.get(ctx, "volumeattachments", volume.GetName())
		if apierrors.IsNotFound(err) {
			if volume.GetDeletionTimestamp() == nil {
				err = c.make(ctx, "volumeattachments", c.own("VolumeAttachment", volume.GetName(), dict{"longhornvolume": volume.GetName()},
					dict{"volume": volume.GetName(), "attachmentTickets": dict{}}))
			} else {
				err = nil
			}
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		wanted := ""
		tickets, _ := dig(own.Object, "spec", "attachmentTickets").(dict)
		for _, ticket := range tickets {
			wanted, _ = dig(ticket, "nodeID").(string)
		}
		if text(&volume, "spec", "nodeID") != wanted && volume.GetDeletionTimestamp() == nil {
			if err := c.patch(ctx, "volumes", volume.GetName(), dict{"spec": dict{"nodeID": wanted}}); err != nil {
				return err
			}
			volume.Object["spec"].(dict)["nodeID"] = wanted
		}
	}
	return nil
}

func (c *cluster) deleteVolume(ctx context.Context, volume *object, engines, replicas []object) error {
	if err := c.report(ctx, "volumes", volume, dict{"state": "deleting"}); err != nil {
		return unlessGone(err)
	}
	for _, engine := range engines {
		if text(&engine, "spec", "desireState") != "stopped" {
			if err := c.patch(ctx, "engines", engine.GetName(), dict{"spec": dict{"desireState": "stopped", "nodeID": ""}}); err != nil {
				return unlessGone(err)
			}
		}
		if state := text(&engine, "status", "currentState"); state == "running" && c.engineLives(ctx) {
			return nil
		}
		if err := c.letGo(ctx, "engines", &engine); err != nil {
			return err
		}
	}
	for _, replica := range replicas {
		if err := c.letGo(ctx, "replicas", &replica); err != nil {
			return err
		}
	}
	if c.webhooks {
		if own, err := c.get(ctx, "volumeattachments", volume.GetName()); err == nil {
			if err := c.letGo(ctx, "volumeattachments", own); err != nil {
				return err
			}
		}
	}
	return c.dropFinalizer(ctx, "volumes", volume, finalizer)
}

// engineLives tells whether there is an instance manager that can stop an engine.
func (c *cluster) engineLives(ctx context.Context) bool {
	all, err := c.all(ctx, "instancemanagers")
	if err != nil {
		return true
	}
	for _, each := range all {
		if text(&each, "status", "currentState") == "running" {
			return true
		}
	}
	return false
}

// letGo deletes an object of a volume for good; with a replica goes its folder.
func (c *cluster) letGo(ctx context.Context, plural string, o *object) error {
	if folder := text(o, "spec", "dataDirectoryName"); plural == "replicas" && folder != "" && text(o, "spec", "nodeID") == c.node {
		if err := os.RemoveAll(filepath.Join(dataPath, "replicas", filepath.Base(folder))); err != nil {
			return err
		}
	}
	if o.GetDeletionTimestamp() == nil {
		if err := c.remove(ctx, plural, o.GetName()); err != nil {
			return err
		}
	}
	return c.dropFinalizer(ctx, plural, o, finalizer)
}

// forget takes away what is left of volumes that are gone.
func (c *cluster) forget(ctx context.Context, volumes, engines, replicas []object) error {
	there := map[string]bool{}
	for _, volume := range volumes {
		there[volume.GetName()] = true
	}
	for plural, all := range map[string][]object{"engines": engines, "replicas": replicas} {
		for _, each := range all {
			if !there[text(&each, "spec", "volumeName")] {
				if err := c.letGo(ctx, plural, &each); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// actualSize is what the replicas' files take up on the disk.
func actualSize(replicas []object) int64 {
	var sum int64
	for _, replica := range replicas {
		info, err := os.Stat(imageFile(text(&replica, "spec", "dataDirectoryName")))
		if err == nil {
			sum += blocks(info) * 512
		}
	}
	return sum
}
