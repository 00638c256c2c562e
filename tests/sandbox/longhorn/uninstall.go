// The uninstall job: deletes what Longhorn made, in Longhorn's order. With a manager that answers, each kind goes the ordinary way; after ninety
// seconds, or without a manager, its finalizers are taken off.
package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds in the order in which they go. The first waits until the last of it is gone.
var uninstallOrder = []string{"volumes", "snapshots", "engines", "replicas", "backuptargets", "backupvolumes", "backups", "systembackups", "engineimages",
	"nodes", "instancemanagers", "sharemanagers", "backingimages", "backingimagemanagers", "backingimagedatasources", "recurringjobs", "orphans",
	"systemrestores", "volumeattachments"}

type uninstaller struct {
	*cluster
	grace time.Duration
}

func uninstall(ctx context.Context, args []string) error {
	c, err := connect()
	if err != nil {
		return err
	}
	u := &uninstaller{c, 90 * time.Second}
	if err := u.preconditions(ctx, slices.Contains(args, "--force")); err != nil {
		return err
	}
	log.Print(`level=info msg="Uninstalling..."`)
	began := time.Now()
	for {
		wait, err := u.step(ctx)
		if err != nil {
			log.Printf(`level=warning msg="Failed to uninstall" error="%v"`, err)
		} else if !wait {
			log.Printf(`level=info msg="Uninstallation completed" runtime=%s`, time.Since(began).Round(time.Second))
			return nil
		}
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

func (u *uninstaller) preconditions(ctx context.Context, force bool) error {
	if u.confirmation {
		flag, err := u.get(ctx, "settings", "deleting-confirmation-flag")
		if err != nil {
			return fmt.Errorf("failed to check deleting-confirmation-flag setting: %w", err)
		}
		if text(flag, "value") != "true" {
			return fmt.Errorf("cannot uninstall Longhorn because deleting-confirmation-flag is set to `false`. " +
				"Please set it to `true` using Longhorn UI or kubectl -n longhorn-system edit settings.longhorn.io deleting-confirmation-flag ")
		}
	}
	ready, err := u.managerReady(ctx)
	if err != nil {
		return err
	}
	if !ready {
		if !force {
			return fmt.Errorf("manager not ready, set --force to continue")
		}
		log.Print(`level=warning msg="Manager is not ready, this may leave data behind"`)
		u.grace = 0
	}
	volumes, err := u.all(ctx, "volumes")
	if err != nil {
		return unlessGone(err)
	}
	for _, volume := range volumes {
		if state := text(&volume, "status", "state"); state == "attaching" || state == "attached" {
			log.Printf(`level=warning msg="Volume is in use" volume=%s`, volume.GetName())
			if !force {
				return fmt.Errorf("volume(s) are in use, set --force to continue")
			}
		}
	}
	return nil
}

// managerReady lets one manager be missing, as in the middle of an upgrade. With a single node that means: always.
func (u *uninstaller) managerReady(ctx context.Context) (bool, error) {
	set, err := u.get(ctx, "daemonsets", "longhorn-manager")
	if err != nil {
		return false, unlessGone(err)
	}
	if set.GetDeletionTimestamp() != nil {
		return false, nil
	}
	return number(set, "status", "numberReady") >= number(set, "status", "desiredNumberScheduled")-1, nil
}

// step does the next thing and tells whether to come back.
func (u *uninstaller) step(ctx context.Context) (bool, error) {
	ready, err := u.managerReady(ctx)
	if err != nil {
		return true, err
	}
	if ready {
		if wait, err := u.deleteOwn(ctx); wait || err != nil {
			return true, err
		}
	}
	if wait, err := u.gone(ctx, "daemonsets", "longhorn-manager"); wait || err != nil {
		return true, err
	}
	wait := false
	for _, name := range []string{"longhorn-driver-deployer", "csi-attacher", "csi-provisioner", "csi-resizer", "csi-snapshotter"} {
		still, err := u.gone(ctx, "deployments", name)
		if err != nil {
			return true, err
		}
		wait = wait || still
	}
	still, err := u.gone(ctx, "daemonsets", "longhorn-csi-plugin")
	if err != nil {
		return true, err
	}
	if err := u.remove(ctx, "csidrivers", driver); err != nil {
		return true, err
	}
	if wait || still {
		return true, nil
	}
	// Nobody is left who could clean up in an orderly way.
	u.grace = 0
	if wait, err := u.deleteOwn(ctx); wait || err != nil {
		return true, err
	}
	return false, u.deleteRest(ctx)
}

func (u *uninstaller) deleteRest(ctx context.Context) error {
	rest := [][2]string{{"storageclasses", "longhorn"}}
	for _, lease := range []string{"longhorn-manager-upgrade-lock", "driver-longhorn-io", "external-attacher-leader-driver-longhorn-io",
		"external-resizer-driver-longhorn-io", "external-snapshotter-leader-driver-longhorn-io"} {
		rest = append(rest, [2]string{"leases", lease})
	}
	if u.webhooks {
		rest = append([][2]string{{"validatingwebhookconfigurations", "longhorn-webhook-validator"}, {"mutatingwebhookconfigurations", "longhorn-webhook-mutator"}}, rest...)
		rest = append(rest, [2]string{"secrets", "longhorn-webhook-ca"}, [2]string{"secrets", "longhorn-webhook-tls"})
	}
	for _, each := range rest {
		if err := u.remove(ctx, each[0], each[1]); err != nil {
			return err
		}
	}
	return nil
}

// gone deletes an object together with its pods, which end first, and tells whether it is still there.
func (u *uninstaller) gone(ctx context.Context, plural, name string) (bool, error) {
	found, err := u.get(ctx, plural, name)
	if err != nil {
		return false, unlessGone(err)
	}
	if found.GetDeletionTimestamp() == nil {
		log.Printf(`level=info msg="Marked for deletion" %s=%s`, strings.TrimSuffix(plural, "s"), name)
		first := metav1.DeletePropagationForeground
		return true, unlessGone(u.of(plural).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &first}))
	}
	return true, nil
}

// deleteOwn deletes Longhorn's own objects, kind by kind.
func (u *uninstaller) deleteOwn(ctx context.Context) (bool, error) {
	for _, plural := range uninstallOrder {
		if !u.serves("longhorn.io/"+u.api, plural) {
			continue
		}
		all, err := u.all(ctx, plural)
		if err != nil {
			return true, err
		}
		if len(all) == 0 {
			continue
		}
		log.Printf(`level=info msg="Found %d %s remaining"`, len(all), plural)
		for _, each := range all {
			if err := u.deleteOne(ctx, plural, &each); err != nil {
				return true, fmt.Errorf("failed to delete %s: %w", plural, err)
			}
		}
		return true, nil
	}
	return false, nil
}

func (u *uninstaller) deleteOne(ctx context.Context, plural string, o *object) error {
	since := o.GetDeletionTimestamp()
	if since == nil {
		if note := map[string]string{"nodes": uninstalling, "engineimages": imageGoes}[plural]; note != "" && u.webhooks {
			if err := u.patch(ctx, plural, o.GetName(), dict{"metadata": dict{"annotations": dict{note: ""}}}); err != nil {
				return fmt.Errorf("failed to update annotations to mark for deletion: %w", err)
			}
		}
		err := u.remove(ctx, plural, o.GetName())
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("failed to mark for deletion: %w", err)
		}
		log.Printf(`level=info msg="Marked for deletion" %s=%s`, strings.TrimSuffix(plural, "s"), o.GetName())
		return nil
	}
	// 1.2 takes a node's finalizer off at its second look.
	if time.Since(since.Time) < u.grace && !(plural == "nodes" && !u.webhooks) {
		return nil
	}
	if plural == "engineimages" {
		if err := u.remove(ctx, "daemonsets", "engine-image-"+o.GetName()); err != nil {
			return err
		}
	}
	if err := u.dropFinalizer(ctx, plural, o, finalizer); err != nil {
		return fmt.Errorf("failed to remove finalizer: %w", err)
	}
	log.Printf(`level=info msg="Removed finalizer" %s=%s`, strings.TrimSuffix(plural, "s"), o.GetName())
	return nil
}
