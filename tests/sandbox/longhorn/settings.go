// Longhorn's settings: an object each, with a value that is a text.
package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// The settings of both versions, with their values at the first start.
var commonSettings = map[string]string{
	"allow-recurring-job-while-volume-detached": "false", "allow-volume-creation-with-degraded-availability": "true",
	"auto-cleanup-system-generated-snapshot": "true", "auto-delete-pod-when-volume-detached-unexpectedly": "true", "auto-salvage": "true",
	"backing-image-cleanup-wait-interval": "60", "backing-image-recovery-wait-interval": "300",
	"concurrent-automatic-engine-upgrade-per-node-limit": "0", "concurrent-replica-rebuild-per-node-limit": "5", "crd-api-version": "",
	"create-default-disk-labeled-nodes": "false", "default-data-locality": "disabled", "default-data-path": "/var/lib/longhorn/",
	"default-longhorn-static-storage-class": "longhorn-static", "default-replica-count": "3", "disable-scheduling-on-cordoned-node": "true",
	"latest-longhorn-version": "", "node-down-pod-deletion-policy": "do-nothing", "priority-class": "", "registry-secret": "",
	"replica-auto-balance": "disabled", "replica-replenishment-wait-interval": "600", "replica-soft-anti-affinity": "false",
	"replica-zone-soft-anti-affinity": "true", "stable-longhorn-versions": "", "storage-minimal-available-percentage": "25",
	"system-managed-components-node-selector": "", "system-managed-pods-image-pull-policy": "if-not-present", "taint-toleration": "",
	"upgrade-checker": "true",
}

var settingsOf = map[string]map[string]string{
	"v1.2.3": {
		"backup-target": "", "backup-target-credential-secret": "", "backupstore-poll-interval": "300", "disable-replica-rebuild": "false",
		"allow-node-drain-with-last-healthy-replica": "false", "disable-revision-counter": "false", "guaranteed-engine-cpu": "",
		"guaranteed-engine-manager-cpu": "12", "guaranteed-replica-manager-cpu": "12", "mkfs-ext4-parameters": "",
		"storage-over-provisioning-percentage": "200", "volume-attachment-recovery-policy": "wait",
	},
	"v1.11.3": {
		"allow-collecting-longhorn-usage-metrics": "true", "current-longhorn-version": "v1.11.3", "deleting-confirmation-flag": "false",
		"detach-manually-attached-volumes-when-cordoned": "false", "engine-replica-timeout": `{"v1":"8"}`, "fast-replica-rebuild-enabled": `{"v1":"true"}`,
		"guaranteed-instance-manager-cpu": `{"v1":"12","v2":"12"}`, "kubernetes-cluster-autoscaler-enabled": "false", "log-level": "Info",
		"node-drain-policy": "block-if-contains-last-replica", "orphan-resource-auto-deletion": "", "replica-disk-soft-anti-affinity": "true",
		"snapshot-data-integrity": `{"v1":"fast-check","v2":"fast-check"}`, "snapshot-max-count": "250", "storage-network": "",
		"disable-revision-counter": `{"v1":"true"}`, "storage-over-provisioning-percentage": "100",
		"storage-reserved-percentage-for-default-disk": "30", "v1-data-engine": "true", "v2-data-engine": "false", "csi-storage-capacity-tracking": "false",
	},
}

// makeSettings makes those that are not there. The ConfigMap says other values: 1.2.3 reads it at the first start only, later ones follow it.
func (c *cluster) makeSettings(ctx context.Context, images map[string]string) error {
	values := map[string]string{}
	for _, from := range []map[string]string{commonSettings, settingsOf[c.version], images} {
		for name, value := range from {
			values[name] = value
		}
	}
	custom, err := c.customSettings(ctx)
	if err != nil {
		return err
	}
	for name, value := range custom {
		if _, known := values[name]; known && value != "" {
			values[name] = value
		}
	}
	existing, err := c.all(ctx, "settings")
	if err != nil {
		return err
	}
	there := map[string]string{}
	for _, each := range existing {
		there[each.GetName()], _ = each.Object["value"].(string)
	}
	for name, value := range values {
		now, exists := there[name]
		_, fromImages := images[name]
		_, asked := custom[name]
		switch {
		case !exists:
			err = c.make(ctx, "settings", dict{"apiVersion": "longhorn.io/" + c.api, "kind": "Setting", "value": value,
				"metadata": dict{"name": name, "namespace": c.ns}})
		case now != value && (fromImages || asked && c.webhooks):
			err = c.patch(ctx, "settings", name, dict{"value": value})
		}
		if err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

func (c *cluster) customSettings(ctx context.Context) (map[string]string, error) {
	config, err := c.get(ctx, "configmaps", "longhorn-default-setting")
	if err != nil {
		return nil, unlessGone(err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text(config, "data", "default-setting.yaml")), &raw); err != nil {
		return nil, fmt.Errorf("longhorn-default-setting: %w", err)
	}
	found := map[string]string{}
	for name, value := range raw {
		if value != nil {
			found[name] = strings.TrimSpace(fmt.Sprint(value))
		}
	}
	return found, nil
}

func (c *cluster) setting(ctx context.Context, name string) string {
	found, err := c.get(ctx, "settings", name)
	if err != nil {
		return ""
	}
	return text(found, "value")
}

func (c *cluster) percentage(ctx context.Context, name string, otherwise int64) int64 {
	value, err := strconv.ParseInt(c.setting(ctx, name), 10, 64)
	if err != nil {
		return otherwise
	}
	return value
}
