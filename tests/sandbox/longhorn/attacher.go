// The attacher: what Kubernetes wants attached, Longhorn is asked for, and what came of it is written down where Kubernetes looks.
package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func attacher(ctx context.Context, args []string) error {
	return asLeader(ctx, args, "external-attacher-leader-driver-longhorn-io", func(ctx context.Context, c *cluster) error {
		since := map[string]time.Time{}
		return c.whenever(ctx, []string{"volumeattachments-of-kubernetes", "persistentvolumes", "volumes", "engines"}, func(ctx context.Context) error {
			all, err := c.all(ctx, "volumeattachments-of-kubernetes")
			if err != nil {
				return err
			}
			for _, each := range all {
				if text(&each, "spec", "attacher") != driver {
					continue
				}
				if _, known := since[each.GetName()]; !known {
					since[each.GetName()] = time.Now()
				}
				if each.GetDeletionTimestamp() != nil {
					err = c.detach(ctx, &each)
				} else {
					err = c.attach(ctx, &each, since[each.GetName()])
				}
				if err != nil {
					return fmt.Errorf("attachment %s: %w", each.GetName(), err)
				}
			}
			return c.letVolumesGo(ctx)
		})
	})
}

func (c *cluster) attach(ctx context.Context, va *object, since time.Time) error {
	pv, err := c.get(ctx, "persistentvolumes", text(va, "spec", "source", "persistentVolumeName"))
	if err != nil {
		return unlessGone(err)
	}
	for plural, o := range map[string]*object{"volumeattachments-of-kubernetes": va, "persistentvolumes": pv} {
		if !slices.Contains(o.GetFinalizers(), attacherHolds) {
			if err := c.patch(ctx, plural, o.GetName(), dict{"metadata": dict{"finalizers": append(o.GetFinalizers(), attacherHolds)}}); err != nil {
				return err
			}
		}
	}
	name, node := text(pv, "spec", "csi", "volumeHandle"), text(va, "spec", "nodeName")
	volume, err := c.get(ctx, "volumes", name)
	if apierrors.IsNotFound(err) {
		return c.refuse(ctx, va, fmt.Sprintf("rpc error: code = NotFound desc = volume %s not found", name))
	}
	if err != nil {
		return err
	}
	if scheduled := condition(volume, c.scheduled); scheduled["status"] == "False" && !c.webhooks {
		return c.refuse(ctx, va, fmt.Sprintf("rpc error: code = Internal desc = Bad response statusCode [500]. Status [500 Internal Server Error]. Body: "+
			"[message=unable to attach volume %s to %s: volume %s not scheduled, code=Server Error, detail=] from [http://longhorn-backend:9500/v1/volumes/%s?action=attach]", name, node, name, name))
	}
	if err := c.want(ctx, volume, va.GetName(), node); err != nil {
		return err
	}
	if text(volume, "status", "state") == "attached" && text(volume, "status", "currentNodeID") == node {
		return c.report(ctx, "volumeattachments-of-kubernetes", va, dict{"attached": true, "attachError": nil})
	}
	if why := c.obstacle(ctx, volume); why != "" && time.Since(since) > 5*time.Second {
		return c.refuse(ctx, va, fmt.Sprintf("rpc error: code = DeadlineExceeded desc = volume %s failed to attach to node %s with attachmentID %s: %s", name, node, va.GetName(), why))
	}
	return nil
}

// obstacle is why a volume does not get attached.
func (c *cluster) obstacle(ctx context.Context, volume *object) string {
	if scheduled := condition(volume, c.scheduled); scheduled["status"] == "False" {
		why, _ := scheduled["message"].(string)
		return "volume is not scheduled: " + why
	}
	engines, err := c.all(ctx, "engines")
	if err != nil {
		return ""
	}
	for _, engine := range ofVolume(engines, volume.GetName()) {
		return text(&engine, "status", "errorMsg")
	}
	return ""
}

func (c *cluster) refuse(ctx context.Context, va *object, message string) error {
	if text(va, "status", "attachError", "message") == message {
		return nil
	}
	return c.patch(ctx, "volumeattachments-of-kubernetes", va.GetName(), dict{"status": dict{"attached": false, "attachError": dict{"message": message, "time": now()}}}, "status")
}

// want tells Longhorn the node that a volume is wanted on, or with none that it is not wanted any more.
func (c *cluster) want(ctx context.Context, volume *object, attachment, node string) error {
	if !c.webhooks {
		if text(volume, "spec", "nodeID") == node {
			return nil
		}
		return c.patch(ctx, "volumes", volume.GetName(), dict{"spec": dict{"nodeID": node}})
	}
	own, err := c.get(ctx, "volumeattachments", volume.GetName())
	if err != nil {
		return unlessGone(err)
	}
	var ticket any
	if node != "" {
		ticket = dict{"id": attachment, "nodeID": node, "type": "csi-attacher", "generation": int64(0), "parameters": dict{"disableFrontend": "false", "lastAttachedBy": ""}}
	}
	if alike(dig(own.Object, "spec", "attachmentTickets", attachment), ticket) {
		return nil
	}
	return c.patch(ctx, "volumeattachments", volume.GetName(), dict{"spec": dict{"attachmentTickets": dict{attachment: ticket}}})
}

func (c *cluster) detach(ctx context.Context, va *object) error {
	if !slices.Contains(va.GetFinalizers(), attacherHolds) {
		return nil
	}
	pv, err := c.get(ctx, "persistentvolumes", text(va, "spec", "source", "persistentVolumeName"))
	if err == nil {
		volume, found := c.get(ctx, "volumes", text(pv, "spec", "csi", "volumeHandle"))
		if found == nil {
			if err := c.want(ctx, volume, va.GetName(), ""); err != nil {
				return err
			}
			if state := text(volume, "status", "state"); state != "detached" && state != "deleting" && state != "" {
				return nil
			}
		} else if !apierrors.IsNotFound(found) {
			return found
		}
	} else if !apierrors.IsNotFound(err) {
		return err
	}
	return c.dropFinalizer(ctx, "volumeattachments-of-kubernetes", va, attacherHolds)
}

// letVolumesGo lets go of volumes that are to be deleted and are not attached any more.
func (c *cluster) letVolumesGo(ctx context.Context) error {
	all, err := c.all(ctx, "persistentvolumes")
	if err != nil {
		return err
	}
	for _, pv := range all {
		if pv.GetDeletionTimestamp() != nil && slices.Contains(pv.GetFinalizers(), attacherHolds) && !c.attached(ctx, pv.GetName()) {
			if err := c.dropFinalizer(ctx, "persistentvolumes", &pv, attacherHolds); err != nil {
				return err
			}
		}
	}
	return nil
}
