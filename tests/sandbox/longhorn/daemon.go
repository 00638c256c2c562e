// The manager: its start, and what it keeps up as long as it runs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"
)

type images struct{ engine, instanceManager, manager, serviceAccount string }

func daemon(ctx context.Context, args []string) error {
	if err := iscsiInstalled(ctx); err != nil {
		return err
	}
	c, err := connect()
	if err != nil {
		return err
	}
	use := images{flagOf(args, "engine-image"), flagOf(args, "instance-manager-image"), flagOf(args, "manager-image"), flagOf(args, "service-account")}
	if use.engine == "" || use.instanceManager == "" {
		return fmt.Errorf("error starting manager: require engine-image and instance-manager-image")
	}
	if c.webhooks {
		if err := c.startWebhooks(ctx); err != nil {
			return fmt.Errorf("error starting webhooks: %w", err)
		}
	}
	if err := c.upgradePath(ctx); err != nil {
		return err
	}
	if err := c.waitForOldAPIs(ctx); err != nil {
		return err
	}
	settings := map[string]string{"default-engine-image": use.engine, "default-instance-manager-image": use.instanceManager}
	if c.webhooks {
		settings["current-longhorn-version"] = c.version
	}
	if err := c.makeSettings(ctx, settings); err != nil {
		return err
	}
	if err := c.registerNode(ctx); err != nil {
		return err
	}
	if err := c.make(ctx, "engineimages", c.own("EngineImage", engineImageName(use.engine), nil, dict{"image": use.engine})); err != nil {
		return err
	}
	c.serveAPI()
	observed := hostConditions(ctx)
	looked := time.Now()
	watched := []string{"nodes", "settings", "volumes", "engines", "replicas", "engineimages", "instancemanagers", "configmaps", "pods", "daemonsets", "persistentvolumes"}
	if c.webhooks {
		watched = append(watched, "volumeattachments")
	}
	return c.whenever(ctx, watched, func(ctx context.Context) error {
		if time.Since(looked) > 30*time.Minute {
			observed, looked = hostConditions(ctx), time.Now()
		}
		for _, step := range []func() error{
			func() error { return c.keepStorageClass(ctx) },
			func() error { return c.makeSettings(ctx, settings) },
			func() error { return c.finishDeletion(ctx) },
			func() error { return c.reportNode(ctx, observed) },
			func() error { return c.keepEngineImages(ctx, use) },
			func() error { return c.keepInstanceManagers(ctx, use) },
			func() error { return c.keepVolumes(ctx, use) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
}

// upgradePath refuses to start over a version that is not this minor version or the one before.
func (c *cluster) upgradePath(ctx context.Context) error {
	was := c.setting(ctx, "current-longhorn-version")
	if was == "" {
		// 1.2 has no such setting: its engine image tells.
		if image := c.setting(ctx, "default-engine-image"); image != "" {
			was = image[strings.LastIndex(image, ":")+1:]
		}
	}
	if was == "" || minor(was) == minor(c.version) || !c.webhooks {
		return nil
	}
	return fmt.Errorf("error starting manager: upgrade failed: failed to upgrade since upgrading from %s to %s for minor version is not supported", was, c.version)
}

// waitForOldAPIs is where 1.2 stays for ever on a Kubernetes that has no policy/v1beta1 and batch/v1beta1 any more: its caches never fill.
func (c *cluster) waitForOldAPIs(ctx context.Context) error {
	for c.oldAPIs {
		missing := ""
		if !c.serves("policy/v1beta1", "poddisruptionbudgets") {
			missing = "*v1beta1.PodDisruptionBudget"
		} else if !c.serves("batch/v1beta1", "cronjobs") {
			missing = "*v1beta1.CronJob"
		}
		if missing == "" {
			return nil
		}
		log.Printf("reflector.go:167: Failed to watch %s: failed to list %s: the server could not find the requested resource", missing, missing)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
	return nil
}

// serveAPI is the door on port 9500, which nobody has to knock at: no password, whoever reaches it rules.
func (c *cluster) serveAPI() {
	reply := func(w http.ResponseWriter, body any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1", func(w http.ResponseWriter, r *http.Request) {
		reply(w, dict{"type": "apiVersion", "links": dict{"volumes": "/v1/volumes", "nodes": "/v1/nodes", "settings": "/v1/settings"}})
	})
	for path, plural := range map[string]string{"/v1/volumes": "volumes", "/v1/nodes": "nodes", "/v1/settings": "settings", "/v1/engineimages": "engineimages"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			found, err := c.all(r.Context(), plural)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			data := list{}
			for _, each := range found {
				data = append(data, dict{"id": each.GetName(), "name": each.GetName(), "spec": each.Object["spec"], "status": each.Object["status"], "value": each.Object["value"]})
			}
			reply(w, dict{"type": "collection", "data": data})
		})
	}
	listen := os.Getenv("POD_IP") + ":9500"
	log.Printf(`level=info msg="Listening on %s"`, listen)
	go func() { log.Fatal(http.ListenAndServe(listen, mux)) }()
}

const classText = "longhorn.io/last-applied-configmap"

// keepStorageClass makes the class of the ConfigMap, whether or not anything can provision for it yet. When the ConfigMap's text is another
// than the class was made of, it is deleted and made anew; what somebody changed in the class itself stays.
func (c *cluster) keepStorageClass(ctx context.Context) error {
	config, err := c.get(ctx, "configmaps", "longhorn-storageclass")
	if err != nil {
		return unlessGone(err)
	}
	source := text(config, "data", "storageclass.yaml")
	var class dict
	if err := yaml.Unmarshal([]byte(source), &class); err != nil {
		return fmt.Errorf("longhorn-storageclass: %w", err)
	}
	wanted := &object{Object: class}
	notes := wanted.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[classText] = source
	wanted.SetAnnotations(notes)
	if c.staticClass {
		if err := c.make(ctx, "storageclasses", dict{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": dict{"name": "longhorn-static"},
			"provisioner": driver, "allowVolumeExpansion": true, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
			"parameters": dict{"staleReplicaTimeout": "30"}}); err != nil {
			return err
		}
	}
	now, err := c.get(ctx, "storageclasses", wanted.GetName())
	if apierrors.IsNotFound(err) {
		return c.make(ctx, "storageclasses", wanted.Object)
	}
	if err != nil || now.GetAnnotations()[classText] == source {
		return err
	}
	if err := c.remove(ctx, "storageclasses", wanted.GetName()); err != nil {
		return err
	}
	return c.make(ctx, "storageclasses", wanted.Object)
}
