// Stands in for MicroK8s' hostpath provisioner 1.0.0, which is not to be had as a module: once a second it looks for claims that wait for a
// volume of microk8s.io/hostpath, and for volumes of its own that nobody claims any more. It binds at once, without asking where
// the pod will run, and makes folders that everybody may write to. It needs NODE_NAME and PV_DIR, and runs as a pod's service account.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	provisioner   = "microk8s.io/hostpath"
	account       = "/var/run/secrets/kubernetes.io/serviceaccount/"
	wantedOf      = "volume.beta.kubernetes.io/storage-provisioner"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	UID         string            `json:"uid,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type hostPath struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

type reference struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

type claim struct {
	Metadata metadata `json:"metadata"`
	Spec     struct {
		AccessModes []string `json:"accessModes"`
		Class       string   `json:"storageClassName"`
		VolumeName  string   `json:"volumeName"`
		Resources   struct {
			Requests map[string]string `json:"requests"`
		} `json:"resources"`
	} `json:"spec"`
}

type volume struct {
	Kind       string   `json:"kind"`
	APIVersion string   `json:"apiVersion"`
	Metadata   metadata `json:"metadata"`
	Spec       struct {
		Capacity      map[string]string `json:"capacity"`
		AccessModes   []string          `json:"accessModes"`
		Class         string            `json:"storageClassName"`
		ReclaimPolicy string            `json:"persistentVolumeReclaimPolicy"`
		HostPath      *hostPath         `json:"hostPath"`
		Claim         *reference        `json:"claimRef"`
	} `json:"spec"`
	Status *struct {
		Phase string `json:"phase"`
	} `json:"status,omitempty"`
}

// client speaks with the API server as the pod's service account.
type client struct {
	http.Client
	url string
}

func newClient() *client {
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile(account + "ca.crt"); err == nil {
		roots.AppendCertsFromPEM(ca)
	}
	return &client{
		Client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
		url:    "https://" + os.Getenv("KUBERNETES_SERVICE_HOST") + ":" + os.Getenv("KUBERNETES_SERVICE_PORT") + "/api/v1/",
	}
}

func (c *client) call(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	request.Header.Set("Content-Type", "application/json")
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return json.Unmarshal(answer, out)
}

func (c *client) provision(p claim) error {
	name := "pvc-" + p.Metadata.UID
	folder := filepath.Join(os.Getenv("PV_DIR"), p.Metadata.Namespace+"-"+p.Metadata.Name+"-"+name)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		return err
	}
	v := volume{Kind: "PersistentVolume", APIVersion: "v1"}
	v.Metadata = metadata{Name: name, Annotations: map[string]string{provisionedBy: provisioner, "hostPathProvisionerIdentity": os.Getenv("NODE_NAME")}}
	v.Spec.Capacity = map[string]string{"storage": p.Spec.Resources.Requests["storage"]}
	v.Spec.AccessModes, v.Spec.Class, v.Spec.ReclaimPolicy = p.Spec.AccessModes, p.Spec.Class, "Delete"
	v.Spec.HostPath = &hostPath{Path: folder}
	v.Spec.Claim = &reference{"PersistentVolumeClaim", "v1", p.Metadata.Namespace, p.Metadata.Name, p.Metadata.UID}
	log.Printf("volume %s for claim %s/%s", name, p.Metadata.Namespace, p.Metadata.Name)
	return c.call(http.MethodPost, "persistentvolumes", v, new(any))
}

func (c *client) remove(v volume) error {
	log.Printf("volume %s goes", v.Metadata.Name)
	if err := os.RemoveAll(v.Spec.HostPath.Path); err != nil {
		return err
	}
	return c.call(http.MethodDelete, "persistentvolumes/"+v.Metadata.Name, nil, new(any))
}

func (c *client) round() error {
	var claims struct{ Items []claim }
	if err := c.call(http.MethodGet, "persistentvolumeclaims", nil, &claims); err != nil {
		return err
	}
	var volumes struct{ Items []volume }
	if err := c.call(http.MethodGet, "persistentvolumes", nil, &volumes); err != nil {
		return err
	}
	there := map[string]bool{}
	for _, v := range volumes.Items {
		there[v.Metadata.Name] = true
		if v.Status != nil && v.Status.Phase == "Released" && v.Spec.ReclaimPolicy == "Delete" && v.Metadata.Annotations[provisionedBy] == provisioner {
			if err := c.remove(v); err != nil {
				return err
			}
		}
	}
	for _, p := range claims.Items {
		if p.Metadata.Annotations[wantedOf] == provisioner && p.Spec.VolumeName == "" && !there["pvc-"+p.Metadata.UID] {
			if err := c.provision(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Told to end, it takes ten seconds: long enough to see that MicroK8s counts its addon as enabled meanwhile.
func endSlowly() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	<-told
	time.Sleep(10 * time.Second)
	os.Exit(0)
}

func main() {
	go endSlowly()
	c := newClient()
	for ; ; time.Sleep(time.Second) {
		if err := c.round(); err != nil {
			log.Print(err)
		}
	}
}
