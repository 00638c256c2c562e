// The provisioner: makes a volume for each claim of Longhorn's class and binds it at once, whether or not there is room for it, and deletes
// volumes that nobody claims any more.
package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	provisionedBy    = "pv.kubernetes.io/provisioned-by"
	wantedOf         = "volume.beta.kubernetes.io/storage-provisioner"
	provisionerHolds = "external-provisioner.volume.kubernetes.io/finalizer"
	attacherHolds    = "external-attacher/driver-longhorn-io"
)

func provisioner(ctx context.Context, args []string) error {
	return asLeader(ctx, args, "driver-longhorn-io", func(ctx context.Context, c *cluster) error {
		// The one of 1.11.3 wants a kind that Kubernetes has from 1.34 on. Without it, it waits for ever, and says why only here.
		for c.newProvisioner && !c.serves("storage.k8s.io/v1", "volumeattributesclasses") {
			log.Print("reflector.go:204: Failed to watch *v1.VolumeAttributesClass: failed to list *v1.VolumeAttributesClass: the server could not find the requested resource")
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(5 * time.Second):
			}
		}
		return c.whenever(ctx, []string{"persistentvolumeclaims", "persistentvolumes", "storageclasses", "volumes"}, func(ctx context.Context) error {
			if err := c.provision(ctx); err != nil {
				return err
			}
			return c.reclaim(ctx)
		})
	})
}

func (c *cluster) provision(ctx context.Context) error {
	claims, err := c.all(ctx, "persistentvolumeclaims")
	if err != nil {
		return err
	}
	for _, claim := range claims {
		notes := claim.GetAnnotations()
		if text(&claim, "spec", "volumeName") != "" || claim.GetDeletionTimestamp() != nil ||
			notes[wantedOf] != driver && notes["volume.kubernetes.io/storage-provisioner"] != driver {
			continue
		}
		class, err := c.get(ctx, "storageclasses", text(&claim, "spec", "storageClassName"))
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.provisionFor(ctx, &claim, class); err != nil {
			return fmt.Errorf("claim %s/%s: %w", claim.GetNamespace(), claim.GetName(), err)
		}
	}
	return nil
}

func (c *cluster) provisionFor(ctx context.Context, claim, class *object) error {
	wanted, err := resource.ParseQuantity(text(claim, "spec", "resources", "requests", "storage"))
	if err != nil {
		return err
	}
	// Longhorn's volumes are whole mebibytes.
	size := (wanted.Value() + 1<<20 - 1) >> 20 << 20
	name := "pvc-" + string(claim.GetUID())
	parameters, _ := dig(class.Object, "parameters").(dict)
	replicas, err := strconv.ParseInt(fmt.Sprint(parameters["numberOfReplicas"]), 10, 64)
	if err != nil {
		replicas = 3
	}
	stale, err := strconv.ParseInt(fmt.Sprint(parameters["staleReplicaTimeout"]), 10, 64)
	if err != nil {
		stale = 2880
	}
	image := c.setting(ctx, "default-engine-image")
	spec := dict{"size": strconv.FormatInt(size, 10), "frontend": "blockdev", "numberOfReplicas": replicas, "nodeID": "", "staleReplicaTimeout": stale,
		"dataLocality": "disabled", "accessMode": "rwo", "fromBackup": "", "lastAttachedBy": "", "image": image, "engineImage": image}
	if c.listed {
		spec["dataEngine"], spec["backupTargetName"] = "v1", "default"
		delete(spec, "engineImage")
	} else {
		delete(spec, "image")
	}
	if err := c.make(ctx, "volumes", c.own("Volume", name, dict{"longhornvolume": name}, spec)); err != nil {
		return err
	}
	attributes := dict{"storage.kubernetes.io/csiProvisionerIdentity": "1-8081-" + driver}
	for key, value := range parameters {
		attributes[key] = value
	}
	holds := list{}
	if c.newProvisioner {
		holds = append(holds, provisionerHolds)
	}
	return c.make(ctx, "persistentvolumes", dict{
		"apiVersion": "v1", "kind": "PersistentVolume",
		"metadata": dict{"name": name, "annotations": dict{provisionedBy: driver}, "finalizers": holds},
		"spec": dict{
			"capacity": dict{"storage": resource.NewQuantity(size, resource.BinarySI).String()}, "accessModes": dig(claim.Object, "spec", "accessModes"),
			"persistentVolumeReclaimPolicy": text(class, "reclaimPolicy"), "storageClassName": class.GetName(), "volumeMode": "Filesystem",
			"csi": dict{"driver": driver, "volumeHandle": name, "fsType": "ext4", "volumeAttributes": attributes},
			"claimRef": dict{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.GetNamespace(), "name": claim.GetName(),
				"uid": string(claim.GetUID()), "resourceVersion": claim.GetResourceVersion()},
		},
	})
}

func (c *cluster) reclaim(ctx context.Context) error {
	volumes, err := c.all(ctx, "persistentvolumes")
	if err != nil {
		return err
	}
	for _, pv := range volumes {
		if text(&pv, "spec", "csi", "driver") != driver || text(&pv, "status", "phase") != "Released" || text(&pv, "spec", "persistentVolumeReclaimPolicy") != "Delete" {
			continue
		}
		// What is attached is not deleted.
		if slices.Contains(pv.GetFinalizers(), attacherHolds) && c.attached(ctx, pv.GetName()) {
			continue
		}
		handle := text(&pv, "spec", "csi", "volumeHandle")
		if own, err := c.get(ctx, "volumes", handle); err == nil {
			if own.GetDeletionTimestamp() == nil {
				if err := c.remove(ctx, "volumes", handle); err != nil {
					return err
				}
			}
			continue
		} else if !apierrors.IsNotFound(err) {
			return err
		}
		if pv.GetDeletionTimestamp() == nil {
			if err := c.remove(ctx, "persistentvolumes", pv.GetName()); err != nil {
				return err
			}
		}
		if slices.Contains(pv.GetFinalizers(), provisionerHolds) {
			if err := c.dropFinalizer(ctx, "persistentvolumes", &pv, provisionerHolds); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) attached(ctx context.Context, volume string) bool {
	all, err := c.all(ctx, "volumeattachments-of-kubernetes")
	if err != nil {
		return true
	}
	for _, each := range all {
		if text(&each, "spec", "source", "persistentVolumeName") == volume {
			return true
		}
	}
	return false
}
