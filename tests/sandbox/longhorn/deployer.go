// The driver deployer: finds kubelet's root, then makes the CSI objects. Once they are there it does not compare the root again.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const detection = "discover-proc-%s-cmdline"

// detectionScript prints the arguments of the first process whose program's name is exactly this one.
const detectionScript = `for p in /proc/[0-9]*; do
    program=$(tr '\000' '\n' <"$p/cmdline" 2>/dev/null | head -n 1)
    if [ "${program##*/}" = %s ]; then echo "Proc found: %[1]s"; tr '\000' '\n' <"$p/cmdline"; exit 0; fi
done
echo "Proc not found: %[1]s"`

func deployDriver(ctx context.Context, args []string) error {
	c, err := connect()
	if err != nil {
		return err
	}
	root := os.Getenv("KUBELET_ROOT_DIR")
	if given := flagOf(args, "kubelet-root-dir"); given != "" {
		root = given
	}
	if root == "" {
		if root, err = c.detectRoot(ctx, flagOf(args, "manager-image")); err != nil {
			return fmt.Errorf(`error deploying driver: failed to get arg root-dir. Need to specify "--kubelet-root-dir" in your Longhorn deployment yaml.: %w`, err)
		}
	}
	log.Printf(`level=info msg="Deploying CSI driver, kubelet root dir %s"`, root)
	if err := c.waitForPropagation(ctx); err != nil {
		return fmt.Errorf("error deploying driver: %w", err)
	}
	if err := c.deployCSI(ctx, root, flagOf(args, "manager-image"), flagOf(args, "manager-url")); err != nil {
		return fmt.Errorf("error deploying driver: %w", err)
	}
	log.Print(`level=info msg="CSI deployment done"`)
	<-ctx.Done()
	return nil
}

// detectRoot looks for kubelet, then for k3s, each in a pod that sees the host's processes.
func (c *cluster) detectRoot(ctx context.Context, image string) (string, error) {
	for _, name := range []string{"kubelet", "k3s"} {
		said, err := c.inPod(ctx, fmt.Sprintf(detection, name), image, fmt.Sprintf(detectionScript, name))
		if err != nil {
			return "", fmt.Errorf("failed to get cmdline of proc %s: %w", name, err)
		}
		if strings.Contains(said, "Proc not found") {
			continue
		}
		lines := strings.Split(said, "\n")
		for i, line := range lines {
			if root, ok := cut(line, "--root-dir="); ok {
				return root, nil
			}
			if line == "--root-dir" && i+1 < len(lines) {
				return lines[i+1], nil
			}
		}
		log.Printf(`level=warning msg="Cmdline of proc %s found. But arg --root-dir not found. Hence default value will be used: /var/lib/kubelet"`, name)
		return "/var/lib/kubelet", nil
	}
	return "", fmt.Errorf("failed to get kubelet root dir, no related proc for root-dir detection, error out")
}

func (c *cluster) inPod(ctx context.Context, name, image, script string) (string, error) {
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return "", err
	}
	if err := c.remove(ctx, "pods", name); err != nil {
		return "", err
	}
	for range 120 {
		err = c.makeStrictly(ctx, "pods", dict{
			"apiVersion": "v1", "kind": "Pod", "metadata": dict{"name": name, "namespace": c.ns},
			"spec": dict{"serviceAccountName": os.Getenv("SERVICE_ACCOUNT"), "nodeName": c.node, "hostPID": true, "restartPolicy": "Never",
				"terminationGracePeriodSeconds": int64(0),
				"containers": list{dict{"name": name, "image": image, "command": list{"/bin/sh"}, "args": list{"-c", script},
					"securityContext": dict{"privileged": true}}}},
		})
		if !apierrors.IsAlreadyExists(err) {
			break
		}
		if !pause(ctx, time.Second) {
			return "", ctx.Err()
		}
	}
	if err != nil {
		return "", err
	}
	defer func() {
		if err := c.remove(context.WithoutCancel(ctx), "pods", name); err != nil {
			log.Print(err)
		}
	}()
	for range 120 {
		pod, err := c.get(ctx, "pods", name)
		if err != nil {
			return "", err
		}
		if phase := text(pod, "status", "phase"); phase == "Succeeded" || phase == "Failed" {
			logs, err := client.CoreV1().Pods(c.ns).GetLogs(name, &corev1.PodLogOptions{}).Stream(ctx)
			if err != nil {
				return "", err
			}
			defer logs.Close()
			said, err := io.ReadAll(logs)
			return string(said), err
		}
		if !pause(ctx, time.Second) {
			return "", ctx.Err()
		}
	}
	return "", fmt.Errorf("proc cmdline detection pod %s didn't complete within 120 seconds", name)
}

func (c *cluster) makeStrictly(ctx context.Context, plural string, content dict) error {
	_, err := c.of(plural).Create(ctx, &object{Object: content}, metav1.CreateOptions{})
	return err
}

func pause(ctx context.Context, long time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(long):
		return true
	}
}

func (c *cluster) waitForPropagation(ctx context.Context) error {
	for range 10 {
		node, err := c.get(ctx, "nodes", c.node)
		if err == nil && condition(node, "MountPropagation")["status"] == "True" {
			return nil
		}
		if !pause(ctx, 5*time.Second) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("node %s is not support mount propagation", c.node)
}

func (c *cluster) imageOf(env string) string {
	if image := os.Getenv(env); image != "" {
		return image
	}
	return c.images[env]
}

func (c *cluster) deployCSI(ctx context.Context, root, managerImage, managerURL string) error {
	for _, name := range []string{"attacher", "provisioner", "resizer", "snapshotter"} {
		env := "CSI_" + strings.ToUpper(name)
		count, err := strconv.ParseInt(os.Getenv(env+"_REPLICA_COUNT"), 10, 64)
		if err != nil {
			count = 3
		}
		if err := c.deploy(ctx, "deployments", c.sidecar("csi-"+name, c.imageOf(env+"_IMAGE"), root, count)); err != nil {
			return err
		}
	}
	if err := c.deploy(ctx, "daemonsets", c.pluginSet(root, managerImage, managerURL)); err != nil {
		return err
	}
	spec := dict{"podInfoOnMount": true}
	if c.listed {
		spec["storageCapacity"] = false
	}
	return c.deploy(ctx, "csidrivers", dict{"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": dict{"name": driver}, "spec": spec})
}

// deploy leaves alone what this version has deployed with these images and this number of replicas, wherever it looks for kubelet.
func (c *cluster) deploy(ctx context.Context, plural string, wanted dict) error {
	o := &object{Object: wanted}
	o.SetAnnotations(map[string]string{driver + "/version": c.version, driver + "/git-commit": hash8(c.version)})
	now, err := c.get(ctx, plural, o.GetName())
	if err == nil {
		same := now.GetAnnotations()[driver+"/version"] == c.version && alike(dig(now.Object, "spec", "replicas"), dig(wanted, "spec", "replicas")) && alike(imagesOf(now), imagesOf(o))
		if same && now.GetDeletionTimestamp() == nil {
			log.Printf(`level=debug msg="%s %s has already been deployed"`, o.GetKind(), o.GetName())
			return nil
		}
		if err := c.remove(ctx, plural, o.GetName()); err != nil {
			return err
		}
		for range 60 {
			if _, err := c.get(ctx, plural, o.GetName()); apierrors.IsNotFound(err) {
				break
			}
			if !pause(ctx, time.Second) {
				return ctx.Err()
			}
		}
	} else if !apierrors.IsNotFound(err) {
		return err
	}
	return c.makeStrictly(ctx, plural, wanted)
}

func imagesOf(o *object) list {
	found := list{}
	containers, _ := dig(o.Object, "spec", "template", "spec", "containers").(list)
	for _, container := range containers {
		found = append(found, dig(container, "image"))
	}
	return found
}

const (
	socketFolder = "/csi/"
	socketPath   = "/csi/csi.sock"
)

func hostFolder(name, path string) dict {
	return dict{"name": name, "hostPath": dict{"path": path, "type": "DirectoryOrCreate"}}
}

func mountAt(name, path string) dict { return dict{"name": name, "mountPath": path} }

func fieldOf(name, path string) dict {
	return dict{"name": name, "valueFrom": dict{"fieldRef": dict{"fieldPath": path}}}
}

func (c *cluster) sidecar(name, image, root string, count int64) dict {
	labels := dict{"app": name}
	spec := dict{
		"serviceAccountName": os.Getenv("SERVICE_ACCOUNT"),
		"affinity": dict{"podAntiAffinity": dict{"preferredDuringSchedulingIgnoredDuringExecution": list{dict{"weight": int64(1), "podAffinityTerm": dict{
			"topologyKey": "kubernetes.io/hostname", "labelSelector": dict{"matchLabels": labels}}}}}},
		"containers": list{dict{
			"name": name, "image": image, "imagePullPolicy": "IfNotPresent",
			"args":         list{"--v=2", "--csi-address=$(ADDRESS)", "--timeout=1m50s", "--leader-election", "--leader-election-namespace=$(POD_NAMESPACE)"},
			"env":          list{dict{"name": "ADDRESS", "value": socketPath}, fieldOf("POD_NAMESPACE", "metadata.namespace"), fieldOf("POD_NAME", "metadata.name")},
			"volumeMounts": list{mountAt("socket-dir", socketFolder)},
		}},
		"volumes": list{hostFolder("socket-dir", root+"/plugins/"+driver)},
	}
	c.prioritise(spec)
	return dict{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": dict{"name": name, "namespace": c.ns, "labels": dict{"app": name, "longhorn.io/managed-by": "longhorn-manager"}},
		"spec":     dict{"replicas": count, "selector": dict{"matchLabels": labels}, "template": dict{"metadata": dict{"labels": labels}, "spec": spec}}}
}

func (c *cluster) prioritise(spec dict) {
	if class := c.setting(context.Background(), "priority-class"); class != "" {
		spec["priorityClassName"] = class
	}
}

func (c *cluster) pluginSet(root, managerImage, managerURL string) dict {
	name := "longhorn-csi-plugin"
	both := func(name, path string) dict {
		return dict{"name": name, "mountPath": path, "mountPropagation": "Bidirectional"}
	}
	clean := func(command string) dict {
		return dict{"preStop": dict{"exec": dict{"command": list{"/bin/sh", "-c", command}}}}
	}
	privileged := dict{"privileged": true}
	containers := list{
		dict{
			"name": "node-driver-registrar", "image": c.imageOf("CSI_NODE_DRIVER_REGISTRAR_IMAGE"), "imagePullPolicy": "IfNotPresent",
			"securityContext": privileged, "args": list{"--v=2", "--csi-address=$(ADDRESS)", "--kubelet-registration-path=" + root + "/plugins/" + driver + "/csi.sock"},
			"env":          list{dict{"name": "ADDRESS", "value": socketPath}},
			"lifecycle":    clean("rm -rf /registration/" + driver + " /registration/" + driver + "-reg.sock /csi/*"),
			"volumeMounts": list{mountAt("socket-dir", socketFolder), mountAt("registration-dir", "/registration")},
		},
	}
	own := dict{
		"name": name, "image": managerImage, "imagePullPolicy": "IfNotPresent", "securityContext": privileged,
		"args":      list{"longhorn-manager", "-d", "csi", "--nodeid=$(NODE_ID)", "--endpoint=$(CSI_ENDPOINT)", "--drivername=" + driver, "--manager-url=" + managerURL},
		"env":       list{fieldOf("NODE_ID", "spec.nodeName"), dict{"name": "CSI_ENDPOINT", "value": "unix://" + socketPath}, fieldOf("POD_NAMESPACE", "metadata.namespace")},
		"lifecycle": clean("rm -f /csi/*"),
		"volumeMounts": list{mountAt("socket-dir", socketFolder), both("kubernetes-csi-dir", root+"/plugins/kubernetes.io/csi"), both("pods-mount-dir", root+"/pods"),
			mountAt("host-dev", "/dev"), mountAt("host-proc", "/host/proc"), mountAt("host-sys", "/sys")},
	}
	if c.livenessProbe {
		containers = append(containers, dict{"name": "longhorn-liveness-probe", "image": c.imageOf("CSI_LIVENESS_PROBE_IMAGE"), "imagePullPolicy": "IfNotPresent",
			"args": list{"--v=4", "--csi-address=" + socketPath}, "volumeMounts": list{mountAt("socket-dir", socketFolder)}})
		own["ports"] = list{dict{"containerPort": int64(9808), "protocol": "TCP"}}
		own["livenessProbe"] = dict{"httpGet": dict{"path": "/healthz", "port": int64(9808)}, "periodSeconds": int64(5), "timeoutSeconds": int64(4), "failureThreshold": int64(3)}
	}
	labels := dict{"app": name}
	spec := dict{
		"serviceAccountName": os.Getenv("SERVICE_ACCOUNT"), "containers": append(containers, own),
		"volumes": list{
			hostFolder("socket-dir", root+"/plugins/"+driver), hostFolder("registration-dir", root+"/plugins_registry"),
			hostFolder("kubernetes-csi-dir", root+"/plugins/kubernetes.io/csi"), hostFolder("pods-mount-dir", root+"/pods"),
			dict{"name": "host-dev", "hostPath": dict{"path": "/dev"}}, dict{"name": "host-proc", "hostPath": dict{"path": "/proc"}}, dict{"name": "host-sys", "hostPath": dict{"path": "/sys"}},
		},
	}
	c.prioritise(spec)
	return dict{"apiVersion": "apps/v1", "kind": "DaemonSet",
		"metadata": dict{"name": name, "namespace": c.ns, "labels": dict{"longhorn.io/managed-by": "longhorn-manager"}},
		"spec":     dict{"selector": dict{"matchLabels": labels}, "template": dict{"metadata": dict{"labels": labels}, "spec": spec}}}
}
