// The admission webhooks of 1.11: they live in the manager, so that with it whatever they judge stops, too: changes of Longhorn's objects, and
// of every claim in the cluster. Their configuration is made by the manager, not by the manifest, and nobody takes it away with the manifest.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"slices"
	"time"
)

const (
	webhookService = "longhorn-admission-webhook"
	uninstalling   = "longhorn.io/delete-node-from-longhorn"
	imageGoes      = "longhorn.io/delete-engine-image-from-longhorn"
)

// What the validator judges: a resource and the operations.
var validated = map[string][]string{
	"nodes": {"CREATE", "UPDATE", "DELETE"}, "settings": {"CREATE", "UPDATE", "DELETE"}, "recurringjobs": {"CREATE", "UPDATE"},
	"backingimages": {"CREATE", "DELETE"}, "backups": {"CREATE", "UPDATE"}, "backupvolumes": {"CREATE", "UPDATE"},
	"backuptargets": {"CREATE", "UPDATE", "DELETE"}, "volumes": {"CREATE", "UPDATE"}, "orphans": {"CREATE", "UPDATE"},
	"snapshots": {"CREATE", "UPDATE", "DELETE"}, "supportbundles": {"CREATE"}, "systembackups": {"CREATE"}, "systemrestores": {"CREATE", "UPDATE"},
	"volumeattachments": {"CREATE", "UPDATE"}, "engines": {"CREATE", "UPDATE"}, "replicas": {"CREATE", "UPDATE", "DELETE"},
	"instancemanagers": {"CREATE", "UPDATE"}, "engineimages": {"DELETE"}, "backupbackingimages": {"CREATE"},
}

// What the mutator gives its finalizer to.
var mutated = []string{"backingimagedatasources", "backingimagemanagers", "backingimages", "backups", "backuptargets", "backupvolumes", "engineimages",
	"engines", "instancemanagers", "nodes", "orphans", "recurringjobs", "replicas", "settings", "sharemanagers", "snapshots", "supportbundles",
	"systembackups", "volumeattachments", "volumes"}

// Those of them that Longhorn keeps without a finalizer.
var unheld = []string{"settings", "recurringjobs", "instancemanagers"}

func (c *cluster) startWebhooks(ctx context.Context) error {
	certificate, authority, err := c.webhookSecrets(ctx)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/v1/webhook/validation", c.answer(c.validate))
	mux.HandleFunc("/v1/webhook/mutation", c.answer(c.mutate))
	server := &http.Server{Addr: ":9502", Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	go func() { log.Fatal(server.ListenAndServeTLS("", "")) }()
	if err := c.patch(ctx, "pods", os.Getenv("POD_NAME"), dict{"metadata": dict{"labels": dict{
		"longhorn.io/admission-webhook": webhookService, "longhorn.io/recovery-backend": "longhorn-recovery-backend"}}}); err != nil {
		return err
	}
	if err := c.configureWebhooks(ctx, authority); err != nil {
		return err
	}
	return c.reachWebhook(ctx, authority)
}

// reachWebhook asks for the webhook by its service's name, as the API server will: without DNS the manager ends after two minutes.
func (c *cluster) reachWebhook(ctx context.Context, authority []byte) error {
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	url := fmt.Sprintf("https://%s.%s.svc:9502/v1/healthz", webhookService, c.ns)
	var last error
	for began := time.Now(); time.Since(began) < 2*time.Minute; {
		reply, err := client.Get(url)
		if err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %s", reply.Status)
		}
		last = err
		log.Printf(`level=warning msg="Failed to check endpoint %s" error="%v"`, url, err)
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("admission webhook service is not accessible on cluster after 2m0s sec: timed out waiting for endpoint %s to be available: %w", url, last)
}

func (c *cluster) configureWebhooks(ctx context.Context, authority []byte) error {
	rule := func(group, version, plural string, operations []string) dict {
		verbs := list{}
		for _, each := range operations {
			verbs = append(verbs, each)
		}
		return dict{"apiGroups": list{group}, "apiVersions": list{version}, "resources": list{plural}, "operations": verbs, "scope": "Namespaced"}
	}
	judge, give := list{rule("", "v1", "persistentvolumeclaims", []string{"UPDATE"})}, list{}
	for plural, operations := range validated {
		judge = append(judge, rule("longhorn.io", c.api, plural, operations))
	}
	for _, plural := range mutated {
		give = append(give, rule("longhorn.io", c.api, plural, []string{"CREATE", "UPDATE"}))
	}
	for _, one := range []struct {
		plural, kind, name, hook, path string
		rules                          list
	}{
		{"validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "longhorn-webhook-validator", "validator.longhorn.io", "/v1/webhook/validation", judge},
		{"mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "longhorn-webhook-mutator", "mutator.longhorn.io", "/v1/webhook/mutation", give},
	} {
		hooks := list{dict{
			"name": one.hook, "rules": one.rules, "failurePolicy": "Fail", "matchPolicy": "Exact", "sideEffects": "None", "admissionReviewVersions": list{"v1", "v1beta1"},
			"clientConfig": dict{"caBundle": base64.StdEncoding.EncodeToString(authority),
				"service": dict{"namespace": c.ns, "name": webhookService, "path": one.path, "port": int64(9502)}},
		}}
		if err := c.make(ctx, one.plural, dict{"apiVersion": "admissionregistration.k8s.io/v1", "kind": one.kind, "metadata": dict{"name": one.name}, "webhooks": hooks}); err != nil {
			return err
		}
		if err := c.patch(ctx, one.plural, one.name, dict{"webhooks": hooks}); err != nil {
			return err
		}
	}
	return nil
}

// webhookSecrets are the authority and the certificate, made once and kept in the namespace.
func (c *cluster) webhookSecrets(ctx context.Context) (tls.Certificate, []byte, error) {
	read := func(name string) (certificate, key []byte) {
		secret, err := c.get(ctx, "secrets", name)
		if err != nil {
			return nil, nil
		}
		certificate, _ = base64.StdEncoding.DecodeString(text(secret, "data", "tls.crt"))
		key, _ = base64.StdEncoding.DecodeString(text(secret, "data", "tls.key"))
		return certificate, key
	}
	authority, _ := read("longhorn-webhook-ca")
	certificate, key := read("longhorn-webhook-tls")
	if authority == nil || certificate == nil {
		made, err := newCertificates(fmt.Sprintf("%s.%s.svc", webhookService, c.ns))
		if err != nil {
			return tls.Certificate{}, nil, err
		}
		for name, pair := range made {
			if err := c.make(ctx, "secrets", dict{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": dict{"name": name, "namespace": c.ns},
				"data": dict{"tls.crt": base64.StdEncoding.EncodeToString(pair[0]), "tls.key": base64.StdEncoding.EncodeToString(pair[1])}}); err != nil {
				return tls.Certificate{}, nil, err
			}
		}
		authority, _ = read("longhorn-webhook-ca")
		certificate, key = read("longhorn-webhook-tls")
	}
	pair, err := tls.X509KeyPair(certificate, key)
	return pair, authority, err
}

func newCertificates(host string) (map[string][2][]byte, error) {
	sign := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, [2][]byte, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, [2][]byte{}, err
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
		raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			return nil, nil, [2][]byte{}, err
		}
		secret, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, nil, [2][]byte{}, err
		}
		own, err := x509.ParseCertificate(raw)
		return own, key, [2][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})}, err
	}
	authority, key, first, err := sign(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dynamiclistener-ca"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	if err != nil {
		return nil, err
	}
	_, _, second, err := sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, authority, key)
	return map[string][2][]byte{"longhorn-webhook-ca": first, "longhorn-webhook-tls": second}, err
}

type review struct {
	operation, plural string
	now, before       *object
}

// answer wraps a judgement: an error refuses, a patch changes the object.
func (c *cluster) answer(judge func(context.Context, review) (list, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked dict
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		part := func(name string) *object {
			content, _ := dig(asked, "request", name).(dict)
			return &object{Object: content}
		}
		operation, _ := dig(asked, "request", "operation").(string)
		plural, _ := dig(asked, "request", "resource", "resource").(string)
		reply := dict{"uid": dig(asked, "request", "uid"), "allowed": true}
		change, err := judge(r.Context(), review{operation, plural, part("object"), part("oldObject")})
		if err != nil {
			reply["allowed"] = false
			reply["status"] = dict{"status": "Failure", "reason": "Invalid", "message": err.Error(), "code": int64(422)}
		} else if len(change) > 0 {
			data, _ := json.Marshal(change)
			reply["patchType"], reply["patch"] = "JSONPatch", base64.StdEncoding.EncodeToString(data)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(dict{"apiVersion": asked["apiVersion"], "kind": "AdmissionReview", "response": reply})
	}
}

func (c *cluster) mutate(_ context.Context, r review) (list, error) {
	if r.operation != "CREATE" || slices.Contains(unheld, r.plural) || slices.Contains(r.now.GetFinalizers(), finalizer) {
		return nil, nil
	}
	return list{dict{"op": "add", "path": "/metadata/finalizers", "value": append(r.now.GetFinalizers(), finalizer)}}, nil
}

func (c *cluster) validate(ctx context.Context, r review) (list, error) {
	switch {
	case r.plural == "settings" && r.operation == "DELETE":
		_, common := commonSettings[r.before.GetName()]
		_, own := settingsOf[c.version][r.before.GetName()]
		if common || own {
			return nil, fmt.Errorf("setting %s can be modified but not deleted", r.before.GetName())
		}
	case r.plural == "settings" && r.now.GetName() == "deleting-confirmation-flag":
		if value := text(r.now, "value"); value != "true" && value != "false" {
			return nil, fmt.Errorf("failed to validate setting %s with invalid value %s: value %s is not a boolean", r.now.GetName(), value, value)
		}
	case r.plural == "nodes" && r.operation == "DELETE":
		_, goes := r.before.GetAnnotations()[uninstalling]
		ready := condition(r.before, "Ready")
		if !goes && ready["status"] == "True" {
			return nil, fmt.Errorf("could not delete node %s with node ready condition is True, reason is %v, node schedulable %v, and %d replica, %d engine running on it",
				r.before.GetName(), ready["reason"], dig(r.before.Object, "spec", "allowScheduling"), c.countOn(ctx, "replicas", r.before.GetName()), c.countOn(ctx, "engines", r.before.GetName()))
		}
	case r.plural == "engineimages" && r.operation == "DELETE":
		image := text(r.before, "spec", "image")
		if _, goes := r.before.GetAnnotations()[imageGoes]; !goes && image == c.setting(ctx, "default-engine-image") {
			return nil, fmt.Errorf("deleting the default engine image %s (%s) is not allowed", image, image)
		}
	}
	return nil, nil
}

func (c *cluster) countOn(ctx context.Context, plural, node string) int {
	all, _ := c.all(ctx, plural)
	found := 0
	for _, each := range all {
		if text(&each, "spec", "nodeID") == node {
			found++
		}
	}
	return found
}
