// The cluster as the programs see it: Longhorn's own objects and Kubernetes', all as plain maps, since both API versions have to do.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"reflect"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	finalizer = "longhorn.io"
	driver    = "driver.longhorn.io"
)

type (
	object = unstructured.Unstructured
	dict   = map[string]any
	list   = []any
)

type cluster struct {
	release
	dyn    dynamic.Interface
	disco  discovery.DiscoveryInterface
	config *rest.Config
	ns     string
	node   string
}

func connect() (*cluster, error) {
	own, err := ownRelease()
	if err != nil {
		return nil, err
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	ns := os.Getenv("POD_NAMESPACE")
	if ns == "" {
		ns = os.Getenv("LONGHORN_NAMESPACE")
	}
	if ns == "" {
		return nil, fmt.Errorf("namespace is required")
	}
	return &cluster{release: own, dyn: dyn, disco: disco, config: config, ns: ns, node: os.Getenv("NODE_NAME")}, nil
}

// Kinds of Kubernetes by their plural; every other one is Longhorn's.
var ofKubernetes = map[string]schema.GroupVersionResource{}

func init() {
	for path, plurals := range map[string]string{
		"/v1":                             "pods secrets services configmaps events persistentvolumes persistentvolumeclaims namespaces",
		"apps/v1":                         "daemonsets deployments",
		"storage.k8s.io/v1":               "storageclasses csidrivers volumeattachments-of-kubernetes",
		"coordination.k8s.io/v1":          "leases",
		"admissionregistration.k8s.io/v1": "validatingwebhookconfigurations mutatingwebhookconfigurations",
		"apiextensions.k8s.io/v1":         "customresourcedefinitions",
		"policy/v1":                       "poddisruptionbudgets",
	} {
		group, version, _ := strings.Cut(path, "/")
		for _, plural := range strings.Fields(plurals) {
			ofKubernetes[plural] = schema.GroupVersionResource{Group: group, Version: version, Resource: strings.TrimSuffix(plural, "-of-kubernetes")}
		}
	}
	ofKubernetes["nodes-of-kubernetes"] = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
}

var clusterWide = map[string]bool{
	"persistentvolumes": true, "storageclasses": true, "csidrivers": true, "volumeattachments-of-kubernetes": true, "nodes-of-kubernetes": true,
	"validatingwebhookconfigurations": true, "mutatingwebhookconfigurations": true, "customresourcedefinitions": true, "namespaces": true,
	// They have a namespace, but are wanted of all.
	"persistentvolumeclaims": true,
}

func (c *cluster) resource(plural string) schema.GroupVersionResource {
	if found, ok := ofKubernetes[plural]; ok {
		return found
	}
	return schema.GroupVersionResource{Group: "longhorn.io", Version: c.api, Resource: plural}
}

// of are the objects of a kind: those in Longhorn's namespace, unless the kind has none.
func (c *cluster) of(plural string) dynamic.ResourceInterface {
	if clusterWide[plural] {
		return c.dyn.Resource(c.resource(plural))
	}
	return c.dyn.Resource(c.resource(plural)).Namespace(c.ns)
}

func (c *cluster) get(ctx context.Context, plural, name string) (*object, error) {
	return c.of(plural).Get(ctx, name, metav1.GetOptions{})
}

func (c *cluster) all(ctx context.Context, plural string) ([]object, error) {
	found, err := c.of(plural).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return found.Items, nil
}

// make creates an object unless there is one of its name.
func (c *cluster) make(ctx context.Context, plural string, content dict) error {
	_, err := c.of(plural).Create(ctx, &object{Object: content}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// own is one of Longhorn's objects, with its finalizer.
func (c *cluster) own(kind, name string, labels dict, spec dict) dict {
	return dict{
		"apiVersion": "longhorn.io/" + c.api, "kind": kind, "spec": spec,
		"metadata": dict{"name": name, "namespace": c.ns, "finalizers": list{finalizer}, "labels": labels},
	}
}

func (c *cluster) patch(ctx context.Context, plural, name string, change dict, part ...string) error {
	data, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = c.of(plural).Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{}, part...)
	return err
}

// report sets fields of an object's status, if they are not so already.
func (c *cluster) report(ctx context.Context, plural string, o *object, status dict) error {
	now, _, _ := unstructured.NestedMap(o.Object, "status")
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	var wanted dict
	if err := json.Unmarshal(data, &wanted); err != nil {
		return err
	}
	same := true
	for key, value := range wanted {
		same = same && alike(now[key], value)
	}
	if same {
		return nil
	}
	return c.patch(ctx, plural, o.GetName(), dict{"status": status}, "status")
}

// alike compares what the API gives (int64) with what JSON gives (float64).
func alike(a, b any) bool {
	left, _ := json.Marshal(a)
	right, _ := json.Marshal(b)
	var x, y any
	_ = json.Unmarshal(left, &x)
	_ = json.Unmarshal(right, &y)
	return reflect.DeepEqual(x, y)
}

func (c *cluster) remove(ctx context.Context, plural, name string) error {
	background := metav1.DeletePropagationBackground
	return unlessGone(c.of(plural).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background}))
}

func (c *cluster) dropFinalizer(ctx context.Context, plural string, o *object, name string) error {
	kept := list{}
	for _, f := range o.GetFinalizers() {
		if f != name {
			kept = append(kept, f)
		}
	}
	return unlessGone(c.patch(ctx, plural, o.GetName(), dict{"metadata": dict{"finalizers": kept}}))
}

func unlessGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// conditions in the shape of the API version: each is TYPE, STATUS, REASON, MESSAGE. When one changed is known from what was there.
func (c *cluster) conditions(o *object, wanted ...[4]string) any {
	listed, mapped := list{}, dict{}
	for _, w := range wanted {
		since := time.Now().UTC().Format(time.RFC3339)
		if was := condition(o, w[0]); was != nil && was["status"] == w[1] {
			since, _ = was["lastTransitionTime"].(string)
		}
		one := dict{"type": w[0], "status": w[1], "reason": w[2], "message": w[3], "lastProbeTime": "", "lastTransitionTime": since}
		listed, mapped[w[0]] = append(listed, one), one
	}
	if c.listed {
		return listed
	}
	return mapped
}

// condition finds one in either shape.
func condition(o *object, kind string) dict {
	return conditionIn(dig(o.Object, "status", "conditions"), kind)
}

func conditionIn(conditions any, kind string) dict {
	switch all := conditions.(type) {
	case dict:
		one, _ := all[kind].(dict)
		return one
	case list:
		for _, each := range all {
			if one, _ := each.(dict); one["type"] == kind {
				return one
			}
		}
	}
	return nil
}

// event tells of an object what `kubectl describe` and `kubectl get events` show.
func (c *cluster) event(ctx context.Context, o *object, kind, reason, message string) {
	now := time.Now().UTC().Format(time.RFC3339)
	err := c.make(ctx, "events", dict{
		"apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message, "count": int64(1),
		"firstTimestamp": now, "lastTimestamp": now, "source": dict{"component": "longhorn-" + strings.ToLower(o.GetKind()) + "-controller"},
		"metadata":       dict{"name": o.GetName() + "." + hash8(reason+message+now), "namespace": c.ns},
		"involvedObject": dict{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "name": o.GetName(), "namespace": c.ns, "uid": string(o.GetUID())},
	})
	if err != nil {
		log.Printf("no event: %v", err)
	}
}

// serves tells whether the API server has this kind.
func (c *cluster) serves(groupVersion, plural string) bool {
	found, err := c.disco.ServerResourcesForGroupVersion(groupVersion)
	if err != nil {
		return false
	}
	for _, each := range found.APIResources {
		if each.Name == plural {
			return true
		}
	}
	return false
}

// whenever calls work once for each burst of changes of these kinds, and every ten seconds. What failed is tried again a second later.
func (c *cluster) whenever(ctx context.Context, plurals []string, work func(context.Context) error) error {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	}
	for _, plural := range plurals {
		ns := c.ns
		if clusterWide[plural] {
			ns = ""
		}
		informer := dynamicinformer.NewFilteredDynamicInformer(c.dyn, c.resource(plural), ns, 0, cache.Indexers{}, nil).Informer()
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
		go informer.Run(ctx.Done())
	}
	for {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			log.Printf(`level=warning msg="%v"`, err)
			time.AfterFunc(time.Second, tell)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			time.Sleep(50 * time.Millisecond)
		case <-time.After(10 * time.Second):
		}
	}
}

func dig(from any, path ...string) any {
	for _, key := range path {
		next, ok := from.(dict)
		if !ok {
			return nil
		}
		from = next[key]
	}
	return from
}

func text(o *object, path ...string) string {
	found, _ := dig(o.Object, path...).(string)
	return found
}

func number(o *object, path ...string) int64 {
	switch found := dig(o.Object, path...).(type) {
	case int64:
		return found
	case float64:
		return int64(found)
	}
	return 0
}

func hash8(of string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(of)))[:8] }

func cut(s, prefix string) (string, bool) {
	if strings.HasPrefix(s, prefix) {
		return s[len(prefix):], true
	}
	return "", false
}
